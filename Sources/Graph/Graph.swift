public import Block
import DirtyMap
import NBDClient
public import Filters

/// The block graph of one I/O context: named nodes, the edges between them, and the users on top.
///
/// What the graph looks like is a value (`GraphValue`). A change plans another value, which can fail without side
/// effects; then what it needs is opened and locked, the users above the affected part are drained, the new value and
/// its walkers are swapped in, and what is no longer used is closed. One change runs at a time; others wait their turn.
///
/// Confined to its context. Every error text is QEMU 7.2's where QEMU has one; its class is always GenericError.
public final class Graph {
    /// What a graph is made with.
    public struct Configuration {
        public var opener: any StorageOpener
        /// Makes the files of `snapshotSync`; without one it is refused.
        public var creator: (any ImageCreator)?
        public var backing: BackingPolicy
        /// Whether QEMU's behaviour holds where ours differs on purpose (called by a `qemu-*` name).
        public var actsAsQEMU: Bool
        public var observer: GraphObserver

        public init(
            opener: any StorageOpener, creator: (any ImageCreator)? = nil, backing: BackingPolicy = .sealed,
            actsAsQEMU: Bool = false, observer: GraphObserver = GraphObserver()
        ) {
            self.opener = opener
            self.creator = creator
            self.backing = backing
            self.actsAsQEMU = actsAsQEMU
            self.observer = observer
        }
    }

    let context: any IOContext
    let configuration: Configuration
    /// The graph as it is.
    var value = GraphValue()
    /// What stands behind each node of the value.
    var live: [NodeID: LiveNode] = [:]
    var roots: [RootID: BlockRoot] = [:]
    /// Held by the change under way.
    /// What each node is used for, as its locks stand.
    var granted: [NodeID: NodePermissions] = [:]
    let changing = AsyncLock()
    /// The groups of limits that nodes and devices share.
    public let throttleGroups: ThrottleGroupSet
    /// What the dirty bitmaps of all nodes may take.
    let bitmapMemory = BitmapMemory()

    public init(context: any IOContext, _ configuration: Configuration) {
        self.context = context
        self.configuration = configuration
        throttleGroups = ThrottleGroupSet(context: context)
    }

    var observer: GraphObserver { configuration.observer }

    /// Whether long work that can be done again, such as a repair, is given up.
    private(set) var isGivingUp = false

    /// What long work of this graph keeps to.
    var pace: Pace { Pace(context) { [weak self] in self.map { !$0.isGivingUp } ?? false } }

    // MARK: Commands

    /// `blockdev-add`: makes a node, with all its children, that the monitor owns. On failure nothing remains.
    public func add(_ options: NodeOptions) async throws(OpenError) {
        guard options.nodeName != nil else { throw OpenError("'node-name' must be specified for the root node") }
        try await change { (change: Change) async throws(OpenError) in
            let id = try await change.open(options)
            change.value.nodes[id]?.isMonitorOwned = true
        }
    }

    /// Adds a node as `add` does, and gives it a name where it has none. Answers the name. For programs that open
    /// images themselves. With `folders` only an image names it: its file must lie in one of them.
    public func open(_ options: NodeOptions, within folders: [String]? = nil) async throws(OpenError) -> String {
        var name = ""
        try await change { (change: Change) async throws(OpenError) in
            let id = try await change.open(options, OpenPlace(isImplicit: folders != nil, within: folders))
            change.value.nodes[id]?.isMonitorOwned = true
            name = change.value.name(of: id)
        }
        return name
    }

