import Block
import Filters

// Filters: nodes that stand in front of one child.
extension Change {
    func openFaults(_ own: BlkdebugOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        var rules = FaultRules(errors: own.errors, transitions: own.transitions)
        if let path = own.config { rules = try await graph.faultRules(in: path) + rules }
        // As in QEMU the filter is there before its child is opened.
        let id = try add(options, place)
        let image = try await child(own.image, place.child(flags, .filtered, isFormat: false))
        attach(image, to: id, as: "image", .filtered)
        try lockFiles()
        try own.limits.check()
        register(id, .faults(FaultPlanner(errors: rules.errors, transitions: rules.transitions)), flags)
        return id
    }

    func openThrottle(_ own: ThrottleOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let file = try await child(own.file, place.child(flags, .filtered, isFormat: false))
        let id = try add(options, place)
        attach(file, to: id, as: "file", .filtered)
        try lockFiles()
        // The group may have gone while the child was opened.
        register(id, .throttle(ThrottleMember(of: try graph.throttleGroup(own.group))), flags)
        return id
    }

    func openCopyOnRead(_ own: CopyOnReadOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let file = try await child(own.file, place.child(flags, .filtered, isFormat: false))
        let id = try add(options, place)
        attach(file, to: id, as: "file", .filtered)
        try lockFiles()
        var bottom: NodeID?
        if let name = own.bottom {
            guard let found = value.find(name), let node = value.nodes[found] else {
                throw OpenError("Bottom node '\(name)' not found")
            }
            if node.driver.isFilter { throw OpenError("Bottom node '\(name)' is a filter") }
            bottom = found
        }
        register(id, .copyOnRead(bottom: bottom), flags)
        return id
    }

    func openCompress(_ own: CompressOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let file = try await child(own.file, place.child(flags, .filtered, isFormat: false))
        let id = try add(options, place)
        attach(file, to: id, as: "file", .filtered)
        try lockFiles()
        guard let walker = live(file.id)?.walker, walker.limits.encodedUnit > 0 else {
            let name = value.nodes[file.id]?.driver.name ?? ""
            throw OpenError("Compression is not supported for underlying format: \(name)")
        }
        register(id, .compress, flags)
        return id
    }

    func openPreallocate(_ own: PreallocateOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        try own.check()
        let file = try await child(own.file, place.child(flags, .filtered, isFormat: false))
        let id = try add(options, place)
        attach(file, to: id, as: "file", .filtered)
        try lockFiles()
        register(id, .preallocate(PreallocateState(own.room)), flags)
        return id
    }
}

extension PreallocateOptions {
    func check() throws(OpenError) {
        guard room.align % 512 != 0 || room.align == 0 else { return }
        throw OpenError("prealloc-align parameter of preallocate filter is not aligned to 512")
    }
}

extension Graph {
    func throttleGroup(_ name: String) throws(OpenError) -> ThrottleGroup {
        guard let group = throttleGroups.group(name) else {
            throw OpenError("Throttle group '\(name)' does not exist")
        }
        return group
    }

    /// The rules of a file for `blkdebug`.
    func faultRules(in path: String) async throws(OpenError) -> FaultRules {
        let bytes: [UInt8]
        do { bytes = try configuration.opener.contents(of: path, atMost: FaultRules.longestFile) } catch {
            throw OpenError("Could not read blkdebug config file: \(error.message)", cause: error.cause)
        }
        return try FaultRules(file: bytes)
    }

    /// Waits for the requests of users that are drained. Limits do not hold them back meanwhile, nor do breakpoints: nobody
    /// waits for hours because a disk is slow on purpose.
    func settle(_ roots: [BlockRoot]) async {
        guard roots.contains(where: { $0.inFlightCount > 0 }) else { return }
        let nodes = roots.compactMap { value.roots[$0.id]?.node }
        let members = live.compactMap { id, node -> ThrottleMember? in
            guard case .throttle(let member) = node.driver else { return nil }
            return nodes.contains { value.isReachable(id, from: $0) } ? member : nil
        }
        for (id, node) in live {
            guard case .faults(let planner) = node.driver else { continue }
            if nodes.contains(where: { value.isReachable(id, from: $0) }) { planner.resumeAll() }
        }
        for member in members { member.liftLimits() }
        for root in roots { await root.settle() }
        for member in members { member.restoreLimits() }
    }

    /// Whether a node keeps to the limits of this group.
    public func usesThrottleGroup(_ name: String) -> Bool {
        value.nodes.values.contains { node in
            if case .throttle(let own) = node.driver { return own.group == name }
            return false
        }
    }
}
