import Block

extension GraphValue {
    /// No image has more images below it (docs/reliability.md, limits).
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

    /// How many layers `id` lies below `top`, whose backing chain it is in; nil where it is not.
    func depth(of id: NodeID, below top: NodeID) -> Int? {
        var depth = 0
        var next: NodeID? = top
        while let here = next, let node = nodes[here], depth <= nodes.count {
            if here == id { return depth }
            if let below = node.backing {
                depth += 1
                next = below
            } else {
                next = node.driver.isFilter ? node.edges.first?.child : nil
            }
        }
        return nil
    }

    func checkDepth() throws(OpenError) {
        var depths: [NodeID: Int] = [:]
        for id in topDown().reversed() {
            guard let node = nodes[id] else { continue }
            var depth = 0
            for edge in node.edges { depth = max(depth, (depths[edge.child] ?? 0) + (edge.role == .backing ? 1 : 0)) }
            if depth > Self.deepestChain { throw tooDeep(id) }
            depths[id] = depth
        }
    }

    func tooDeep(_ id: NodeID) -> OpenError {
        OpenError("The backing chain of '\(name(of: id))' is longer than \(Self.deepestChain) images")
    }
}
