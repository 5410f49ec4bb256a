import Block
import Devices
import Filters
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

    func queryBlock() async throws(QMPError) -> [BlockInfo] { devices.devices.map { info($0) } }

    func info(_ device: Device) -> BlockInfo {
        BlockInfo(
            device: device.name, qdev: device.guestID, type: "unknown", removable: device.isRemovable,
            locked: device.isLocked, inserted: medium(of: device), trayOpen: device.hasTray ? device.isTrayOpen : nil)
    }

    private func medium(of device: Device) -> BlockDeviceInfo? {
        guard let name = device.nodeName else { return nil }
        guard var info = deviceInfo(named: name) else { return nil }
        if let throttle = device.throttle { info.set(throttle) }
        return info
    }

    /// One node with what lies below it; nil where there is none of this name.
    func deviceInfo(named name: String) -> BlockDeviceInfo? {
        let nodes = graph.nodes
        guard let node = nodes.first(where: { $0.nodeName == name }) else { return nil }
        var images = ImageTexts(nodes, flat: false)
        return deviceInfo(node, flat: false, image: images.info(node))
    }

    func queryBlockstats(_ arguments: QueryBlockstatsArguments) async throws(QMPError) -> [BlockStats] {
        let nodes = graph.nodes
        let byName = Dictionary(uniqueKeysWithValues: nodes.map { ($0.nodeName, $0) })
        guard arguments.queryNodes ?? false else { return devices.devices.map { stats($0, byName) } }
        return nodes.map { stats($0, byName, withBacking: false) }
    }

    func blockLatencyHistogramSet(_ arguments: BlockLatencyHistogramSetArguments) async throws(QMPError) {
        let all = arguments.boundaries
        do throws(DeviceError) {
            try devices.setLatencies(
                id: arguments.id, read: arguments.boundariesRead ?? all, write: arguments.boundariesWrite ?? all,
                flush: arguments.boundariesFlush ?? all)
        } catch { throw QMPError(error) }
    }

    private func stats(_ device: Device, _ byName: [String: NodeInfo]) -> BlockStats {
        let node = device.nodeName.flatMap { byName[$0] }
        var result = node.map { stats($0, byName, withBacking: true) } ?? BlockStats(stats: .none(highest: 0))
        result.device = device.name
        result.qdev = device.guestID
        result.stats = BlockDeviceStats(
            device.statistics, highest: node?.highestWrite ?? 0, idleNs: device.statistics.idleNs(at: context.nowNs))
        return result
    }

    private func deviceInfo(_ node: NodeInfo, flat: Bool, image: QMPTypes.ImageInfo) -> BlockDeviceInfo {
        BlockDeviceInfo(
            file: node.filename, nodeName: node.nodeName, ro: node.isReadOnly, drv: node.driver,
            backingFile: node.backingFile, backingFileDepth: flat ? 0 : Int64(node.backingDepth),
            encrypted: node.image.isEncrypted,
            detectZeroes: BlockdevDetectZeroesOptions(rawValue: node.detectZeroes.rawValue) ?? .off, bps: 0, bpsRd: 0,
            bpsWr: 0, iops: 0, iopsRd: 0, iopsWr: 0, image: image,
            cache: BlockdevCacheInfo(writeback: true, direct: node.direct, noFlush: node.noFlush), writeThreshold: 0,
            dirtyBitmaps: node.bitmaps.isEmpty ? nil : node.bitmaps.map { BlockDirtyInfo($0) })
    }

    private func stats(_ node: NodeInfo, _ byName: [String: NodeInfo], withBacking: Bool) -> BlockStats {
        var result = BlockStats(nodeName: node.nodeName, stats: .none(highest: node.highestWrite))
        if let below = node.dataNode.flatMap({ byName[$0] }) {
            result.parent = .value(stats(below, byName, withBacking: withBacking))
        }
        if withBacking, let below = node.backingNode.flatMap({ byName[$0] }) {
            result.backing = .value(stats(below, byName, withBacking: true))
        }
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
            compat: info.compat, dataFile: info.dataFile, dataFileRaw: info.dataFileIsRaw,
            extendedL2: isV3 ? info.hasExtendedL2 : nil,
            lazyRefcounts: isV3 ? info.lazyRefcounts : nil, corrupt: isV3 ? info.isCorrupt : nil,
            refcountBits: Int64(info.refcountBits),
            bitmaps: info.bitmaps.isEmpty
                ? nil
                : info.bitmaps.map {
                    Qcow2BitmapInfo(
                        name: $0.name, granularity: UInt32($0.granularity),
                        flags: $0.flags.compactMap { Qcow2BitmapInfoFlags(rawValue: $0) })
                },
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
            icount: snapshot.instructionCount.map { Int64(clamping: $0) })
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

