public import Block

/// A change of named backends, under way: what the devices write their commands in.
///
/// It works on the graph as it shall be. Until the swap nothing has happened, and an error leaves nothing behind; in
/// the swap all of it happens at once.
public final class BackendPlan {
    let change: Change

    init(_ change: Change) { self.change = change }

    /// Asked right before the swap, when nothing waits any more: throws where what was planned must not happen now.
    public var confirm: () throws(OpenError) -> Void {
        get { change.confirm }
        set { change.confirm = newValue }
    }

    /// Called within the swap, to do there what must happen in the same instant.
    public var onSwap: () -> Void {
        get { change.onSwap }
        set { change.onSwap = newValue }
    }

    // MARK: Looking

    public func hasNode(_ name: String) -> Bool { change.value.find(name) != nil }
    public func hasBackend(_ name: String) -> Bool { change.value.backends[name] != nil }

    /// The node that is a backend's medium; nil: it is empty, or there is no such backend.
    public func medium(of backend: String) -> String? { node(in: backend).map { change.value.name(of: $0) } }

    /// The name of a user of a node, a backend's or an export's; nil: it has none.
    public func user(of node: String) -> String? {
        guard let id = change.value.find(node) else { return nil }
        let names = change.value.backendNames
        return change.value.roots(on: id).lazy.compactMap { root in names[root] ?? self.change.graph.roots[root]?.name }
            .first
    }

    /// The options that hold for a node; for one that is opened like it.
    public func options(of node: String) -> CommonOptions? {
        change.value.find(node).map { change.value.options(of: $0) }
    }

    public func isMonitorOwned(_ node: String) -> Bool {
        change.value.find(node).flatMap { change.value.nodes[$0]?.isMonitorOwned } ?? false
    }

    /// How many hold a node: the monitor, nodes above it, and users.
    public func holders(of node: String) -> Int {
        guard let id = change.value.find(node) else { return 0 }
        return change.value.parents(of: id).count + change.value.roots(on: id).count + (isMonitorOwned(node) ? 1 : 0)
    }

    /// Throws where the node is a backing file, which may be neither deleted nor taken out.
    public func checkNotBlocked(_ node: String) throws(OpenError) {
        if let id = change.value.find(node) { try change.value.checkNotBlocked(id) }
    }

    // MARK: Planning

    /// Opens a node, with all its children. Only who it is given to holds it. Answers its name.
    public func open(_ options: NodeOptions) async throws(OpenError) -> String {
        let id = try await change.open(options)
        return change.value.name(of: id)
    }

    /// What an image file is opened as. The format is told by the content where none is given: by the magic number of
    /// qcow2, else it is raw.
    public func options(filename: String, format: String?, _ common: CommonOptions) async throws(OpenError)
        -> NodeOptions
    {
        try await change.options(filename: filename, format: format, common)
    }

    /// Gives up the monitor's hold on a node.
    public func disown(_ node: String) {
        if let id = change.value.find(node) { change.value.nodes[id]?.isMonitorOwned = false }
    }

    /// Checks that a device may be called this.
    public func checkIdentifier(_ name: String) throws(OpenError) {
        guard GraphValue.isWellFormed(name) else { throw OpenError("Parameter 'id' expects an identifier") }
    }

    /// Makes an empty backend.
    public func addBackend(_ name: String) throws(OpenError) {
        try change.value.checkNewBackend(name)
        change.value.backends[name] = BackendValue()
    }

    /// Removes a backend, and its medium with it where nobody else holds that.
    public func removeBackend(_ name: String) {
        takeOut(of: name)
        change.value.backends[name] = nil
    }

    /// Makes a node the medium of an empty backend, which may write to it if it is writable and `mayWrite`.
    public func insert(_ node: String, into backend: String, mayWrite: Bool, shared: Permissions) throws(OpenError)
        -> BlockRoot
    {
        guard let id = change.value.find(node) else { throw OpenError("Node '\(node)' not found") }
        precondition(change.value.backends[backend]?.root == nil, "a medium is put where one is")
        let isWritable = mayWrite && !change.value.flags(of: id).isReadOnly
        return try change.addRoot(
            backend, on: id, used: isWritable ? [.consistentRead, .write] : .consistentRead, shared: shared,
            asMediumOf: backend)
    }

    /// Takes the medium out; nobody else holding it, it is closed. Requests that wait for it are refused.
    public func takeOut(of backend: String) {
        if let root = change.value.backends[backend]?.root { change.value.removeRoot(root) }
    }

    private func node(in backend: String) -> NodeID? {
        change.value.backends[backend]?.root.flatMap { change.value.roots[$0]?.node }
    }
}

extension Graph {
    /// Changes named backends: all that `plan` plans, or nothing.
    public func changeBackends(_ plan: (BackendPlan) async throws(OpenError) -> Void) async throws(OpenError) {
        try await change { (change: Change) async throws(OpenError) in try await plan(BackendPlan(change)) }
    }

    /// The options that hold for a node; for one that is opened like it.
    public func options(of node: String) -> CommonOptions? { value.find(node).map { value.options(of: $0) } }
}

extension GraphValue {
    func options(of id: NodeID) -> CommonOptions {
        let flags = flags(of: id)
        return CommonOptions(
            isReadOnly: flags.isReadOnly, discard: flags.discard, detectZeroes: flags.detectZeroes,
            direct: flags.direct, noFlush: flags.noFlush)
    }
}
