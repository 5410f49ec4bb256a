import Block
import Qcow2

/// One change under way: the value that it plans, and what it has opened for that so far.
///
/// Until it is committed nothing of the graph has changed but that some files hold more locks than they need.
final class Change {
    let graph: Graph
    let before: GraphValue
    /// The graph as it shall be.
    var value: GraphValue
    /// What stands behind the new nodes.
    var opened: [NodeID: LiveNode] = [:]
    var newRoots: [RootID: BlockRoot] = [:]
    /// What each node of `value` is used for, as far as it was checked.
    var permissions: [NodeID: NodePermissions] = [:]
    /// The locks that files hold by now, where the change has added some.
    private var locked: [NodeID: NodePermissions] = [:]
    /// Nodes whose files have given up their locks for this change.
    private var yielded: Set<NodeID> = []
    /// What happens to bitmaps.
    var bitmaps = BitmapPlan()
    /// Asked right before the swap, when nothing waits any more: throws where what was planned must not happen now.
    var confirm: () throws(OpenError) -> Void = {}
    /// Called within the swap.
    var onSwap: () -> Void = {}
    /// The options that held for each new node when it was opened.
    var openedFlags: [NodeID: NodeFlags] = [:]
    /// Internal snapshots that are made before the swap.
    var snapshots: [PlannedSnapshot] = []
    /// How a failed flush of a changed node is told; nil: the change goes on.
    var flushFailure: String?
    /// Whether files that cannot be reopened read-only stay as they are.
    var toleratesWritableFiles = false

    init(_ graph: Graph) {
        self.graph = graph
        before = graph.value
        value = graph.value
    }

    func live(_ id: NodeID) -> LiveNode? { opened[id] ?? graph.live[id] }

    /// Plans a user of a node of the value, which may be a backend's medium.
    func addRoot(
        _ name: String, on node: NodeID, used: Permissions, shared: Permissions, asMediumOf backend: String? = nil
    ) throws(OpenError) -> BlockRoot {
        let id = value.addRoot(on: node, used: used, shared: .all)
        if let backend { value.backends[backend]?.root = id }
        // In two steps, so that a conflict over what is used is told before one over what is not shared.
        _ = try value.permissions(before: before)
        value.roots[id]?.shared = shared
        let nodeName = value.name(of: node)
        guard let walker = live(node)?.walker else { throw OpenError("Node '\(nodeName)' is not open") }
        let root = BlockRoot(
            id, name: name, nodeName: nodeName, target: walker, used: used, shared: shared, observer: graph.observer)
        newRoots[id] = root
        return root
    }

    /// Checks the permissions of the value as planned so far, and takes the image locks that they need.
    func lockFiles() throws(OpenError) {
        permissions = try value.permissions(before: before)
        for id in value.inOrder {
            guard let host = live(id)?.host, let needed = permissions[id] else { continue }
            var held = locked[id] ?? graph.granted[id] ?? NodePermissions()
            if held.used.isSuperset(of: needed.used), held.shared.isSubset(of: needed.shared) { continue }
            yieldLocks(to: host)
            try host.acquirePermissions(used: needed.used, shared: needed.shared)
            held.used.formUnion(needed.used)
            held.shared.formIntersection(needed.shared)
            locked[id] = held
        }
    }

    /// A file that the change closes stands in nobody's way: where the same is open anew (a drive's image is put in again,
    /// to be written this time), the old one's locks go first.
    private func yieldLocks(to host: any HostFile) {
        for (id, node) in graph.live where value.nodes[id] == nil && !yielded.contains(id) {
            guard let file = node.host, file !== host, file.identity == host.identity else { continue }
            file.releasePermissions(used: [], shared: .all)
            yielded.insert(id)
        }
    }

    /// The change is dropped: what yielded its locks takes them back. Somebody else may have been faster.
    func reclaimLocks() {
        for id in yielded {
            guard let file = graph.live[id]?.host else { continue }
            let needed = graph.granted[id] ?? NodePermissions()
            do throws(OpenError) {
                try file.acquirePermissions(used: needed.used, shared: needed.shared)
            } catch { graph.observer.onWarning("\(file.filename): \(error.message)") }
        }
    }
}

extension Graph {
    /// Runs one change: plans it, carries it out, or drops it.
    func change(_ plan: (Change) async throws(OpenError) -> Void) async throws(OpenError) {
        await changing.lock()
        defer { changing.unlock() }
        let change = Change(self)
        do throws(OpenError) {
            try await plan(change)
            try await carryOut(change)
        } catch {
            await drop(change)
            throw error
        }
    }

    /// Closes what the change opened, and gives back the locks that it took.
    private func drop(_ change: Change) async {
        let planned = change.value.topDown()
        // What the value had dropped by then is closed first; children are older than what is defined on them.
        let dropped = change.opened.keys.filter { change.value.nodes[$0] == nil }.sorted(by: >)
        for id in dropped + planned {
            guard let node = change.opened[id] else { continue }
            await close(node, node.name)
        }
        change.reclaimLocks()
        releaseLocks()
    }

    /// Gives up the locks that the graph as it is does not need.
    func releaseLocks() {
        for (id, node) in live {
            guard let host = node.host else { continue }
            let needed = granted[id] ?? NodePermissions()
            host.releasePermissions(used: needed.used, shared: needed.shared)
        }
    }

    func close(_ node: LiveNode, _ name: String) async {
        do throws(BlockError) {
            try await node.close()
        } catch {
            if let told = observer.onCloseFailure { return told(name, error) }
            observer.onWarning("\(name): closing failed: \(error.sentence)")
        }
    }
}
