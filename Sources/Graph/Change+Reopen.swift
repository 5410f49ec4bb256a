import Block
import NBDClient

extension Change {
    /// Plans one entry of `blockdev-reopen`.
    func planReopen(_ options: NodeOptions) throws(OpenError) {
        guard let name = options.nodeName else { throw OpenError("node-name not specified") }
        guard let id = value.find(name) else { throw OpenError("Failed to find node with node-name='\(name)'") }
        flushFailure = "Error flushing drive"
        try planReopen(id, options)
        let allFlags = value.allFlags()
        for (id, flags) in allFlags {
            try flags.check()
            try planRemoteAccess(id, flags)
            // A format on a file that could not be opened to be written falls back with it.
            guard let node = value.nodes[id], node.driver.supportsBacking, flags.autoReadOnly,
                let file = node.edge("file"), allFlags[file.child]?.isReadOnly == true
            else { continue }
            value.nodes[id]?.fellBack = true
        }
    }

    private func planReopen(_ id: NodeID, _ options: NodeOptions) throws(OpenError) {
        guard let old = value.nodes[id] else { return }
        // In QEMU's order: what lies below first.
        if case .qcow2(let after) = options.driver, after.backing == nil { try checkBackingIsNamed(id) }
        if let name = options.nodeName, name != old.name { throw OpenError("Cannot change the option 'node-name'") }
        if options.driver.name != old.driver.name { throw OpenError("Cannot change the option 'driver'") }
        try compare("force-share", old.common.forceShare, options.common.forceShare)
        switch (old.driver, options.driver) {
        case (.file(let before), .file(let after)), (.hostDevice(let before), .hostDevice(let after)):
            try compare("filename", before.filename, after.filename)
            try compare("aio", before.aio, after.aio)
            try compare("locking", before.locking, after.locking)
        case (.nullCo(let before), .nullCo(let after)), (.nullAio(let before), .nullAio(let after)):
            try compare("size", before.size, after.size)
            try compare("latency-ns", before.latencyNs, after.latencyNs)
            try compare("read-zeroes", before.readZeroes, after.readZeroes)
        case (.nbd(let before), .nbd(let after)):
            try compare(before, after)
        case (.raw, .raw(let after)):
            let role: ChildRole = after.offset != nil || after.size != nil ? .data : .filtered
            try planChild("file", of: id, after.file, role)
        case (.qcow2(let before), .qcow2(let after)):
            try planChild("file", of: id, after.file, .image)
            try planDataFile(id, before.dataFile, after.dataFile)
            try planBacking(of: id, after.backing)
        case (.blkdebug(let before), .blkdebug(let after)):
            try planFilter(id, before, after)
        case (.throttle, .throttle(let after)):
            _ = try graph.throttleGroup(after.group)
            try planChild("file", of: id, after.file, .filtered)
        case (.preallocate, .preallocate(let after)):
            try after.check()
            try planChild("file", of: id, after.file, .filtered)
        case (.copyOnRead, .copyOnRead), (.compress, .compress):
            throw OpenError(
                "Block format '\(old.driver.name)' used by node '\(old.name)' does not support reopening files")
        default: break
        }
        value.nodes[id]?.driver = options.driver
        value.nodes[id]?.common = options.common
        value.nodes[id]?.fellBack = false
    }

    /// An option that a reopen cannot change: it is as it was, or the change is refused.
    private func compare<Value: Equatable>(_ name: String, _ old: Value?, _ new: Value?) throws(OpenError) {
        if old == new { return }
        throw new == nil
            ? OpenError("Option '\(name)' cannot be reset to its default value")
            : OpenError("Cannot change the option '\(name)'")
    }

    /// All options of a remote export are told when it is opened.
    private func compare(_ old: NBDRemoteOptions, _ new: NBDRemoteOptions) throws(OpenError) {
        let (before, after) = (old.flat, new.flat)
        for key in (before + after).map(\.key) {
            try compare(key, before.first { $0.key == key }?.value, after.first { $0.key == key }?.value)
        }
        try compare("x-dirty-bitmap", old.bitmap, new.bitmap)
        try compare("reconnect-delay", old.reconnectDelay, new.reconnectDelay)
        try compare("open-timeout", old.openTimeout, new.openTimeout)
    }

    /// Keeps, reopens or replaces a child.
    private func planChild(_ name: String, of id: NodeID, _ reference: ChildReference, _ role: ChildRole)
        throws(OpenError)
    {
        let old = value.nodes[id]?.edge(name)
        switch reference {
        case .node(let childName):
            let child = try value.lookUp(device: nil, nodeName: childName)
            try value.checkNoCycle(child: child, as: name, of: id)
            if old?.child == child, old?.role == role { return }
            let inherits = old?.child == child && value.nodes[child]?.inheritsFrom == id
            value.detach(name, from: id)
            value.attach(child, to: id, as: name, role)
            if inherits { value.nodes[child]?.inheritsFrom = id }
        case .options(let options):
            // Only what was defined inside the parent is reopened with it.
            guard let old, value.nodes[old.child]?.inheritsFrom == id else {
                throw OpenError("Cannot change the option '\(name).driver'")
            }
            if old.role != role {
                value.detach(name, from: id)
                value.attach(old.child, to: id, as: name, role)
                value.nodes[old.child]?.inheritsFrom = id
                value.nodes[old.child]?.inheritedRole = role
            }
            try planReopen(old.child, options)
        }
    }

    /// Where there is a backing file, a reopen has to say what becomes of it.
    private func checkBackingIsNamed(_ id: NodeID) throws(OpenError) {
        guard let node = value.nodes[id], node.backing != nil || node.recordedBacking != nil else { return }
        throw OpenError("backing is missing for '\(node.name)'")
    }

    private func planBacking(of id: NodeID, _ reference: BackingReference?) throws(OpenError) {
        switch reference {
        case nil, .some(.own): try checkBackingIsNamed(id)
        case .some(.none): value.detach("backing", from: id)
        case .some(.empty): _ = try value.lookUp(device: nil, nodeName: nil)
        case .some(.child(let child)): try planChild("backing", of: id, child, .backing)
        }
    }

    /// An image's data stays where it is.
    private func planDataFile(_ id: NodeID, _ before: ChildReference?, _ after: ChildReference?) throws(OpenError) {
        guard let after else { return try compare("data-file", before, nil) }
        switch after {
        case .node(let name):
            guard let old = value.nodes[id]?.edge("data-file"), value.name(of: old.child) == name else {
                throw OpenError("Cannot change the option 'data-file'")
            }
        case .options: try planChild("data-file", of: id, after, .dataFile)
        }
    }

    /// A filter keeps its child and its rules.
    private func planFilter(_ id: NodeID, _ before: BlkdebugOptions, _ after: BlkdebugOptions) throws(OpenError) {
        try compare("inject-error", before.errors, after.errors)
        try compare("set-state", before.transitions, after.transitions)
        try compare("config", before.config, after.config)
        try compare("align", before.limits, after.limits)
        try compare("take-child-perms", before.taken, after.taken)
        try compare("unshare-child-perms", before.unshared, after.unshared)
        guard let old = value.nodes[id]?.edge("image") else { return }
        switch after.image {
        case .node(let name):
            guard value.name(of: old.child) == name else { throw OpenError("Cannot change the option 'image'") }
        case .options: try planChild("image", of: id, after.image, .filtered)
        }
    }
}
