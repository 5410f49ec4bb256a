import Block

/// Names a node for the graph's lifetime; never reused. Later nodes are larger.
struct NodeID: Hashable, Comparable, Sendable {
    let number: UInt64
    static func < (a: NodeID, b: NodeID) -> Bool { a.number < b.number }
}

/// Names a user on top of the graph.
struct RootID: Hashable, Comparable, Sendable {
    let number: UInt64
    static func < (a: RootID, b: RootID) -> Bool { a.number < b.number }
}

/// What a child is to its parent; decides which permissions the edge needs.
enum ChildRole: Sendable {
    /// An image's file: its data and metadata.
    case image
    /// Data alone, in a window.
    case data
    /// What a filter passes requests to.
    case filtered
    /// What decides where the parent has nothing.
    case backing
    /// An image's data, where it lies apart from its metadata.
    case dataFile
}

/// A parent's use of a child.
struct Edge: Equatable, Sendable {
    /// `file`, `data-file`, `backing` or `image`.
    let name: String
    let role: ChildRole
    var child: NodeID
    /// Later edges are larger: conflicts name the newest first.
    let serial: UInt64
}

/// What a node defined inside another one has from there.
struct Inheritance: Equatable, Sendable {
    var flags: NodeFlags
    var role: ChildRole
    /// Whether the parent is a format.
    var isFormat: Bool
}

/// A node, as planned: everything but what stands behind it.
struct NodeValue: Equatable, Sendable {
    var name: String
    /// As the user gave them; what a reopen is compared with. Options of children live in the children.
    var driver: DriverOptions
    var common: CommonOptions
    /// In the order in which they were attached.
    var edges: [Edge] = []
    /// The parent inside whose definition the node was made, and as what: it gives the options that are not set here.
    var inheritsFrom: NodeID?
    var inheritedRole: ChildRole?
    /// What it will inherit, while it is open and its parent is not yet.
    var expected: Inheritance?
    /// Whether the node was given by nobody, but named by the image above.
    var isImplicit = false
    var isMonitorOwned = false
    /// Whether the node has bitmaps, which its walker tells of changes.
    var isTracked = false
    /// Writing was not permitted, and auto-read-only allowed to go on.
    var fellBack = false
    /// The folders that the file must lie in, where only an image names it.
    var within: [String]?
    /// The backing file's name as the image has it.
    var recordedBacking: String?
    /// The node that this name means, where it was opened by it or recorded for it.
    var ownBacking: NodeID?

    func edge(_ name: String) -> Edge? { edges.first { $0.name == name } }
    var backing: NodeID? { edge("backing")?.child }
    /// What a format keeps itself in, or a filter stands on.
    var base: NodeID? { (edge("file") ?? edge("image"))?.child }
}

/// A user, as planned.
struct RootValue: Equatable, Sendable {
    var node: NodeID
    var used: Permissions
    var shared: Permissions
    let serial: UInt64
    /// The I/O thread that its requests come from; nil: the owner's.
    var thread: ThreadName?
    /// The nodes whose bitmaps it shows.
    var shown: [NodeID] = []
}

/// The graph as a value: nodes, edges, users and named backends. Changes are planned on a copy of it.
struct GraphValue: Equatable, Sendable {
    var nodes: [NodeID: NodeValue] = [:]
    var roots: [RootID: RootValue] = [:]
    /// The devices, with their media.
    var backends: [String: BackendValue] = [:]
    private var nextNumber: UInt64 = 1
    private var unnamed: UInt64 = 0

