public import Block
public import Graph

/// A node of a graph as the target of commands. Without a lasting user each command attaches one of its own.
public final class NodeTarget: IOTarget {
    let graph: Graph
    /// The node's name.
    public let node: String
    /// The user's name, for messages.
    private let user: String
    private var root: BlockRoot?
    /// What requests go to: the user, or what guards a disk whose format was guessed.
    private var disk: (any Storage)?
    /// Whether nobody said that the image is raw.
    public var isGuessedRaw = false
    /// Opens the image in another way; nil: that cannot be done.
    public var onReopen: ((IOReopening) async throws(OpenError) -> Void)?

    public init(_ graph: Graph, _ node: String, user: String) {
        self.graph = graph
        self.node = node
        self.user = user
    }

    public var lasting: (any Storage)? { disk }

    /// Of the image, where a filter that copies stands before it.
    public var details: ImageDetails? {
        var info = graph.node(node)
        while info?.driver == "copy-on-read", let below = info?.dataNode { info = graph.node(below) }
        return info?.image
    }

    public var tellsLayout: Bool {
        var info = graph.node(node)
        while let now = info {
            if ["null-co", "null-aio", "nbd"].contains(now.driver) { return false }
            if now.driver == "qcow2" { return true }
            info = now.dataNode.flatMap { graph.node($0) }
        }
        return true
    }

    public func resumeAll() { graph.resumeBreakpoints(node: node) }

    /// Attaches a user that outlives commands.
    public func attach(_ permissions: Permissions, writesThrough: Bool = false) async throws(OpenError) {
        let root = try await graph.attach(user, to: node, used: permissions, shared: .all)
        root.writesThrough = writesThrough
        self.root = root
        disk = guarded(root)
    }

    /// Whether every write is durable when it ends.
    public var writesThrough: Bool {
        get { root?.writesThrough ?? false }
        set { root?.writesThrough = newValue }
    }

    /// Called once it is closed.
    public var onClose: () async -> Void = {}

    public func close() async {
        await detach()
        await onClose()
    }

    /// Waits for its requests, and ends it.
    public func detach() async {
        guard let root else { return }
        self.root = nil
        disk = nil
        await graph.detach(root)
    }

    public func use(_ permissions: Permissions, _ body: (any Storage) async -> Bool) async throws(OpenError) -> Bool {
        if let root, let disk, root.used.isSuperset(of: permissions) { return await body(disk) }
        let own = try await graph.attach(user, to: node, used: permissions, shared: .all)
        let result = await body(guarded(own))
        await graph.detach(own)
        return result
    }

    public func useVMState(_ permissions: Permissions, _ body: ((any Storage)?) async -> Bool)
        async throws(OpenError) -> Bool
    {
        // Where it begins follows from the disk's size.
        let own = try await graph.attach(user, to: node, used: permissions, shared: .all.subtracting(.resize))
        var outcome = false
        var failure: OpenError?
        do throws(OpenError) {
            outcome = try await graph.withVMState(for: own, isSaved: permissions.contains(.write), body)
        } catch { failure = error }
        await graph.detach(own)
        if let failure { throw failure }
        return outcome
    }

    private func guarded(_ root: BlockRoot) -> any Storage { isGuessedRaw ? GuessedDisk(root) : root }

    public func reopen(_ reopening: IOReopening) async throws(OpenError) {
        guard let onReopen else { throw OpenError("The image cannot be opened in another way") }
        try await onReopen(reopening)
    }

    public func resize(to length: UInt64, _ preallocation: Preallocation) async throws(OpenError) {
        guard let size = Int64(exactly: length) else { throw OpenError("The new size is too large") }
        // Who may not write is told so, as of any other command.
        _ = try await use([.consistentRead, .write, .resize]) { _ in true }
        try await graph.resize(device: nil, nodeName: node, to: size, preallocation)
    }

    // MARK: Breakpoints

    public func setBreakpoint(on event: FaultEvent, tag: String, onStop: @escaping (String) -> Void)
        throws(BlockError)
    { try graph.setBreakpoint(node: node, on: event, tag: tag, onStop: onStop) }

    public func removeBreakpoint(_ tag: String) throws(BlockError) -> Bool {
        try graph.removeBreakpoint(node: node, tag: tag)
    }

    public func resumeBreakpoint(_ tag: String) throws(BlockError) -> Bool {
        try graph.resumeBreakpoint(node: node, tag: tag)
    }

    public func waitForBreakpoint(_ tag: String) async throws(BlockError) {
        try await graph.waitForBreakpoint(node: node, tag: tag)
    }
}
