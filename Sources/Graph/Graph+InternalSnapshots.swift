public import Block
import Bytes
public import Qcow2

/// The arguments of `blockdev-snapshot-internal-sync`.
public struct InternalSnapshotRequest: Equatable, Sendable {
    /// A device, or a node that nothing lies on.
    public var device: String
    public var snapshot: NewSnapshot

    public init(device: String, snapshot: NewSnapshot) {
        self.device = device
        self.snapshot = snapshot
    }
}

/// An internal snapshot that a change will make, once all that writes to the image waits.
struct PlannedSnapshot {
    let node: NodeID
    let request: InternalSnapshotRequest
}

extension Graph {
    /// Plans `blockdev-snapshot-internal-sync`, with QEMU's ladder of refusals.
    func planSnapshot(_ request: InternalSnapshotRequest, in change: Change) throws(OpenError) {
        let (device, name) = (request.device, request.snapshot.name)
        let root = try topNode(device, in: change.value)
        if change.value.flags(of: root).isReadOnly { throw OpenError("Device '\(device)' is read only") }
        guard let (id, image) = snapshotImage(at: root, in: change.value) else {
            let format = change.value.nodes[root]?.driver.name ?? ""
            throw OpenError("Block format '\(format)' used by device '\(device)' does not support internal snapshots")
        }
        if name.isEmpty { throw OpenError("Name is empty") }
        let planned = change.snapshots.filter { $0.node == id }.map(\.request.snapshot.name)
        if image.snapshots.map(\.name).contains(name) || planned.contains(name) {
            throw OpenError("Snapshot with name '\(name)' already exists on device '\(device)'")
        }
        change.snapshots.append(PlannedSnapshot(node: id, request: request))
    }

    /// Makes the snapshots of a change, whose nodes are drained. Answers the way back.
    func makeSnapshot(_ planned: PlannedSnapshot) async throws(OpenError) -> () async -> Void {
        guard let node = live[planned.node], let image = node.image else { return {} }
        let (name, device) = (planned.request.snapshot.name, planned.request.device)
        let (walker, pace, observer) = (node.walker, self.pace, self.observer)
        let made: Snapshot
        do throws(BlockError) {
            try await walker.finish()
            made = try await image.createSnapshot(planned.request.snapshot, pace: pace) { await walker.punch($0) }
        } catch {
            throw OpenError(
                "Failed to create snapshot '\(name)' on device '\(device)': \(error.sentence)", cause: error)
        }
        return {
            do throws(BlockError) {
                try await image.deleteSnapshot(id: made.id, pace: pace) { await walker.punch($0) }
            } catch {
                observer.onWarning(
                    "Failed to delete snapshot with id '\(made.id)' and name '\(name)' on device '\(device)' in abort: "
                        + error.sentence)
            }
        }
    }

    /// `blockdev-snapshot-delete-internal-sync`: the snapshot that has the id and the name, or the one of them that is given.
    /// Answers what it was.
    public func deleteInternalSnapshot(device: String, id: String?, name: String?) async throws(OpenError) -> Snapshot {
        await changing.lock()
        defer { changing.unlock() }
        let root = try topNode(device, in: value)
        guard id != nil || name != nil else { throw OpenError("Name or id must be provided") }
        guard let (node, image) = snapshotImage(at: root, in: value) else {
            throw OpenError("Failed to get a snapshot list: Operation not supported")
        }
        let found = image.snapshots.first { (id ?? $0.id, name ?? $0.name) == ($0.id, $0.name) }
        guard let found else {
            throw OpenError(
                "Snapshot with id '\(id ?? "null")' and name '\(name ?? "null")' does not exist on device '\(device)'")
        }
        if value.flags(of: node).isReadOnly { throw OpenError("Device '\(device)' is read only") }
        try await whileDrained(node) { (walker) throws(BlockError) in
            try await walker.finish()
            try await image.deleteSnapshot(id: found.id, pace: self.pace) { await walker.punch($0) }
        }
        return found
    }

    /// Lends the VM state of the image that keeps the snapshots of a node, below filters and plain formats: to be written, or
    /// else to be read. Nil where nothing keeps one. `root` is a user of the node that lets nobody resize it: what `body` does counts
    /// as a request of it, so that a change of the graph waits for that, and lifts what holds it back.
    public func withVMState(
        for root: BlockRoot, isSaved: Bool, _ body: ((any Storage)?) async -> Bool
    ) async throws(OpenError) -> Bool {
        do throws(BlockError) {
            return try await root.counted {
                guard let top = value.find(root.nodeName), let (id, image) = snapshotImage(at: top, in: value),
                    let node = live[id], let state = image.vmState
                else { return await body(nil) }
                await state.reach(isSaved ? .vmstateSave : .vmstateLoad)
                defer { node.walker.resume() }
                return await body(node.walker.beside(state))
            }
        } catch { throw OpenError("The node is not used any more", cause: error) }
    }

    /// Runs `body` while nothing sends requests to a node.
    private func whileDrained(_ id: NodeID, _ body: (BlockIO) async throws(BlockError) -> Void) async throws(OpenError)
    {
        guard let node = live[id] else { return }
        let affected = value.ancestors(of: [id])
        let drained = roots.values.filter { root in value.roots[root.id].map { affected.contains($0.node) } == true }
        for root in drained { root.beginDrain() }
        defer { for root in drained { root.resume() } }
        for root in drained { await root.settle() }
        for id in affected { await live[id]?.walker.pause() }
        defer { for id in affected { live[id]?.walker.resume() } }
        do { try await body(node.walker) } catch {
            throw OpenError("Failed to remove snapshot from snapshot list: \(error.sentence)", cause: error)
        }
    }

    /// A device's node, or one by its name that nothing lies on.
    private func topNode(_ device: String, in value: GraphValue) throws(OpenError) -> NodeID {
        let id = try value.lookUp(device: device, nodeName: device)
        guard value.parents(of: id).isEmpty else { throw OpenError("Need a root block node") }
        return id
    }

    /// The image that keeps snapshots of what a node shows: its own, or that below filters and plain formats.
    private func snapshotImage(at top: NodeID, in value: GraphValue) -> (NodeID, Qcow2Image)? {
        var next: NodeID? = top
        while let id = next, let node = live[id] {
            if let image = node.image { return (id, image) }
            next = value.nodes[id]?.base
        }
        return nil
    }
}
