import Block
import Bytes

/// The refcounts as they shall be, counted beside those that hold: a block is copied to a free place before its first change,
/// and nothing names the copies before one write of the header's first sector puts the new table in force.
///
/// Until then the image is what it was, so whatever fails on the way leaves nothing behind but bytes in free clusters.
/// Memory: both tables, and `cacheBytes` of blocks. The caller holds the image's `structure`, and nothing of the image waits
/// for a commit.
final class NextRefcounts {
    let image: Qcow2Image
    /// How the new refcounts are packed.
    let geometry: Geometry
    /// How the old ones are.
    let oldOrder: UInt32
    private var keepsWidth: Bool { geometry.refcountOrder == oldOrder }
    /// The refcount table in force.
    let oldTable: [UInt64]
    /// The new one; what it names is a copy where `isOwn` says so, else the block in force.
    private(set) var table: [UInt64]
    private(set) var isOwn: [Bool]
    private var blocks: TableCache<RefcountBlock>
    private var dirty: [RefcountBlock] = []
    /// Places are searched once, from below: what lies before it is not looked at again.
    private var cursor: UInt64
    /// The end of the clusters that were taken.
    private(set) var reach: UInt64 = 0
    /// Changes of counts that are still to be made.
    private var waiting: [(cluster: UInt64, delta: Int)] = []
    /// The first cluster whose count has no room in the new width, and its count.
    private(set) var overflow: (cluster: UInt64, count: UInt64)?

    /// Bytes of blocks in memory: those of half a TiB at clusters of 64 KiB.
    private static var cacheBytes: UInt64 { 16 << 20 }

    var bits: UInt64 { UInt64(geometry.clusterBits) }
    private var blockBits: UInt64 { UInt64(geometry.refcountBlockBits) }

    /// The same counts; where `refcountOrder` is another width, none until `copyAll` has brought them over.
    init(_ image: Qcow2Image, refcountOrder: UInt32) {
        self.image = image
        geometry = Geometry(
            clusterBits: image.geometry.clusterBits, refcountOrder: refcountOrder,
            hasExtendedL2: image.geometry.hasExtendedL2)
        oldOrder = image.geometry.refcountOrder
        oldTable = image.refcountTable
        table = refcountOrder == image.geometry.refcountOrder ? oldTable : []
        isOwn = Array(repeating: false, count: table.count)
        blocks = TableCache(indices: 0, capacity: max(4, Int(Self.cacheBytes >> UInt64(geometry.clusterBits))))
        cursor = image.places.lowest
    }

    /// Whether any of it differs from what is in force.
    var hasChanges: Bool { !keepsWidth || reach > 0 }

    // MARK: Counts

    /// Adds one to a cluster's count, or takes one away. Throws `invalid` where the width has no room for the count, and
    /// `corrupt` where there is nothing to take away.
    func change(_ cluster: UInt64, by delta: Int) async throws(BlockError) {
        waiting.append((cluster, delta))
        while let (cluster, delta) = waiting.popLast() {
            let block = try await ownBlock(of: cluster)
            let position = position(of: cluster)
            let count = block[position]
            if delta > 0, count == geometry.refcountMax {
                overflow = (cluster, count + 1)
                throw .invalid
            }
            if delta < 0, count == 0 { throw .corrupt }
            set(delta > 0 ? count + 1 : count - 1, at: position, in: block)
        }
    }

    func change(_ run: ClusterRun, by delta: Int) async throws(BlockError) {
        for cluster in run.start..<run.end { try await change(cluster, by: delta) }
    }

    func count(of cluster: UInt64) async throws(BlockError) -> UInt64 {
        let index = Int(cluster >> blockBits)
        guard index < table.count, table[index] != 0 else { return 0 }
        guard isOwn[index] else { return try await image.refcount(of: cluster) }
        return try await load(index)[position(of: cluster)]
    }

    /// Brings all counts over into another width; `report` is told of each block of them.
    func copyAll(_ pace: Pace, _ report: () -> Void) async throws(BlockError) {
        for index in oldTable.indices where oldTable[index] != 0 {
            try await pace.rest()
            let old = try await image.refcountBlock(index)
            let first = UInt64(index) * UInt64(old.count)
            for position in 0..<old.count where old[position] > 0 {
                let (cluster, count) = (first + UInt64(position), old[position])
                guard count <= geometry.refcountMax else {
                    overflow = (cluster, count)
                    throw .invalid
                }
                let block = try await ownBlock(of: cluster)
                set(count, at: self.position(of: cluster), in: block)
            }
            report()
        }
    }

