import Block
import DirtyMap
import Filters
import Qcow2

/// Where a node is opened: inside which parent, and below which images.
struct OpenPlace {
    var above: Inheritance?
    /// The files of the images above, whose chain the node would be part of.
    var chain: Set<HostFileIdentity> = []
    /// How many images lie above.
    var depth = 0
    /// Whether only an image names the node, and the folders that its file must lie in.
    var isImplicit = false
    var within: [String]?

    static let root = OpenPlace()

    func child(_ flags: NodeFlags, _ role: ChildRole, isFormat: Bool) -> OpenPlace {
        OpenPlace(
            above: Inheritance(flags: flags, role: role, isFormat: isFormat), chain: chain, depth: depth,
            isImplicit: isImplicit, within: within)
    }
}

extension Change {
    /// Opens a node with all that is defined inside it, children first, and adds it to the value. Nobody holds it yet.
    func open(_ options: NodeOptions, _ place: OpenPlace = .root) async throws(OpenError) -> NodeID {
        if let name = options.nodeName { try value.checkNewName(name) }
        let flags = NodeFlags(options.common, above: place.above)
        try flags.check()
        switch options.driver {
        case .file(let own): return try await openFile(own, isDevice: false, options, flags, place)
        case .hostDevice(let own): return try await openFile(own, isDevice: true, options, flags, place)
        case .nullCo(let own), .nullAio(let own):
            let id = try add(options, place)
            register(id, .null(NullStorage(own, on: graph.context)), flags)
            return id
        case .nbd(let own): return try await openRemote(own, options, flags, place)
        case .raw(let own): return try await openRaw(own, options, flags, place)
        case .qcow2(let own): return try await openQcow2(own, options, flags, place)
        case .blkdebug(let own): return try await openFaults(own, options, flags, place)
        case .throttle(let own): return try await openThrottle(own, options, flags, place)
        case .copyOnRead(let own): return try await openCopyOnRead(own, options, flags, place)
        case .compress(let own): return try await openCompress(own, options, flags, place)
        case .preallocate(let own): return try await openPreallocate(own, options, flags, place)
        }
    }

    /// A node that is named, or defined in place.
    func find(_ reference: ChildReference) async throws(OpenError) -> NodeID {
        try await child(reference, .root).id
    }

    // MARK: Adding to the value

    func add(_ options: NodeOptions, _ place: OpenPlace) throws(OpenError) -> NodeID {
        // The name may have been taken by a child since it was checked.
        if let name = options.nodeName { try value.checkNewName(name) }
        let name = options.nodeName ?? value.automaticName()
        var node = NodeValue(name: name, driver: options.driver, common: options.common)
        node.isImplicit = place.isImplicit
        node.within = place.within
        node.expected = place.above
        return value.addNode(node)
    }

    /// Notes what stands behind a node of the value.
    func register(_ id: NodeID, _ driver: LiveNode.Driver, _ flags: NodeFlags) {
        guard let node = value.nodes[id] else { return }
        var bitmaps = NodeBitmaps(memory: graph.bitmapMemory)
        if case .qcow2(let image) = driver { bitmaps = image.bitmaps }
        let walker = graph.makeWalker(
            driver, node, flags, bitmaps, child: { self.live($0)?.walker }, host: { self.live($0)?.host })
        opened[id] = LiveNode(driver, walker: walker, bitmaps: bitmaps, name: node.name)
        openedFlags[id] = value.flags(of: id)
    }

    /// Opens a child, or finds it.
    func child(_ reference: ChildReference, _ place: OpenPlace) async throws(OpenError)
        -> (id: NodeID, isInline: Bool)
    {
        switch reference {
        case .node(let name): return (try value.lookUp(device: name, nodeName: name), false)
        case .options(let options): return (try await open(options, place), true)
        }
    }

    func attach(_ child: (id: NodeID, isInline: Bool), to parent: NodeID, as name: String, _ role: ChildRole) {
        value.attach(child.id, to: parent, as: name, role)
        guard child.isInline else { return }
        value.nodes[child.id]?.expected = nil
        value.nodes[child.id]?.inheritsFrom = parent
        value.nodes[child.id]?.inheritedRole = role
    }

    // MARK: Drivers

    private func openFile(
        _ own: FileDriverOptions, isDevice: Bool, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace
    ) async throws(OpenError) -> NodeID {
        let spec = FileSpec(own, isDevice: isDevice, flags, within: place.within)
        if own.aio == .native, !flags.direct {
            throw OpenError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
        }
        let host = try await graph.configuration.opener.open(spec)
        if place.isImplicit, place.chain.contains(host.identity) {
            await host.close()
            throw OpenError("'\(own.filename)' stands on itself: the backing chain is a loop")
        }
        let id: NodeID
        do throws(OpenError) { id = try add(options, place) } catch {
            await host.close()
            throw error
        }
        value.nodes[id]?.fellBack = host.isReadOnly && !flags.isReadOnly
        register(id, .file(host), value.flags(of: id))
        return id
    }

    private func openRaw(_ own: RawOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let role: ChildRole = own.offset != nil || own.size != nil ? .data : .filtered
        let file = try await child(own.file, place.child(flags, role, isFormat: true))
        let id = try add(options, place)
        attach(file, to: id, as: "file", role)
        try lockFiles()
        guard let walker = live(file.id)?.walker else { throw OpenError("Node '\(value.name(of: file.id))' is closed") }
        register(id, .raw(try RawFormat(own, on: walker)), flags)
        return id
    }

