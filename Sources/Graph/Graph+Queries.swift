import Block
import Bytes
import DirtyMap
import Qcow2

extension Graph {
    /// All nodes, oldest first, children before the node that they are defined in; `query-named-block-nodes` lists them
    /// the other way round.
    public var nodes: [NodeInfo] {
        let names = FilenameTable(value)
        return value.inOrder.compactMap { info(of: $0, names) }
    }

    /// One node, or nil.
    public func node(_ name: String) -> NodeInfo? {
        value.find(name).flatMap { info(of: $0, FilenameTable(value)) }
    }

    /// The users on a node, by name.
    public func users(of nodeName: String) -> [String] {
        guard let id = value.find(nodeName) else { return [] }
        return value.roots(on: id).compactMap { roots[$0]?.name }
    }

    private func info(of id: NodeID, _ names: FilenameTable) -> NodeInfo? {
        guard let node = value.nodes[id], let live = live[id] else { return nil }
        let flags = value.flags(of: id)
        return NodeInfo(
            nodeName: node.name, driver: node.driver.name, filename: names.filename(of: id),
            isReadOnly: flags.isReadOnly, direct: flags.direct, noFlush: flags.noFlush,
            detectZeroes: flags.detectZeroes, isMonitorOwned: node.isMonitorOwned,
            backingDepth: value.backingDepth(of: id), backingNode: node.backing.map { value.name(of: $0) },
            backingFile: node.backing.map { names.filename(of: $0) },
            dataNode: (node.edge("file") ?? node.edge("image")).map { value.name(of: $0.child) },
            children: node.edges.map { ($0.name, value.name(of: $0.child)) },
            image: details(of: id, node, live, names), highestWrite: live.host?.highestWrite ?? 0,
            bitmaps: live.bitmaps.all.map { BitmapInfo($0) })
    }

    private func details(of id: NodeID, _ node: NodeValue, _ live: LiveNode, _ names: FilenameTable) -> ImageDetails {
        let length = live.walker.length
        var details = ImageDetails(
            filename: names.filename(of: id), format: node.driver.name,
            virtualSize: length.roundedUp(to: 512) ?? length, actualSize: allocatedSize(of: id), clusterSize: nil,
            dirtyFlag: dirtyFlag(of: id), isEncrypted: false, backingFilename: nil, backingFormat: nil,
            fullBackingFilename: nil, snapshots: [], qcow2: nil)
        guard let image = live.image else {
            details.clusterSize = filteredImage(of: id)?.info.clusterSize
            return details
        }
        let info = image.info
        details.clusterSize = info.clusterSize
        details.snapshots = info.snapshots
        details.qcow2 = info
        details.isEncrypted = image.header.cryptMethod != 0
        if let recorded = info.backingFile, !recorded.isEmpty {
            details.backingFilename = recorded
            details.backingFormat = info.backingFormat
            details.fullBackingFilename =
                PathText.protocolName(recorded) == nil
                ? PathText.combine(value.dataFilename(of: id) ?? "", recorded) : recorded
        }
        return details
    }

    /// What the node's own data takes on the host: without what its backing file takes.
    private func allocatedSize(of id: NodeID) -> UInt64? {
        if let data = value.nodes[id]?.edge("data-file")?.child, let file = value.nodes[id]?.base {
            guard let tables = allocatedSize(of: file), let rest = allocatedSize(of: data) else { return nil }
            return tables + rest
        }
        var next: NodeID? = id
        while let here = next, let node = value.nodes[here], let live = live[here] {
            if let host = live.host { return host.allocatedSize }
            if case .null = live.driver { return 0 }
            // Told by QEMU for no filter that stands for a protocol.
            if case .blkdebug = node.driver { return nil }
            next = node.base
        }
        return nil
    }

    /// The image that a filter stands in front of.
    private func filteredImage(of id: NodeID) -> Qcow2Image? {
        var next: NodeID? = id
        while let here = next, let node = value.nodes[here], node.driver.isFilter {
            next = node.edges.first?.child
            if let next, let image = live[next]?.image { return image }
        }
        return nil
    }

    private func dirtyFlag(of id: NodeID) -> Bool? {
        var next: NodeID? = id
        while let here = next, let node = value.nodes[here], let live = live[here] {
            if let image = live.image { return image.info.isDirty }
            if live.host != nil { return false }
            if case .null = live.driver { return nil }
            next = node.base
        }
        return nil
    }
}
