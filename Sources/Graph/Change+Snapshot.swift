import Block
import Bytes

extension Change {
    /// Puts `overlay`, which nobody reads, on `base`: everything that uses the base uses the overlay, and the base becomes
    /// read-only (qmp-semantics, blockdev-snapshot, the ladder from its third step on).
    func planSnapshot(of base: NodeID, overlay: NodeID) throws(OpenError) {
        flushFailure = "An IO error has occurred"
        toleratesWritableFiles = true
        guard let top = value.nodes[overlay] else { return }
        let uses = try value.permissions(before: before)
        if uses[overlay]?.used.contains(.consistentRead) == true { throw OpenError("The overlay is already in use") }
        if top.driver.isFilter { throw OpenError("Filters cannot be used as overlays") }
        if top.backing != nil { throw OpenError("The overlay already has a backing image") }
        guard top.driver.supportsBacking else { throw OpenError("The overlay does not support backing images") }
        try value.checkNoCycle(child: base, as: "backing", of: overlay)
        for (parent, edge) in value.parents(of: base) where !value.isReachable(parent, from: overlay) {
            guard let index = value.nodes[parent]?.edges.firstIndex(of: edge) else { continue }
            value.nodes[parent]?.edges[index].child = overlay
        }
        for root in value.roots(on: base) { value.roots[root]?.node = overlay }
        value.attach(base, to: overlay, as: "backing", .backing)
        value.nodes[base]?.inheritsFrom = nil
        // Its options were the parent's; they stay what they are.
        let flags = before.nodes[base] == nil ? value.flags(of: base) : before.flags(of: base)
        value.nodes[base]?.common.direct = flags.direct
        value.nodes[base]?.common.noFlush = flags.noFlush
        value.nodes[base]?.common.discard = flags.discard
        value.nodes[base]?.common.autoReadOnly = flags.autoReadOnly
        value.nodes[base]?.common.isReadOnly = true
    }
}

extension Graph {
    /// Drivers that exist; others are unknown.
    private static let drivers: Set<String> = [
        "file", "host_device", "null-co", "null-aio", "raw", "qcow2", "blkdebug", "throttle", "copy-on-read",
        "compress", "preallocate",
    ]

    /// Everything that was written before a snapshot is in the base.
    func flushForSnapshot(_ base: NodeID, in change: Change) async throws(OpenError) {
        guard let node = change.live(base), !change.value.flags(of: base).isReadOnly else { return }
        do { try await node.walker.flush() } catch {
            throw OpenError("An IO error has occurred", cause: error)
        }
    }

    /// Plans `blockdev-snapshot-sync`: checks, makes the overlay's file, opens it without backing, and puts it on.
    func planSnapshot(_ request: SnapshotSyncRequest, in change: Change) async throws(OpenError) {
        // `device` wins where it exists.
        let base = try change.value.lookUp(device: request.device, nodeName: request.nodeName)
        try change.value.checkNotBlocked(base)
        try await flushForSnapshot(base, in: change)
        if request.nodeName != nil, request.snapshotNodeName == nil { throw OpenError("New overlay node-name missing") }
        if let name = request.snapshotNodeName {
            if change.value.isFound(name) { throw OpenError("New overlay node-name already in use") }
            try change.value.checkNewName(name)
        }
        let format = request.format ?? "qcow2"
        let baseFlags = change.value.flags(of: base)
        if request.mode == .absolutePaths { try await createOverlay(request, format: format, on: base, in: change) }
        let overlay = try await change.open(
            overlayOptions(request, format: format, like: baseFlags), OpenPlace.root)
        if request.mode == .absolutePaths {
            // The name that was recorded means the base, however it is spelt.
            change.value.nodes[overlay]?.ownBacking = base
        }
        // Without this the overlay of a node that nothing uses would go as soon as it came. A device's goes with it.
        let isMedium = change.value.deviceOrNodeName(of: base) != change.value.name(of: base)
        change.value.nodes[overlay]?.isMonitorOwned = !configuration.actsAsQEMU && !isMedium
        try change.planSnapshot(of: base, overlay: overlay)
    }

    private func overlayOptions(_ request: SnapshotSyncRequest, format: String, like base: NodeFlags)
        throws(OpenError) -> NodeOptions
    {
        let own = FileDriverOptions(filename: request.snapshotFile)
        let isDevice = configuration.opener.isDevice(request.snapshotFile)
        let file = ChildReference.options(NodeOptions(isDevice ? .hostDevice(own) : .file(own)))
        let driver: DriverOptions
        switch format {
        case "qcow2": driver = .qcow2(Qcow2Options(file: file, backing: BackingReference.none))
        case "raw": driver = .raw(RawOptions(file: file))
        case _ where Self.drivers.contains(format): throw OpenError("The overlay does not support backing images")
        default: throw OpenError("Unknown driver '\(format)'")
        }
        let common = CommonOptions(
            isReadOnly: base.isReadOnly, discard: base.discard, direct: base.direct, noFlush: base.noFlush)
        return NodeOptions(driver, nodeName: request.snapshotNodeName, common: common)
    }

    private func createOverlay(
        _ request: SnapshotSyncRequest, format: String, on base: NodeID, in change: Change
    ) async throws(OpenError) {
        let value = change.value
        guard let creator = configuration.creator else { throw OpenError("This graph cannot create images") }
        guard Self.drivers.contains(format) else { throw OpenError("Unknown file format '\(format)'") }
        if let word = PathText.protocolName(request.snapshotFile) { throw OpenError("Unknown protocol '\(word)'") }
        guard format == "qcow2" else { throw OpenError("Backing file not supported for file format '\(format)'") }
        let plain = value.plainFilename(of: base)
        if plain == nil, configuration.backing != .qemu {
            throw OpenError(
                "Node '\(value.name(of: base))' has no plain file name, so an overlay could not name it; create the "
                    + "overlay yourself, and put it on with blockdev-snapshot")
        }
        let name = value.filename(of: base)
        if name == request.snapshotFile {
            throw OpenError("Error: Trying to create an image with the same filename as the backing file")
        }
        guard let node = change.live(base) else { return }
        try await creator.create(
            CreationRequest(
                filename: request.snapshotFile, format: format,
                size: node.walker.length.roundedUp(to: 512) ?? node.walker.length,
                backingFile: recordedName(of: name, in: request.snapshotFile, isPlain: plain != nil),
                backingFormat: value.nodes[base]?.driver.name ?? "raw",
                mayReplace: request.mayReplace || configuration.actsAsQEMU))
    }

    /// The base's name as the overlay shall record it: names in an image start from the image's folder, while the base's
    /// starts from ours. QEMU records it as it is.
    private func recordedName(of base: String, in overlay: String, isPlain: Bool) -> String {
        guard isPlain, !configuration.actsAsQEMU, !base.hasPrefix("/") else { return base }
        let folder = configuration.opener.workingFolder
        let baseFolder = PathText.absolute(PathText.folder(of: base) + ".", from: folder)
        let overlayFolder = PathText.absolute(PathText.folder(of: overlay) + ".", from: folder)
        return baseFolder == overlayFolder
            ? String(base.dropFirst(PathText.folder(of: base).count)) : PathText.absolute(base, from: folder)
    }
}