    private func openQcow2(_ own: Qcow2Options, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let file = try await child(own.file, place.child(flags, .image, isFormat: true))
        let id = try add(options, place)
        attach(file, to: id, as: "file", .image)
        if flags.autoReadOnly, value.flags(of: file.id).isReadOnly { value.nodes[id]?.fellBack = true }
        let flags = value.flags(of: id)
        try lockFiles()
        guard let walker = live(file.id)?.walker else { throw OpenError("Node '\(value.name(of: file.id))' is closed") }
        if let reference = own.dataFile { try await openDataFile(of: id, reference, flags, place) }
        let image = try await Qcow2Image.open(
            file: walker, options: own.imageOptions(isReadOnly: flags.isReadOnly),
            observer: graph.imageObserver(for: value.name(of: id)), pace: graph.pace, memory: graph.bitmapMemory
        ) { (header) async throws(OpenError) in
            if own.dataFile == nil { try await self.openOwnDataFile(of: id, header, flags, place) }
            return self.value.nodes[id]?.edge("data-file").flatMap { self.live($0.child)?.walker }
        }
        if own.dataFile != nil, !image.header.hasDataFile {
            throw OpenError("'data-file' can only be set for images with an external data file")
        }
        value.nodes[id]?.isTracked = !image.bitmaps.all.isEmpty
        register(id, .qcow2(image), flags)
        if own.lazyRefcounts == true, image.header.version < 3 {
            throw OpenError("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
        }
        value.nodes[id]?.recordedBacking = image.header.backingFile
        try await openBacking(of: id, image, own.backing, flags, place)
        return id
    }

    // MARK: Data files

    /// Opens what holds the data of an image, as the user says.
    private func openDataFile(of id: NodeID, _ reference: ChildReference, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError)
    {
        attach(
            try await child(reference, place.child(flags, .dataFile, isFormat: true)), to: id, as: "data-file",
            .dataFile)
        try lockFiles()
    }

    /// Opens what the image itself says holds its data, as far as the policy lets it be opened; nothing where it names none.
    private func openOwnDataFile(of id: NodeID, _ header: Header, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError)
    {
        do throws(OpenError) {
            var place = place.child(flags, .dataFile, isFormat: true)
            place.chain.formUnion(identities(below: id))
            guard let options = try ownDataFile(of: id, header, &place) else { return }
            try await openDataFile(of: id, .options(options), flags, place)
        } catch {
            throw error.within("Could not open data file")
        }
    }

    // MARK: Backing files

    private func openBacking(
        of id: NodeID, _ image: Qcow2Image, _ reference: BackingReference?, _ flags: NodeFlags, _ place: OpenPlace
    ) async throws(OpenError) {
        var place = place.child(flags, .backing, isFormat: true)
        place.depth += 1
        place.chain.formUnion(identities(below: id))
        let backing: (id: NodeID, isInline: Bool)
        var isOwn = false
        do throws(OpenError) {
            switch reference {
            case .some(.none): return
            case .some(.empty):
                graph.observer.onWarning(
                    "warning: Use of \"backing\": \"\" is deprecated; use \"backing\": null instead")
                return
            case .some(.child(let reference)):
                place.isImplicit = false
                place.within = nil
                backing = try await child(reference, place)
            case nil, .some(.own):
                var (name, format): (String?, String?)
                if case .own(let givenName, let givenFormat) = reference { (name, format) = (givenName, givenFormat) }
                guard var own = try await ownBacking(of: id, image, as: format, &place) else { return }
                if place.depth > GraphValue.deepestChain { throw value.tooDeep(id) }
                if let name { own.nodeName = name }
                isOwn = true
                backing = (try await open(own, place), true)
            }
        } catch {
            throw error.within("Could not open backing file")
        }
        attach(backing, to: id, as: "backing", .backing)
        try lockFiles()
        if isOwn { value.nodes[id]?.ownBacking = backing.id }
        guard let node = value.nodes[id], let now = opened[id] else { return }
        graph.rebind(now.driver, node, child: { self.live($0)?.walker }, host: { self.live($0)?.host })
    }

    /// The files of a node's own data: not those of its backing files.
    private func identities(below id: NodeID) -> Set<HostFileIdentity> {
        var found = Set<HostFileIdentity>()
        var pending = [id]
        while let next = pending.popLast() {
            if let host = live(next)?.host { found.insert(host.identity) }
            for edge in value.nodes[next]?.edges ?? [] where edge.role != .backing { pending.append(edge.child) }
        }
        return found
    }
}

extension FileSpec {
    init(_ own: FileDriverOptions, isDevice: Bool, _ flags: NodeFlags, within: [String]?) {
        self.init(
            filename: own.filename, isDevice: isDevice, aio: own.aio ?? .ioUring, locking: own.locking ?? .auto,
            isReadOnly: flags.isReadOnly, autoReadOnly: flags.autoReadOnly, direct: flags.direct,
            noFlush: flags.noFlush, within: within)
        isDisc = own.isDisc
    }
}

extension Graph {
    /// How a value wants a node's host file to be open.
    func fileSpec(of id: NodeID, in value: GraphValue) -> FileSpec? {
        guard let node = value.nodes[id] else { return nil }
        let flags = value.flags(of: id)
        switch node.driver {
        case .file(let own): return FileSpec(own, isDevice: false, flags, within: node.within)
        case .hostDevice(let own): return FileSpec(own, isDevice: true, flags, within: node.within)
        case .nullCo, .nullAio, .nbd, .raw, .qcow2, .blkdebug, .throttle, .copyOnRead, .compress, .preallocate:
            return nil
        }
    }
}
