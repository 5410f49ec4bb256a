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
        let image = request.image
        try checkFormatIsSaid(
            image, "The format of '\(image.text)' is not guessed where it is written to",
            "say -f qcow2 if that is what it is")
        progress(0)
        let depth = request.base == nil ? 1 : try await depth(of: request)
        let chain = try await open(image) { $0 == 0 || $0 == depth ? .write : .read }
        warnOfGuess(image, chain)
        var failure: ImageError?
        do throws(ImageError) { try await commit(chain, to: depth, request, progress) } catch { failure = error }
        do throws(ImageError) { try await chain.finish() } catch { failure = failure ?? error }
        if let failure { throw failure }
    }

    /// How deep the image lies that `-b` names; nil where none of the chain is it.
    private func depth(of request: CommitRequest) async throws(ImageError) -> Int? {
        guard let base = request.base, !base.isEmpty else { return nil }
        var image = request.image
        image.forceShare = true
        let chain = try await open(image) { _ in .read }
        let layers = chain.layers.map { ($0.filename, $0.identity) }
        await chain.close()
        for (index, (above, below)) in zip(layers, layers.dropFirst()).enumerated() {
            let named = PathText.combine(above.0, base)
            if named == below.0 { return index + 1 }
            if let identity = below.1, await self.identity(of: named) == identity { return index + 1 }
        }
        return nil
    }

    private func identity(of path: String) async -> HostFileIdentity? {
        do throws(OpenError) {
            let file = try await openFile(ImageReference(path, format: "raw", forceShare: true))
            await file.close()
            return file.identity
        } catch { return nil }
    }

    private func commit(
        _ chain: ImageChain, to depth: Int?, _ request: CommitRequest, _ progress: (Double) -> Void
    ) async throws(ImageError) {
        guard let depth, depth < chain.layers.count else {
            guard let base = request.base else { throw ImageError("Image does not have a backing file") }
            throw ImageError("Did not find '\(base)' in the backing chain of '\(request.image.text)'")
        }
        let walk = CommitWalk(chain, into: depth, bytesPerSecond: request.bytesPerSecond)
        do throws(BlockError) { try await walk.run(context, progress) } catch {
            throw ImageError("Block job failed: \(error.sentence)")
        }
        progress(1)
        guard !request.keepsContents, let image = chain.image else { return }
        let top = chain.layers[0].walker
        do throws(BlockError) {
            try await top.finish()
            try await image.makeEmpty { await top.punch($0) }
        } catch {
            throw ImageError("Could not empty \(request.image.text): \(error.sentence)")
        }
        // All is done: a file that stays long has room that nothing uses, and no more.
        try? await top.cutTail()
    }
}