    mutating func nextSerial() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }

    mutating func addNode(_ node: NodeValue) -> NodeID {
        let id = NodeID(number: nextSerial())
        nodes[id] = node
        return id
    }

    mutating func addRoot(on node: NodeID, used: Permissions, shared: Permissions) -> RootID {
        let serial = nextSerial()
        let id = RootID(number: serial)
        roots[id] = RootValue(node: node, used: used, shared: shared, serial: serial)
        return id
    }

    mutating func attach(_ child: NodeID, to parent: NodeID, as name: String, _ role: ChildRole) {
        let edge = Edge(name: name, role: role, child: child, serial: nextSerial())
        nodes[parent]?.edges.append(edge)
    }

    mutating func detach(_ name: String, from parent: NodeID) {
        guard let edge = nodes[parent]?.edge(name) else { return }
        nodes[parent]?.edges.removeAll { $0.name == name }
        // What was defined inside the parent inherits nothing any more.
        if nodes[edge.child]?.inheritsFrom == parent { nodes[edge.child]?.inheritsFrom = nil }
    }

    /// A name for a node that has none: `#block`, a counter and two digits that differ from run to run in QEMU.
    mutating func automaticName() -> String {
        while true {
            let digits = (unnamed &* 7919 &+ 23) % 100
            let name = "#block\(unnamed)\(digits < 10 ? "0" : "")\(digits)"
            unnamed += 1
            if find(name) == nil { return name }
        }
    }

    // MARK: Looking

    /// All nodes, oldest first.
    var inOrder: [NodeID] { nodes.keys.sorted() }

    func find(_ name: String) -> NodeID? { nodes.first { $0.value.name == name }?.key }

    func name(of id: NodeID) -> String { nodes[id]?.name ?? "" }

    /// The nodes that use `id`, with the edges, newest edge first.
    func parents(of id: NodeID) -> [(parent: NodeID, edge: Edge)] {
        var found: [(parent: NodeID, edge: Edge)] = []
        for (parent, node) in nodes {
            for edge in node.edges where edge.child == id { found.append((parent, edge)) }
        }
        return found.sorted { $0.edge.serial > $1.edge.serial }
    }

    func roots(on id: NodeID) -> [RootID] { roots.filter { $0.value.node == id }.keys.sorted() }

    /// Whether `id` is `ancestor` or lies below it.
    func isReachable(_ id: NodeID, from ancestor: NodeID) -> Bool {
        var pending = [ancestor]
        var seen = Set(pending)
        while let next = pending.popLast() {
            if next == id { return true }
            for edge in nodes[next]?.edges ?? [] where seen.insert(edge.child).inserted { pending.append(edge.child) }
        }
        return false
    }

    /// All nodes, each before its children.
    func topDown() -> [NodeID] {
        var order: [NodeID] = []
        var seen = Set<NodeID>()
        // A stack of its own: chains may be long, and the thread's is not.
        for start in inOrder {
            var stack: [(id: NodeID, next: Int)] = seen.insert(start).inserted ? [(start, 0)] : []
            while let top = stack.last {
                let edges = nodes[top.id]?.edges ?? []
                guard top.next < edges.count else {
                    order.append(top.id)
                    stack.removeLast()
                    continue
                }
                stack[stack.count - 1].next += 1
                let child = edges[top.next].child
                if seen.insert(child).inserted { stack.append((child, 0)) }
            }
        }
        return order.reversed()
    }

    /// `seeds` and everything above them.
    func ancestors(of seeds: Set<NodeID>) -> Set<NodeID> {
        var result = seeds
        // Children first, so one pass suffices.
        for id in topDown().reversed() where !result.contains(id) {
            if nodes[id]?.edges.contains(where: { result.contains($0.child) }) == true { result.insert(id) }
        }
        return result
    }

    /// Drops what nobody holds: neither the monitor, nor a parent, nor a user.
    mutating func dropUnused() {
        while true {
            var held = Set(roots.values.map(\.node))
            for node in nodes.values { held.formUnion(node.edges.map(\.child)) }
            let unused = nodes.filter { !$0.value.isMonitorOwned && !held.contains($0.key) }.keys
            if unused.isEmpty { return }
            for id in unused { nodes[id] = nil }
            for id in nodes.keys {
                if let parent = nodes[id]?.inheritsFrom, nodes[parent] == nil { nodes[id]?.inheritsFrom = nil }
            }
        }
    }
}
