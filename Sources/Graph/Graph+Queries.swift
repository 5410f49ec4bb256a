extension Graph {
    /// All nodes, oldest first (`query-named-block-nodes` lists them the other way round).
    public var nodes: [NodeInfo] { value.inOrder.compactMap { info(of: $0) } }

    /// One node, or nil.
    public func node(_ name: String) -> NodeInfo? { value.find(name).flatMap { info(of: $0) } }
}
