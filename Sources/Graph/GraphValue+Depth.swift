import Block

extension GraphValue {
    /// No chain of backing files is longer (docs/reliability.md, limits).
    static let deepestChain = 256

    /// How many images lie below a node; a filter counts for nothing.
    func backingDepth(of id: NodeID) -> Int {
        var depth = 0
        var next: NodeID? = id
        while let here = next, let node = nodes[here], depth <= nodes.count {
            if let below = node.backing {
                depth += 1
                next = below
            } else {
                next = node.driver.isFilter ? node.edges.first?.child : nil
            }
        }
        return depth
    }

    func checkDepth() throws(OpenError) {
        for id in nodes.keys where nodes[id]?.backing != nil && backingDepth(of: id) >= Self.deepestChain {
            throw OpenError("The backing chain of '\(name(of: id))' is longer than \(Self.deepestChain) images")
        }
    }
}