    private func position(of cluster: UInt64) -> Int { Int(cluster & ((1 << blockBits) - 1)) }

    private func set(_ count: UInt64, at position: Int, in block: RefcountBlock) {
        if !block.isDirty { dirty.append(block) }
        block[position] = count
    }

    // MARK: Blocks

    /// The block that counts the cluster, at a place of its own.
    private func ownBlock(of cluster: UInt64) async throws(BlockError) -> RefcountBlock {
        let index = Int(cluster >> blockBits)
        guard UInt64(index) < Limits.refcountTableBytes / 8 else { throw .noSpace }
        while table.count <= index {
            table.append(0)
            isOwn.append(false)
        }
        if isOwn[index] { return try await load(index) }
        let place = try await takePlace()
        let old = table[index]
        let bytes =
            old == 0
            ? [UInt8](repeating: 0, count: Int(geometry.clusterSize)) : try await image.refcountBlock(index).bytes
        let block = RefcountBlock(index: index, offset: place << bits, bytes: bytes, order: geometry.refcountOrder)
        try await cache(block)
        block.isDirty = true
        dirty.append(block)
        (table[index], isOwn[index]) = (block.offset, true)
        waiting.append((place, 1))
        if old != 0 { waiting.append((old >> bits, -1)) }
        return block
    }

    /// A block of its own that may have left memory.
    private func load(_ index: Int) async throws(BlockError) -> RefcountBlock {
        if let block = blocks.find(index) {
            block.wasUsed = true
            return block
        }
        let bytes = try await image.readCluster(at: table[index])
        let block = RefcountBlock(
            index: index, offset: table[index], bytes: bytes.bytes.array, order: geometry.refcountOrder)
        try await cache(block)
        return block
    }

    private func cache(_ block: RefcountBlock) async throws(BlockError) {
        if dirty.count >= blocks.capacity { try await writeBack() }
        blocks.insert(block)
    }

    private func writeBack() async throws(BlockError) {
        for block in dirty {
            let buffer = AlignedBuffer(copying: block.bytes)
            try await image.file.write(at: block.offset, from: buffer.bytes, flags: [])
            block.isDirty = false
        }
        dirty.removeAll(keepingCapacity: true)
    }

    // MARK: Places

    /// A cluster that neither the counts in force nor the new ones know. The caller counts it.
    private func takePlace() async throws(BlockError) -> UInt64 {
        let end = image.clusterEnd
        while cursor < end {
            let cluster = cursor
            cursor += 1
            // Metadata that nobody counts: a damaged image, whose damage shall not grow.
            if image.metadata.contains(cluster) || image.freed.held.contains(cluster) { continue }
            guard try await image.refcount(of: cluster) == 0, try await count(of: cluster) == 0 else { continue }
            reach = max(reach, cursor)
            return cluster
        }
        throw .noSpace
    }

    /// Takes `count` clusters in a row, and counts them.
    func takeRow(_ count: UInt64) async throws(BlockError) -> ClusterRun {
        guard count > 0 else { return ClusterRun(start: 0, count: 0) }
        var row = ClusterRun(start: try await takePlace(), count: 1)
        while row.count < count {
            let next = try await takePlace()
            row =
                next == row.end ? ClusterRun(start: row.start, count: row.count + 1) : ClusterRun(start: next, count: 1)
        }
        try await change(row, by: 1)
        return row
    }

    /// Writes everything, the new table last, and answers where that lies. What held the old counts is free in the new ones.
    func finish() async throws(BlockError) -> ClusterRun {
        let header = image.header
        try await change(
            ClusterRun(start: header.refcountTableOffset >> bits, count: UInt64(header.refcountTableClusters)), by: -1)
        if !keepsWidth {
            for offset in oldTable where offset != 0 { try await change(offset >> bits, by: -1) }
        }
        var clusters = keepsWidth ? UInt64(header.refcountTableClusters) : 1
        while true {
            clusters = max(clusters, geometry.clusters(for: UInt64(table.count) * 8))
            guard clusters <= geometry.maxRefcountTableClusters else { throw .noSpace }
            // The table itself may need blocks that it has no entries for.
            let row = try await takeRow(clusters)
            if UInt64(table.count) * 8 <= clusters << bits {
                try await writeBack()
                table.append(contentsOf: repeatElement(0, count: Int(clusters) << Int(bits - 3) - table.count))
                try await image.writeTable(table, at: row.start << bits)
                return row
            }
            try await change(row, by: -1)
        }
    }
}
