import Block
import Bytes

extension Qcow2Check {
    /// Builds the refcounts anew from what is referenced: new blocks and a new table behind the end of the image,
    /// durable before the header names them (O7, O8). What held the old ones is free afterwards.
    func rebuild() async throws(BlockError) {
        report("Rebuilding refcount structure")
        let start = max(clusters, highestCluster + 1)
        guard let plan = RebuildPlan(start: start, touched: touchedBlocks, geometry) else {
            report("ERROR: the refcount table would be too large")
            result.checkErrors += 1
            return
        }
        references.begin(at: 0, clusters: plan.end)
        while true {
            try await walk(refcountStructures: false)
            for cluster in plan.start..<plan.end {
                references.add(cluster)
                try await step(1)
            }
            try await writeBlocks(plan)
            guard references.window.upperBound < plan.end else { break }
            references.begin(at: references.window.upperBound, clusters: plan.end)
        }
        try await writeTable(plan)
        result.corruptionsFixed += result.corruptions - unrepairable
        result.leaksFixed += result.leaks
        (result.corruptions, result.leaks) = (unrepairable, 0)
        blockOffsets = Dictionary(uniqueKeysWithValues: plan.blocks.enumerated().map { ($1, plan.offset(of: $0)) })
    }

    private func writeBlocks(_ plan: RebuildPlan) async throws(BlockError) {
        let entries = geometry.refcountBlockEntries
        for (number, block) in plan.blocks.enumerated() where references.window.contains(block * entries) {
            var bytes = AlignedBuffer(byteCount: Int(geometry.clusterSize))
            var first = block * entries
            let end = min(first + entries, plan.end)
            while first < end {
                let next = min(first + Self.clustersPerStep, end)
                fill(&bytes, block: block * entries, first: first, end: next)
                first = next
                try await step(Int(Self.clustersPerStep))
            }
            try await file.write(at: plan.offset(of: number), from: bytes.bytes, flags: [])
        }
    }

    /// `start`: the block's first cluster.
    private func fill(_ bytes: inout AlignedBuffer, block start: UInt64, first: UInt64, end: UInt64) {
        var block = bytes.mutableBytes
        for cluster in first..<end {
            let count = references.count(cluster)
            if count > 0 { packing.store(min(count, geometry.refcountMax), &block, at: Int(cluster - start)) }
        }
    }

    private func writeTable(_ plan: RebuildPlan) async throws(BlockError) {
        var table = AlignedBuffer(byteCount: Int(plan.tableClusters * geometry.clusterSize))
        var span = table.mutableBytes
        for (number, block) in plan.blocks.enumerated() {
            span.storeBigEndian(plan.offset(of: number), at: Int(block) * 8)
        }
        try await file.write(at: plan.tableOffset, from: table.bytes, flags: [])
        try await file.flush()
        header.refcountTableOffset = plan.tableOffset
        header.refcountTableClusters = UInt32(plan.tableClusters)
        var fields = AlignedBuffer(byteCount: 12)
        var fieldSpan = fields.mutableBytes
        fieldSpan.storeBigEndian(header.refcountTableOffset, at: 0)
        fieldSpan.storeBigEndian(header.refcountTableClusters, at: 8)
        try await file.write(at: 48, from: fields.bytes, flags: [])
        try await file.flush()
        highestCluster = max(highestCluster, plan.end - 1)
        result.imageEndOffset = plan.end * geometry.clusterSize
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
