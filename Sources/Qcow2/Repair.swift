import Block
import Bytes

extension Qcow2Check {
    /// The first cluster of free space where what a repair writes anew may lie: behind the file's end, or, on a device, behind
    /// all that is referenced or counted.
    var freeStart: UInt64 { file.limits.growable ? max(clusters, highestCluster + 1) : highestCluster + 1 }

    /// Builds the refcounts anew from what is referenced: new blocks and a new table in free space, durable before the
    /// header names them (O7, O8). What held the old ones is free afterwards. Where refcounts are too narrow they become
    /// wider by that.
    func rebuild() async throws(BlockError) {
        report("Rebuilding refcount structure")
        isFirstRound = false
        isFirstWindow = false
        if let order = damage.width { try await widen(to: order) }
        guard let plan = RebuildPlan(start: freeStart, touched: touchedBlocks, geometry),
            file.limits.growable || plan.end <= file.length / geometry.clusterSize
        else {
            report("ERROR: there is no room for new refcounts")
            result.checkErrors += 1
            return
        }
        counts = ReferenceCounts(
            clusters: plan.end, blockEntries: geometry.refcountBlockEntries, memoryLimit: memoryLimit)
        while true {
            try await walk(refcountStructures: false)
            for cluster in plan.start..<plan.end {
                counts.add(cluster)
                try await step(1)
            }
            try await writeBlocks(plan)
            guard counts.window.upperBound < plan.end else { break }
            counts.begin(at: counts.window.upperBound, clusters: plan.end)
        }
        try await writeTable(plan)
        try await lookAgain()
    }

    /// Takes wider refcounts, and finds out which blocks they need.
    private func widen(to order: UInt32) async throws(BlockError) {
        report("Widening refcounts to \(1 << order) bits")
        header.refcountOrder = order
        geometry = header.geometry
        packing = CheckRefcounts(bits: geometry.refcountBits)
        let before = result
        touchedBlocks = []
        lastTouched = .max
        counts.begin(at: 0, clusters: 0)
        isFirstWindow = true
        try await walk(refcountStructures: false)
        isFirstWindow = false
        result = before
    }

    /// Another round, after which what is not found any more counts as repaired.
    func lookAgain() async throws(BlockError) {
        isFirstRound = false
        let before = result
        let (l1Entries, l2Entries) = (damage.l1Entries, damage.l2Entries)
        result = Result()
        result.totalClusters = before.totalClusters
        try await analyse()
        // What was behind the file's end may look as if it were in the file that has grown.
        damage.l1Entries = damage.l1Entries || l1Entries
        damage.l2Entries = damage.l2Entries || l2Entries
        let (fewer, less) = (before.corruptions, before.leaks)
        result.corruptionsFixed =
            before.corruptionsFixed + (fewer > result.corruptions ? fewer - result.corruptions : 0)
        result.leaksFixed = before.leaksFixed + (less > result.leaks ? less - result.leaks : 0)
    }

    private func writeBlocks(_ plan: RebuildPlan) async throws(BlockError) {
        let entries = geometry.refcountBlockEntries
        for (number, block) in plan.blocks.enumerated() where counts.window.contains(block * entries) {
            var bytes = AlignedBuffer(byteCount: Int(geometry.clusterSize))
            var first = block * entries
            let end = min(first + entries, plan.end)
            while first < end {
                let next = min(first + Self.clustersPerStep, end)
                fill(&bytes, block: block * entries, first: first, end: next)
                first = next
                try await step(Int(Self.clustersPerStep))
            }
            try await write(bytes.bytes, at: plan.offset(of: number))
        }
    }

    /// `start`: the block's first cluster.
    private func fill(_ bytes: inout AlignedBuffer, block start: UInt64, first: UInt64, end: UInt64) {
        var block = bytes.mutableBytes
        for cluster in first..<end {
            let count = counts.count(cluster)
            if count > 0 { packing.store(min(count, geometry.refcountMax), &block, at: Int(cluster - start)) }
        }
    }

    private func writeTable(_ plan: RebuildPlan) async throws(BlockError) {
        var table = AlignedBuffer(byteCount: Int(plan.tableClusters * geometry.clusterSize))
        var span = table.mutableBytes
        for (number, block) in plan.blocks.enumerated() {
            span.storeBigEndian(plan.offset(of: number), at: Int(block) * 8)
        }
        try await write(table.bytes, at: plan.tableOffset)
        try await file.flush()
        header.refcountTableOffset = plan.tableOffset
        header.refcountTableClusters = UInt32(plan.tableClusters)
        try await writeHeaderFields()
    }

    /// Writes what a repair changes in the header, in one sector (O11): where the tables are, their sizes, feature bits and
    /// the refcounts' width. Durable afterwards.
    func writeHeaderFields() async throws(BlockError) {
        let length = min(512, geometry.clusterSize)
        var buffer = AlignedBuffer(byteCount: Int(length))
        var sector = buffer.mutableBytes
        try await file.read(at: 0, into: &sector)
        sector.storeBigEndian(header.l1TableOffset, at: 40)
        sector.storeBigEndian(header.refcountTableOffset, at: 48)
        sector.storeBigEndian(header.refcountTableClusters, at: 56)
        sector.storeBigEndian(header.snapshotCount, at: 60)
        sector.storeBigEndian(header.snapshotsOffset, at: 64)
        if header.version >= 3 {
            sector.storeBigEndian(header.incompatible.rawValue, at: 72)
            sector.storeBigEndian(header.autoclear.rawValue, at: 88)
            sector.storeBigEndian(header.refcountOrder, at: 96)
        }
        try await write(buffer.bytes, at: 0)
        try await file.flush()
    }
}

/// Where rebuilt refcounts will lie: blocks from `start` on, then the table.
struct RebuildPlan {
    let start: UInt64
    /// The indices of the blocks, in the order they lie.
    let blocks: [UInt64]
    let tableClusters: UInt64
    private let geometry: Geometry

    /// Nil where no refcount table could hold it.
    init?(start: UInt64, touched: Set<UInt64>, _ geometry: Geometry) {
        var needed = touched
        while true {
            guard let last = needed.max(), (last + 1) * 8 <= Limits.refcountTableBytes else { return nil }
            let tableClusters = geometry.clusters(for: (last + 1) * 8)
            let before = needed.count
            let end = start + UInt64(before) + tableClusters
            for block in start / geometry.refcountBlockEntries...(end - 1) / geometry.refcountBlockEntries {
                needed.insert(block)
            }
            if needed.count == before {
                self.tableClusters = tableClusters
                break
            }
        }
        self.start = start
        self.geometry = geometry
        blocks = needed.sorted()
    }

    func offset(of number: Int) -> UInt64 { (start + UInt64(number)) * geometry.clusterSize }
    var tableOffset: UInt64 { (start + UInt64(blocks.count)) * geometry.clusterSize }
    var end: UInt64 { start + UInt64(blocks.count) + tableClusters }
}
