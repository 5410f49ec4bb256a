import Graph
import QMPTypes
import Qcow2

// The commands of Schema/block-query.json.
extension Service {
    func queryNamedBlockNodes(_ arguments: QueryNamedBlockNodesArguments) async throws(QMPError) -> [BlockDeviceInfo] {
        let nodes = graph.nodes
        var images = ImageTexts(nodes, flat: arguments.flat ?? false)
        return nodes.reversed().map { deviceInfo($0, flat: arguments.flat ?? false, image: images.info($0)) }
    }

    /// A daemon without devices has nothing to list.
    func queryBlock() async throws(QMPError) -> [BlockInfo] { [] }

    func queryBlockstats(_ arguments: QueryBlockstatsArguments) async throws(QMPError) -> [BlockStats] {
        guard arguments.queryNodes ?? false else { return [] }
        let nodes = graph.nodes
        let byName = Dictionary(uniqueKeysWithValues: nodes.map { ($0.nodeName, $0) })
        return nodes.reversed().map { stats($0, byName) }
    }

    private func deviceInfo(_ node: NodeInfo, flat: Bool, image: QMPTypes.ImageInfo) -> BlockDeviceInfo {
        BlockDeviceInfo(
            file: node.filename, nodeName: node.nodeName, ro: node.isReadOnly, drv: node.driver,
            backingFile: node.backingFile, backingFileDepth: flat ? 0 : Int64(node.backingDepth),
            encrypted: node.image.isEncrypted,
            detectZeroes: BlockdevDetectZeroesOptions(rawValue: node.detectZeroes.rawValue) ?? .off, bps: 0, bpsRd: 0,
            bpsWr: 0, iops: 0, iopsRd: 0, iopsWr: 0, image: image,
            cache: BlockdevCacheInfo(writeback: true, direct: node.direct, noFlush: node.noFlush), writeThreshold: 0)
    }

    private func stats(_ node: NodeInfo, _ byName: [String: NodeInfo]) -> BlockStats {
        var result = BlockStats(nodeName: node.nodeName, stats: .none(highest: node.highestWrite))
        if let below = node.dataNode.flatMap({ byName[$0] }) { result.parent = .value(stats(below, byName)) }
        return result
    }
}

/// The descriptions of many nodes' images. Each holds that of the image below it; all are made once.
private struct ImageTexts {
    private let byName: [String: NodeInfo]
    private let flat: Bool
    private var made: [String: QMPTypes.ImageInfo] = [:]

    init(_ nodes: [NodeInfo], flat: Bool) {
        byName = Dictionary(uniqueKeysWithValues: nodes.map { ($0.nodeName, $0) })
        self.flat = flat
    }

    mutating func info(_ node: NodeInfo) -> QMPTypes.ImageInfo {
        if let known = made[node.nodeName] { return known }
        let image = node.image
        var info = QMPTypes.ImageInfo(
            filename: image.filename, format: image.format, dirtyFlag: image.dirtyFlag,
            actualSize: image.actualSize.map { Int64(clamping: $0) }, virtualSize: Int64(clamping: image.virtualSize),
            clusterSize: image.clusterSize.map { Int64(clamping: $0) }, encrypted: image.isEncrypted ? true : nil,
            backingFilename: image.backingFilename, fullBackingFilename: image.fullBackingFilename,
            backingFilenameFormat: image.backingFormat)
        if !image.snapshots.isEmpty { info.snapshots = image.snapshots.map { SnapshotInfo($0) } }
        if let qcow2 = image.qcow2 {
            info.formatSpecific = ImageInfoSpecific(
                type: .qcow2, variant: .qcow2(ImageInfoSpecificQCow2Wrapper(data: ImageInfoSpecificQCow2(qcow2))))
        }
        if !flat, let below = node.backingNode.flatMap({ byName[$0] }) { info.backingImage = .value(self.info(below)) }
        made[node.nodeName] = info
        return info
    }
}

extension ImageInfoSpecificQCow2 {
    init(_ info: Qcow2.ImageInfo) {
        let isV3 = info.compat != "0.10"
        self.init(
            compat: info.compat, extendedL2: isV3 ? info.hasExtendedL2 : nil,
            lazyRefcounts: isV3 ? info.lazyRefcounts : nil, corrupt: isV3 ? info.isCorrupt : nil,
            refcountBits: Int64(info.refcountBits),
            compressionType: Qcow2CompressionType(rawValue: info.compressionType) ?? .zlib)
    }
}

extension SnapshotInfo {
    init(_ snapshot: Snapshot) {
        self.init(
            id: snapshot.id, name: snapshot.name, vmStateSize: Int64(clamping: snapshot.vmStateSize),
            dateSec: Int64(snapshot.dateSeconds), dateNsec: Int64(snapshot.dateNanoseconds),
            vmClockSec: Int64(clamping: snapshot.vmClockNs / 1_000_000_000),
            vmClockNsec: Int64(snapshot.vmClockNs % 1_000_000_000),
            icount: snapshot.instructionCount.flatMap { $0 == UInt64.max ? nil : Int64(clamping: $0) })
    }
}

extension BlockDeviceStats {
    /// What a node counts by itself: as in QEMU requests are counted by devices, nodes know their furthest write only.
    static func none(highest: UInt64) -> BlockDeviceStats {
        BlockDeviceStats(
            rdBytes: 0, wrBytes: 0, unmapBytes: 0, rdOperations: 0, wrOperations: 0, flushOperations: 0,
            unmapOperations: 0, rdTotalTimeNs: 0, wrTotalTimeNs: 0, flushTotalTimeNs: 0, unmapTotalTimeNs: 0,
            wrHighestOffset: Int64(clamping: highest), rdMerged: 0, wrMerged: 0, unmapMerged: 0,
            failedRdOperations: 0, failedWrOperations: 0, failedFlushOperations: 0, failedUnmapOperations: 0,
            invalidRdOperations: 0, invalidWrOperations: 0, invalidFlushOperations: 0, invalidUnmapOperations: 0,
            accountInvalid: false, accountFailed: false, timedStats: [])
    }
}
