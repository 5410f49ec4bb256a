import Block

/// A named backend, as planned: what commands call a device. It shares its name space with the nodes.
struct BackendValue: Equatable, Sendable {
    /// The user that stands for its medium; nil: it is empty.
    var root: RootID?
}

extension GraphValue {
    /// The node that a command names as `device` or `node-name`: a named backend's medium first, then a node
    /// (qmp-semantics, error classes).
    func lookUp(device: String?, nodeName: String?) throws(OpenError) -> NodeID {
        if let device, let backend = backends[device] {
            guard let node = backend.root.flatMap({ roots[$0]?.node }) else {
                throw OpenError("Device '\(device)' has no medium", cause: .noMedium)
            }
            return node
        }
        if let nodeName, let id = find(nodeName) { return id }
        throw OpenError("Cannot find device='\(device ?? "")' nor node-name='\(nodeName ?? "")'")
    }

    /// Whether a command that takes a device or a node finds something by this name.
    func isFound(_ name: String) -> Bool { backends[name]?.root != nil || find(name) != nil }

    /// Checks that a new backend may have this name (qmp-semantics, blockdev-add).
    func checkNewBackend(_ name: String) throws(OpenError) {
        guard Self.isWellFormed(name) else { throw OpenError("Parameter 'id' expects an identifier") }
        guard backends[name] == nil else { throw OpenError("Device with id '\(name)' already exists") }
        guard find(name) == nil else { throw OpenError("Device name '\(name)' conflicts with an existing node name") }
    }

    /// The backends' names, by the users that stand for their media.
    var backendNames: [RootID: String] {
        var names: [RootID: String] = [:]
        for (name, backend) in backends { if let root = backend.root { names[root] = name } }
        return names
    }

    /// What QEMU calls a node in most texts: the device whose medium it is, else its own name.
    func deviceOrNodeName(of id: NodeID) -> String {
        let names = backendNames
        return roots(on: id).lazy.compactMap { names[$0] }.first ?? name(of: id)
    }

    /// Ends a user; a backend whose medium it was is empty.
    mutating func removeRoot(_ id: RootID) {
        roots[id] = nil
        for (name, backend) in backends where backend.root == id { backends[name]?.root = nil }
    }
}
