import Block
import Bytes
import DirtyMap
import Qcow2

extension Graph {
    /// The longest disk: whole GiB below 2^63 bytes, as in QEMU.
    private static let longestDisk: UInt64 = UInt64(Int64.max) & ~((1 << 30) - 1)

    func resizeLocked(device: String?, nodeName: String?, to size: Int64, _ preallocation: Preallocation)
        async throws(OpenError)
    {
        let id = try value.lookUp(device: device, nodeName: nodeName)
        guard size >= 0 else { throw OpenError("Parameter 'size' expects a >0 size") }
        let length = UInt64(size)
        let name = value.name(of: id)
        if value.parents(of: id).contains(where: { $0.edge.role == .backing }) {
            // QEMU prints what the caller did not give.
            throw OpenError("Device '\(device ?? (configuration.actsAsQEMU ? "(null)" : name))' is in use")
        }
        // A user that resizes, for as long as it takes: the permissions say whether others stand that.
        let change = Change(self)
        _ = change.value.addRoot(on: id, used: .resize, shared: .all)
        do throws(OpenError) {
            try change.lockFiles()
            try checkResize(id, to: length)
        } catch {
            releaseLocks()
            throw error
        }
        defer { releaseLocks() }
        let affected = value.ancestors(of: [id])
        let drained = roots.values.filter { root in value.roots[root.id].map { affected.contains($0.node) } == true }
        for root in drained { root.beginDrain() }
        defer { for root in drained { root.resume() } }
        await settle(drained)
        guard let node = live[id] else { return }
        let lengths = drained.map(\.length)
        defer { for (root, old) in zip(drained, lengths) where root.length != old { root.onLengthChange?() } }
        // Whatever came of it: bitmaps are as long as their nodes.
        defer { for id in affected { live[id].map { $0.bitmaps.resize(to: $0.walker.length) } } }
        if preallocation != .off, length < node.walker.length {
            throw OpenError("Preallocation can't be used for shrinking an image", cause: .unsupported)
        }
        if preallocation == .metadata, node.image == nil {
            throw OpenError("Unsupported preallocation mode: metadata", cause: .unsupported)
        }
        do { try await resize(node, to: length, preallocation) } catch { throw resizeError(error, node) }
    }

    private func checkResize(_ id: NodeID, to length: UInt64) throws(OpenError) {
        guard let node = live[id] else { return }
        if value.flags(of: id).isReadOnly { throw OpenError("Image is read-only", cause: .readOnly) }
        if length > Self.longestDisk {
            throw OpenError("offset(\(length)) exceeds maximum(\(Self.longestDisk))", cause: .outOfRange)
        }
        switch node.driver {
        case .null: throw OpenError("Image format driver does not support resize", cause: .unsupported)
        case .raw(let format):
            if format.size != nil { throw OpenError("Cannot resize fixed-size raw disks", cause: .unsupported) }
            if length.addingReportingOverflow(format.offset).overflow
                || length + format.offset > UInt64(Int64.max)
            {
                throw OpenError("Disk size too large for the chosen offset", cause: .outOfRange)
            }
            try checkChild("file", of: id, to: length + format.offset)
        case .faults: try checkChild("image", of: id, to: length)
        case .throttle, .copyOnRead, .compress, .preallocate: try checkChild("file", of: id, to: length)
        case .remote:
            if length != node.walker.length { throw OpenError("Cannot resize NBD nodes", cause: .unsupported) }
        case .qcow2(let image): if let refusal = image.resizeRefusal(length) { throw refusal }
        case .file: break
        }
    }

    private func checkChild(_ name: String, of id: NodeID, to length: UInt64) throws(OpenError) {
        guard let child = value.nodes[id]?.edge(name)?.child else { return }
        try checkResize(child, to: length)
    }

    /// Resizes; what a disk gains the walker zeroes, and the end of a file that it no longer needs is cut off. Where the room
    /// that the disk shall have cannot be had, it has its old size again.
    private func resize(_ node: LiveNode, to length: UInt64, _ preallocation: Preallocation) async throws(BlockError) {
        let old = node.walker.length
        try await node.walker.resize(to: length)
        if length > old, preallocation != .off {
            do throws(BlockError) {
                try await node.walker.preallocate(ByteRange(from: old, to: length), preallocation, pace: pace)
            } catch {
                try? await node.walker.resize(to: old)
                try? await node.walker.cutTail()
                throw error
            }
        }
        guard length < old else { return }
        // The disk has its size; a tail that stays costs room and nothing else.
        do { try await node.walker.cutTail() } catch {
            observer.onWarning("\(node.name): the end of its file stays: \(error.sentence)")
        }
    }

    private func resizeError(_ error: BlockError, _ node: LiveNode) -> OpenError {
        switch error {
        case .unsupported: OpenError("Image format driver does not support resize", cause: error)
        case .readOnly: OpenError("Image is read-only", cause: error)
        default: OpenError("Failed to resize the image: \(error.sentence)", cause: error)
        }
    }
}