extension BlockDeviceStats {
    init(_ statistics: DeviceStatistics, highest: UInt64, idleNs: UInt64?) {
        self = .none(highest: highest)
        let (read, write) = (statistics.read, statistics.write)
        let (flush, unmap) = (statistics.flush, statistics.unmap)
        rdBytes = Int64(clamping: read.bytes)
        wrBytes = Int64(clamping: write.bytes)
        unmapBytes = Int64(clamping: unmap.bytes)
        rdOperations = Int64(clamping: read.operations)
        wrOperations = Int64(clamping: write.operations)
        flushOperations = Int64(clamping: flush.operations)
        unmapOperations = Int64(clamping: unmap.operations)
        rdTotalTimeNs = Int64(clamping: read.timeNs)
        wrTotalTimeNs = Int64(clamping: write.timeNs)
        flushTotalTimeNs = Int64(clamping: flush.timeNs)
        unmapTotalTimeNs = Int64(clamping: unmap.timeNs)
        failedRdOperations = Int64(clamping: read.failed)
        failedWrOperations = Int64(clamping: write.failed)
        failedFlushOperations = Int64(clamping: flush.failed)
        failedUnmapOperations = Int64(clamping: unmap.failed)
        invalidRdOperations = Int64(clamping: read.invalid)
        invalidWrOperations = Int64(clamping: write.invalid)
        invalidFlushOperations = Int64(clamping: flush.invalid)
        invalidUnmapOperations = Int64(clamping: unmap.invalid)
        accountInvalid = statistics.accountsInvalid
        accountFailed = statistics.accountsFailed
        idleTimeNs = idleNs.map { Int64(clamping: $0) }
        rdLatencyHistogram = read.latencies.map { BlockLatencyHistogramInfo($0) }
        wrLatencyHistogram = write.latencies.map { BlockLatencyHistogramInfo($0) }
        flushLatencyHistogram = flush.latencies.map { BlockLatencyHistogramInfo($0) }
    }
}

extension BlockLatencyHistogramInfo {
    init(_ histogram: LatencyHistogram) { self.init(boundaries: histogram.boundaries, bins: histogram.bins) }
}

extension BlockDeviceInfo {
    /// The limits that a device has now; bursts only where there are any.
    fileprivate mutating func set(_ throttle: ThrottleGroup) {
        let limits = throttle.limits
        group = throttle.name
        bps = Int64(clamping: limits.bps.average)
        bpsRd = Int64(clamping: limits.bpsRead.average)
        bpsWr = Int64(clamping: limits.bpsWrite.average)
        iops = Int64(clamping: limits.iops.average)
        iopsRd = Int64(clamping: limits.iopsRead.average)
        iopsWr = Int64(clamping: limits.iopsWrite.average)
        (bpsMax, bpsMaxLength) = limits.bps.burst
        (bpsRdMax, bpsRdMaxLength) = limits.bpsRead.burst
        (bpsWrMax, bpsWrMaxLength) = limits.bpsWrite.burst
        (iopsMax, iopsMaxLength) = limits.iops.burst
        (iopsRdMax, iopsRdMaxLength) = limits.iopsRead.burst
        (iopsWrMax, iopsWrMaxLength) = limits.iopsWrite.burst
        if limits.iopsSize > 0 { iopsSize = Int64(clamping: limits.iopsSize) }
    }
}

extension Filters.ThrottleLimits.Rate {
    fileprivate var burst: (maximum: Int64?, seconds: Int64?) {
        maximum > 0 ? (Int64(clamping: maximum), Int64(clamping: burstSeconds)) : (nil, nil)
    }
}
