import Block

extension GraphValue {
    /// A node name has at most this many bytes.
    static let longestName = 31

    /// Whether the name may be a node's: a letter, then letters, digits, `-`, `.` and `_`.
    static func isWellFormed(_ name: String) -> Bool {
        guard let first = name.utf8.first, isLetter(first) else { return false }
        return name.utf8.allSatisfy { byte in
            isLetter(byte) || (byte >= 0x30 && byte <= 0x39) || byte == 0x2D || byte == 0x2E || byte == 0x5F
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (byte >= 0x41 && byte <= 0x5A) || (byte >= 0x61 && byte <= 0x7A)
    }

    /// Checks that a new node may have this name.
    func checkNewName(_ name: String) throws(OpenError) {
        guard Self.isWellFormed(name) else { throw OpenError("Invalid node-name: '\(name)'") }
        guard backends[name] == nil else { throw OpenError("node-name=\(name) is conflicting with a device id") }
        guard name.utf8.count <= Self.longestName else { throw OpenError("Node name too long") }
        guard find(name) == nil else { throw OpenError("Duplicate nodes with node-name='\(name)'") }
    }

    /// The node that `blockdev-del` may delete, or why it may not (qmp-semantics, the ladder of blockdev-del).
    func deletable(_ name: String) throws(OpenError) -> NodeID {
        guard let id = find(name) else { throw OpenError("Failed to find node with node-name='\(name)'") }
        if !roots(on: id).isEmpty { throw OpenError("Node \(name) is in use") }
        try checkNotBlocked(id)
        guard nodes[id]?.isMonitorOwned == true else { throw OpenError("Node \(name) is not owned by the monitor") }
        guard parents(of: id).isEmpty else { throw OpenError("Block device \(name) is in use") }
        return id
    }

    /// A backing file may be neither deleted nor snapshotted: it would change what lies on it.
    func checkNotBlocked(_ id: NodeID) throws(OpenError) {
        guard let blocker = parents(of: id).first(where: { $0.edge.role == .backing }) else { return }
        throw OpenError(
            "Node '\(deviceOrNodeName(of: id))' is busy: node is used as backing hd of '\(name(of: blocker.parent))'")
    }

    /// Whether putting `child` below `parent` would make a circle.
    func checkNoCycle(child: NodeID, as edge: String, of parent: NodeID) throws(OpenError) {
        guard isReachable(parent, from: child) else { return }
        throw OpenError("Making '\(name(of: child))' a \(edge) child of '\(name(of: parent))' would create a cycle")
    }
}
