import Block

/// What one node's users do with it, and let each other do.
struct NodePermissions: Equatable, Sendable {
    var used: Permissions = []
    var shared: Permissions = .all
}

extension GraphValue {
    /// One use of a node, as conflicts are told.
    private struct Use {
        let description: String
        let edgeName: String
        let used: Permissions
        let shared: Permissions
        let serial: UInt64
    }

    /// What each node is used for, or the first conflict (qmp-semantics, node references).
    ///
    /// `before` is the graph as it is, which tells a node that was read-only all along from one that is to become so.
    func permissions(before: GraphValue) throws(OpenError) -> [NodeID: NodePermissions] {
        var uses: [NodeID: [Use]] = [:]
        let names = backendNames
        for (id, root) in roots {
            uses[root.node, default: []].append(
                Use(
                    description: names[id].map { "block device '\($0)'" } ?? "an unnamed block device",
                    edgeName: "root", used: root.used, shared: root.shared,
                    serial: root.serial))
        }
        var result: [NodeID: NodePermissions] = [:]
        let allFlags = self.allFlags()
        for id in topDown() {
            guard let node = nodes[id] else { continue }
            let own = (uses[id] ?? []).sorted { $0.serial > $1.serial }
            try checkConflicts(own, on: node.name)
            var total = NodePermissions()
            for use in own {
                total.used.formUnion(use.used)
                total.shared.formIntersection(use.shared)
            }
            let flags = allFlags[id] ?? NodeFlags()
            if flags.isReadOnly, !total.used.isDisjoint(with: [.write, .writeUnchanged]) {
                let wasReadOnly = before.nodes[id] == nil || before.flags(of: id).isReadOnly
                throw OpenError(
                    wasReadOnly
                        ? "Block node is read-only"
                        : "Read-only block node '\(node.name)' cannot support read-write users", cause: .readOnly)
            }
            result[id] = total
            for edge in node.edges {
                var needed = Self.childPermissions(
                    edge.role, isReadOnly: flags.isReadOnly, sharesAll: allFlags[edge.child]?.forceShare ?? false, total
                )
                node.driver.adjust(&needed)
                uses[edge.child, default: []].append(
                    Use(
                        description: "node '\(node.name)'", edgeName: edge.name, used: needed.used,
                        shared: needed.shared, serial: edge.serial))
            }
        }
        return result
    }

    private func checkConflicts(_ uses: [Use], on name: String) throws(OpenError) {
        for (index, one) in uses.enumerated() {
            for (otherIndex, other) in uses.enumerated() where index != otherIndex {
                let refused = other.used.subtracting(one.shared)
                if refused.isEmpty { continue }
                throw OpenError(
                    "Permission conflict on node '\(name)': permissions '\(refused.text)' are both required by "
                        + "\(other.description) (uses node '\(name)' as '\(other.edgeName)' child) and unshared by "
                        + "\(one.description) (uses node '\(name)' as '\(one.edgeName)' child).", cause: .busy)
            }
        }
    }

    /// What a node needs of a child so that its own users get what they need.
    static func childPermissions(
        _ role: ChildRole, isReadOnly: Bool, sharesAll: Bool, _ users: NodePermissions
    ) -> NodePermissions {
        var needed = users
        switch role {
        case .filtered: break
        case .backing:
            // Only read; it may change only where the users of the overlay can stand that.
            needed.used.formIntersection(.consistentRead)
            needed.shared =
                users.shared.contains(.write)
                ? [.write, .resize, .consistentRead, .writeUnchanged] : [.consistentRead, .writeUnchanged]
        case .image:
            // Metadata may change although no guest writes, and nobody else may touch it.
            if !isReadOnly { needed.used.formUnion([.write, .resize]) }
            needed.used.insert(.consistentRead)
            needed.shared.subtract([.write, .resize])
            if needed.used.contains(.writeUnchanged) { needed.used.formUnion([.write, .resize]) }
        case .dataFile:
            // Written where a guest writes, past its end too; its length is the disk's.
            if needed.used.contains(.writeUnchanged) { needed.used.insert(.write) }
            if needed.used.contains(.write) { needed.used.insert(.resize) }
            needed.shared.remove(.resize)
        case .data:
            // The window has its place in a file of this size; it writes and resizes only for those above it.
            needed.shared.remove(.resize)
        }
        if sharesAll { needed.shared = .all }
        return needed
    }
}

extension DriverOptions {
    /// What a filter needs of its child besides what its users do.
    fileprivate func adjust(_ needed: inout NodePermissions) {
        switch self {
        case .blkdebug(let own):
            needed.used.formUnion(own.taken)
            needed.shared.subtract(own.unshared)
        case .copyOnRead:
            // A copy writes what is read anyway. Whoever wrote past the filter would not know of copies under way.
            if needed.used.contains(.consistentRead) { needed.shared.remove(.write) }
            needed.used.insert(.writeUnchanged)
        case .compress:
            // Whoever wrote to a part of a cluster past the filter would not know that the rest is written with it.
            if needed.used.contains(.write) { needed.shared.remove(.write) }
        case .preallocate:
            // It makes the file longer than its users know.
            guard needed.used.contains(.write) else { return }
            needed.used.insert(.resize)
            needed.shared.subtract([.write, .resize])
        default: break
        }
    }
}