    /// `blockdev-del`.
    public func delete(_ name: String) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in
            let id = try change.value.deletable(name)
            change.value.nodes[id]?.isMonitorOwned = false
        }
    }

    /// `blockdev-reopen`: all of the list, or nothing. Every option that is not given returns to its default.
    public func reopen(_ list: [NodeOptions]) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in
            for options in list { try change.planReopen(options) }
        }
    }

    /// `blockdev-snapshot`: puts the node `overlay`, which is open without a backing file, on `node`.
    public func snapshot(node: String, overlay: String) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in
            try await self.plan(GraphAction.snapshot(node: node, overlay: overlay), in: change)
        }
    }

    /// `blockdev-snapshot-sync`: makes or opens an overlay file, and puts it on a node.
    public func snapshotSync(_ request: SnapshotSyncRequest) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in
            try await self.planSnapshot(request, in: change)
        }
    }

    /// `blockdev-snapshot-internal-sync`: makes a snapshot inside an image. Those who use it wait meanwhile.
    public func snapshotInternally(_ request: InternalSnapshotRequest) async throws(OpenError) {
        try await change { (change: Change) throws(OpenError) in try self.planSnapshot(request, in: change) }
    }

    /// `transaction`: all of the list, in its order, or nothing. An empty list is success.
    public func transaction(_ actions: [GraphAction]) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in
            for action in actions { try await self.plan(action, in: change) }
        }
    }

    /// `block_resize`, in bytes. `preallocation` says what room the disk has at its new end.
    public func resize(device: String?, nodeName: String?, to size: Int64, _ preallocation: Preallocation = .off)
        async throws(OpenError)
    {
        await changing.lock()
        defer { changing.unlock() }
        try await resizeLocked(device: device, nodeName: nodeName, to: size, preallocation)
    }

    // MARK: Users

    /// Makes a user of a node: what an export sends its requests to. It holds the node until it is detached. A user that
    /// says nothing else stands everything that others do, but a change of the size, and is served by the owner. `bitmaps` are those
    /// that it shows, which may be other nodes'.
    public func attach(
        _ name: String, to nodeName: String, used: Permissions,
        shared: Permissions = [.consistentRead, .write, .writeUnchanged],
        at place: ServingPlace = .owner, showing bitmaps: [BitmapSource] = []
    ) async throws(OpenError) -> BlockRoot {
        var made: BlockRoot?
        try await change { (change: Change) async throws(OpenError) in
            let node = try change.value.lookUp(device: nil, nodeName: nodeName)
            let root = try change.addRoot(name, on: node, used: used, shared: shared)
            change.value.roots[root.id]?.shown = bitmaps.compactMap { holder(of: $0, exportedFrom: nodeName) }
            root.thread =
                switch place {
                case .owner: nil
                case .shared(let thread): try change.value.threads()[node] ?? thread
                case .fixed(let thread): thread
                }
            change.value.roots[root.id]?.thread = root.thread
            made = root
        }
        guard let made else { throw OpenError("Node '\(nodeName)' is not open") }
        return made
    }

    /// Lends a node to one piece of work, as a user of its own. A node that is defined there lives as long as that.
    public func use(
        _ reference: ChildReference, _ name: String, used: Permissions, shared: Permissions,
        _ body: (BlockRoot) async throws(OpenError) -> Void
    ) async throws(OpenError) {
        var made: BlockRoot?
        try await change { (change: Change) async throws(OpenError) in
            let node = try await change.find(reference)
            made = try change.addRoot(name, on: node, used: used, shared: shared)
        }
        guard let made else { throw OpenError("The node is not open") }
        var failure: OpenError?
        do throws(OpenError) { try await body(made) } catch { failure = error }
        await detach(made)
        if let failure { throw failure }
    }

    /// Ends a user: waits for its requests, and closes what nothing else holds.
    public func detach(_ root: BlockRoot) async {
        root.close()
        await settle([root])
        do throws(OpenError) {
            try await change { (change: Change) throws(OpenError) in change.value.removeRoot(root.id) }
        } catch {
            observer.onWarning("\(root.name): \(error.message)")
        }
    }

    // MARK: Whole graph

    /// The end has come: an image whose repair is under way is not waited for, and its open fails.
    /// Nor is a server that has gone.
    public func giveUp() {
        isGivingUp = true
        for node in live.values { if case .remote(let remote) = node.driver { remote.giveUp() } }
    }

    /// Makes everything durable, from the top. Answers the first failure with its node's name; the others are flushed
    /// all the same.
    public func flushAll() async throws(OpenError) {
        await changing.lock()
        defer { changing.unlock() }
        var failure: OpenError?
        for id in value.topDown() {
            guard let node = live[id], !value.flags(of: id).isReadOnly else { continue }
            do { try await node.walker.flush() } catch {
                failure = failure ?? OpenError("\(value.name(of: id)): \(error.sentence)", cause: error)
            }
        }
        if let failure { throw failure }
    }

    /// Ends all users, then closes all nodes from the top, caches flushed.
    public func close() async {
        for root in Array(roots.values).sorted(by: { $0.id < $1.id }) { await detach(root) }
        do throws(OpenError) {
            try await change { (change: Change) throws(OpenError) in
                change.value.backends = [:]
                for id in change.value.nodes.keys { change.value.nodes[id]?.isMonitorOwned = false }
            }
        } catch {
            observer.onWarning(error.message)
        }
    }
}

/// The arguments of `blockdev-snapshot-sync`.
public struct SnapshotSyncRequest: Equatable, Sendable {
    public enum Mode: String, Sendable { case absolutePaths = "absolute-paths", existing }
    public var device: String?
    public var nodeName: String?
    public var snapshotFile: String
    public var snapshotNodeName: String?
    /// `qcow2` where not given.
    public var format: String?
    public var mode: Mode
    /// Whether a file that is not empty may be overwritten, as QEMU does without asking.
    public var mayReplace: Bool

    public init(
        device: String? = nil, nodeName: String? = nil, snapshotFile: String, snapshotNodeName: String? = nil,
        format: String? = nil, mode: Mode = .absolutePaths, mayReplace: Bool = false
    ) {
        self.device = device
        self.nodeName = nodeName
        self.snapshotFile = snapshotFile
        self.snapshotNodeName = snapshotNodeName
        self.format = format
        self.mode = mode
        self.mayReplace = mayReplace
    }
}
