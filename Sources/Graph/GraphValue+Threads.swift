import Block
import Filters

/// A thread of the program's that serves some disks, by its id in the management protocol.
public typealias ThreadName = String

/// Where a user's requests are to come from.
public enum ServingPlace: Equatable, Sendable {
    /// The owner's thread, wherever those of the node's other users come from.
    case owner
    /// The I/O thread of the node's other users; where they have none, this one, or the owner's.
    case shared(ThreadName?)
    /// This one, or the user is refused.
    case fixed(ThreadName)
}

extension GraphValue {
    /// The I/O thread that each node is served on by its users; nodes that only the owner's thread serves are left out. Nodes
    /// that are connected share one (docs/decisions/0009-io-threads.md). Throws where two threads would meet.
    func threads() throws(OpenError) -> [NodeID: ThreadName] {
        let links = self.links()
        var result: [NodeID: ThreadName] = [:]
        for root in roots.values.sorted(by: { $0.serial < $1.serial }) {
            guard let thread = root.thread else { continue }
            if let other = result[root.node] {
                guard other == thread else { throw OpenError("Cannot change iothread of active block backend") }
                continue
            }
            var pending = [root.node]
            result[root.node] = thread
            while let id = pending.popLast() {
                for next in links[id] ?? [] where result[next] == nil {
                    result[next] = thread
                    pending.append(next)
                }
            }
        }
        return result
    }

    /// What requests on a node may touch besides: its children, its parents' other children, whoever shares its limits, and
    /// nodes whose bitmaps its users show.
    private func links() -> [NodeID: [NodeID]] {
        var links: [NodeID: [NodeID]] = [:]
        func link(_ a: NodeID, _ b: NodeID) {
            links[a, default: []].append(b)
            links[b, default: []].append(a)
        }
        for root in roots.values { for node in root.shown { link(root.node, node) } }
        var groups: [String: NodeID] = [:]
        for (id, node) in nodes {
            for edge in node.edges { link(id, edge.child) }
            guard case .throttle(let options) = node.driver else { continue }
            if let other = groups[options.group] { link(id, other) } else { groups[options.group] = id }
        }
        return links
    }
}

extension Graph {
    /// Whether a user is served on the thread.
    public func usesThread(_ thread: ThreadName) -> Bool { value.roots.values.contains { $0.thread == thread } }
}
