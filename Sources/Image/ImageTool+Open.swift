public import Block
import Graph
import Qcow2

// How the tool opens images: as nodes of its graph, which is the daemon's.
extension ImageTool {
    /// What a user of an image lets others do meanwhile.
    static let shared: Permissions = [.consistentRead, .writeUnchanged]

    /// Opens what holds an image's bytes, and nothing that the image names. With `folder` only an image names it: it must
    /// lie in that folder or below.
    func openFile(_ image: ImageReference, isWritable: Bool = false, below folder: String? = nil)
        async throws(OpenError) -> ImageFile
    {
        let parts = try image.parts(isDevice: files.isDevice)
        let options = parts.storage.inheriting(image.common(isWritable: isWritable))
        let name = try await graph.open(options, within: folder.map { [$0] })
        let root: BlockRoot
        do throws(OpenError) {
            root = try await graph.attach(
                image.text, to: name, used: isWritable ? [.consistentRead, .write, .resize] : .consistentRead,
                shared: image.forceShare ? .all : Self.shared)
        } catch {
            await forget(name)
            throw error
        }
        root.writesThrough = image.cache.writesThrough
        let host = graph.hostFile(of: name)
        return ImageFile(
            storage: root, name: graph.filename(of: name) ?? image.text, path: host?.filename,
            allocatedBytes: host?.allocatedSize, identity: host?.identity, kind: parts.kind,
            close: {
                await graph.detach(root)
                await forget(name)
            })
    }

    /// Makes a file for a new image and opens it.
    func makeFile(_ path: String, _ attributes: FileAttributes) async throws(OpenError)
        -> NewFile
    {
        let isNew = try await files.makeFile(path, attributes)
        do throws(OpenError) {
            let file = try await openFile(ImageReference(path, format: "raw"), isWritable: true)
            return NewFile(file: file) {
                await file.close()
                if isNew { files.removeFile(path) }
            }
        } catch {
            if isNew { files.removeFile(path) }
            throw error
        }
    }

    /// Opens an image with all it stands on; without `backing`, with its data alone. With `folder` only an image names it:
    /// it must lie in that folder or below, and so must what it stands on.
    public func open(
        _ image: ImageReference, isWritable: Bool = false, backing: Bool = true, below folder: String? = nil
    ) async throws(ImageError) -> ImageChain {
        do throws(OpenError) {
            let name = try await openNode(image, isWritable: isWritable, backing: backing, below: folder)
            do throws(OpenError) {
                let root = try await graph.attach(
                    image.text, to: name.top, used: isWritable ? [.consistentRead, .write, .resize] : .consistentRead,
                    shared: image.forceShare ? .all : Self.shared)
                root.writesThrough = image.cache.writesThrough
                return ImageChain(root, in: self, nodes: [name.top, name.storage].compactMap { $0 })
            } catch {
                await forget(name.top)
                if let storage = name.storage { await forget(storage) }
                throw error
            }
        } catch { throw .couldNotOpen(image.text, error) }
    }

    /// The nodes that the tool holds: the image's, and the one that holds its bytes where that was opened first.
    private func openNode(_ image: ImageReference, isWritable: Bool, backing: Bool, below folder: String?)
        async throws(OpenError) -> (top: String, storage: String?)
    {
        let common = image.common(isWritable: isWritable)
        if case .node(let options) = image.place {
            let options = backing ? options : options.withoutBacking
            return (try await graph.open(options.inheriting(common), within: folder.map { [$0] }), nil)
        }
        let file = try await openFile(image, isWritable: isWritable, below: folder)
        var kind: ImageKind?
        var failure: OpenError?
        do throws(OpenError) { kind = try await file.readKind() } catch { failure = error }
        // The node stays, and the format is put on it.
        let node = file.storage.nodeName
        await graph.detach(file.storage)
        do throws(OpenError) {
            if let failure { throw failure }
            var options: NodeOptions
            switch kind {
            case .qcow2: options = NodeOptions(.qcow2(Qcow2Options(file: .node(node))), common: common)
            case .plain("raw"), nil: options = NodeOptions(.raw(RawOptions(file: .node(node))), common: common)
            case .plain: return (node, nil)
            }
            if !backing { options = options.withoutBacking }
            return (try await graph.open(options, within: folder.map { [$0] }), node)
        } catch {
            await forget(node)
            throw error
        }
    }

    /// Closes a node that nothing uses any more.
    func forget(_ name: String) async {
        do throws(OpenError) { try await graph.delete(name) } catch { report(error.text) }
    }
}

/// A file that was made for a new image.
struct NewFile {
    let file: ImageFile
    /// Closes it and, where it was not there before, removes it.
    let abandon: () async -> Void
}

extension NodeOptions {
    /// Without what the image stands on.
    fileprivate var withoutBacking: NodeOptions {
        guard case .qcow2(var own) = driver else { return self }
        own.backing = BackingReference.none
        var result = self
        result.driver = .qcow2(own)
        return result
    }
}
