import Block
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
            root = try await attach(image, to: name, isWritable: isWritable)
        } catch {
            await forget(name)
            throw error
        }
        let host = graph.hostFile(of: name)
        let node = graph.node(name)
        return ImageFile(
            storage: root, name: node?.filename ?? image.text, path: host?.filename,
            allocatedBytes: node?.image.actualSize, clusterSize: node?.image.clusterSize, identity: host?.identity,
            kind: parts.kind,
            close: {
                await graph.detach(root)
                await forget(name)
            })
    }

    /// Opens an image with all it stands on. With `folder` only an image names it: it must lie in that folder or below, and so
    /// must what it stands on.
    public func open(_ image: ImageReference, isWritable: Bool = false, below folder: String? = nil)
        async throws(ImageError) -> ImageChain
    {
        try await open(image, below: folder) { depth in depth == 0 && isWritable ? .write : .read }
    }

    /// The same, `access` saying how each image is opened: the one that was named is 0, what it stands on 1.
    func open(_ image: ImageReference, below folder: String? = nil, access: (Int) -> ImageChain.Access)
        async throws(ImageError) -> ImageChain
    {
        do throws(OpenError) {
            let isWritable = access(0) == .write
            let name = try await openNode(
                image, isWritable: isWritable, backing: access(1) != .none, below: folder)
            var roots: [BlockRoot] = []
            do throws(OpenError) {
                let depths = graph.chain(below: name.top).count
                let written = (1..<max(depths, 1)).filter { access($0) == .write }
                // Who writes to a layer below must be let by who reads it from above.
                roots.append(
                    try await attach(image, to: name.top, isWritable: isWritable, sharesAll: !written.isEmpty))
                for depth in written {
                    let layer = graph.chain(below: name.top)[depth].nodeName
                    try await graph.setReadOnly(layer, false)
                    roots.append(try await attach(image, to: layer, isWritable: true))
                }
                return ImageChain(roots, in: self, nodes: [name.top, name.storage].compactMap { $0 })
            } catch {
                for root in roots { await graph.detach(root) }
                await forget(name.top)
                if let storage = name.storage { await forget(storage) }
                throw error
            }
        } catch { throw .couldNotOpen(image.text, error) }
    }

    /// Makes a user of a node.
    private func attach(_ image: ImageReference, to name: String, isWritable: Bool, sharesAll: Bool = false)
        async throws(OpenError) -> BlockRoot
    {
        let root = try await graph.attach(
            image.text, to: name, used: isWritable ? [.consistentRead, .write, .resize] : .consistentRead,
            shared: image.forceShare || sharesAll ? .all : Self.shared)
        root.writesThrough = image.cache.writesThrough
        return root
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
