import Block
import Bytes
import Graph
import Qcow2

extension ImageTool {
    /// `commit`: writes what an image holds into the one below it, or into another one of its chain.
    ///
    /// Through the image the disk reads the same all along. Only when the base holds everything durably is the image
    /// emptied, with one switch. `progress` is told of the share that is done, 0 to 1.
    public func commit(_ request: CommitRequest, progress: (Double) -> Void = { _ in }) async throws(ImageError) {
        let path = request.path
        try refuseGuess(path, request.format)
        progress(0)
        let depth = request.base == nil ? 1 : await depth(of: request)
        let chain: ImageChain
        do throws(OpenError) {
            chain = try await ImageChain.open((path, request.format, nil), source) {
                $0 == 0 || $0 == depth ? .write : .read
            }
        } catch { throw .couldNotOpen(path, error) }
        warnOfGuess(request.format, chain)
        var failure: ImageError?
        do throws(ImageError) { try await commit(chain, to: depth, request, progress) } catch { failure = error }
        for layer in chain.layers.reversed() where layer.parts.isWritable {
            do throws(BlockError) { try await chain.finish(layer) } catch {
                failure = failure ?? ImageError("Could not close '\(layer.path)': \(error.sentence)")
            }
        }
        await chain.close()
        if let failure { throw failure }
    }

    /// How deep the image lies that `-b` names; nil where none of the chain is it.
    private func depth(of request: CommitRequest) async -> Int? {
        guard let base = request.base, !base.isEmpty else { return nil }
        let below = await backingFiles(of: request.path, format: request.format).map(\.path)
        for (index, (path, above)) in zip(below, [request.path] + below).enumerated() {
            let named = PathText.combine(above, base)
            if named == path { return index + 1 }
            if let identity = await identity(of: path), await self.identity(of: named) == identity { return index + 1 }
        }
        return nil
    }

    private func identity(of path: String) async -> String? {
        do throws(OpenError) {
            let file = try await files.open(path, FileUse(forceShare: true))
            await file.close()
            return file.identity
        } catch { return nil }
    }

    private func commit(
        _ chain: ImageChain, to depth: Int?, _ request: CommitRequest, _ progress: (Double) -> Void
    ) async throws(ImageError) {
        guard let depth, depth < chain.layers.count else {
            guard let base = request.base else { throw ImageError("Image does not have a backing file") }
            throw ImageError("Did not find '\(base)' in the backing chain of '\(request.path)'")
        }
        let walk = CommitWalk(chain, into: depth, bytesPerSecond: request.bytesPerSecond)
        do throws(BlockError) { try await walk.run(context, progress) } catch {
            throw ImageError("Block job failed: \(error.sentence)")
        }
        progress(1)
        guard !request.keepsContents, let image = chain.layers[0].image else { return }
        let top = chain.layers[0].walker
        do throws(BlockError) {
            try await top.finish()
            try await image.makeEmpty { await top.punch($0) }
            try await top.cutTail()
        } catch {
            throw ImageError("Could not empty \(request.path): \(error.sentence)")
        }
    }
}
