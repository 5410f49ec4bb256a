import Block
import Bytes

extension Qcow2Image {
    /// How a longer refcount table is laid out: in clusters that no block counts yet, the blocks first that count them.
    private struct RefcountGrowth {
        /// First cluster of the new blocks; the table follows them.
        let first: UInt64
        /// Refcount table index of the first new block.
        let firstBlock: Int
        let blocks: UInt64
        let tableClusters: UInt64
        var tableFirst: UInt64 { first + blocks }
        var count: UInt64 { blocks + tableClusters }
    }

    /// Plans a refcount table that reaches block `index`, half as long again as the old one; nil where none may be.
    private func planGrowth(for index: Int) -> RefcountGrowth? {
        let firstBlock = max(index, refcountTable.count)
        let first = UInt64(firstBlock) << UInt64(geometry.refcountBlockBits)
        let most = geometry.maxRefcountTableClusters
        let perCluster = geometry.clusterSize / 8
        var clusters = min(UInt64(header.refcountTableClusters) * 3 / 2 + 1, most)
        while true {
            let blocks = blocksCounting(clusters)
            let entries = UInt64(firstBlock) + blocks
            let needed = (entries + perCluster - 1) / perCluster
            if needed > most { return nil }
            if needed <= clusters {
                return RefcountGrowth(first: first, firstBlock: firstBlock, blocks: blocks, tableClusters: clusters)
            }
            clusters = needed
        }
    }

    /// How many blocks count themselves and `clusters` more.
    func blocksCounting(_ clusters: UInt64) -> UInt64 {
        var blocks: UInt64 = 1
        while blocks * geometry.refcountBlockEntries < blocks + clusters { blocks += 1 }
        return blocks
    }

    /// Makes the refcount table long enough to count the clusters of block `index` (O8). The caller holds `structure`.
    func growRefcountTable(for index: Int) async throws(BlockError) {
        guard index >= refcountTable.count else { return }
        guard let plan = planGrowth(for: index) else { throw .noSpace }
        let bits = UInt64(geometry.clusterBits)
        let limits = file.limits
        guard plan.first + plan.count <= (limits.growable ? rules.hostEnd : file.length) >> bits else {
            isStarved = true
            throw .noSpace
        }
        for cluster in plan.first..<plan.first + plan.count where metadata.contains(cluster) {
            reportOverlap(cluster)
            try await markCorrupt()
            throw .corrupt
        }
        highWater = max(highWater, (plan.first + plan.count) << bits)
        await file.reach(.reftableGrow)
        let table = try await writeGrowth(plan)
        do {
            await file.reach(.refblockAllocSwitchTable)
            try await flushFile()
            try await writeHeaderFields {
                $0.refcountTableOffset = plan.tableFirst << bits
                $0.refcountTableClusters = UInt32(plan.tableClusters)
            }
        } catch {
            // Which table the header names is unknown now.
            fence(error)
            throw error
        }
        adopt(table, plan)
    }

    /// Writes the new blocks, the blocks that no table on disk names yet, and the new table. Answers the table.
    private func writeGrowth(_ plan: RefcountGrowth) async throws(BlockError) -> [UInt64] {
        let bits = UInt64(geometry.clusterBits)
        var table = refcountTable
        let entries = Int(plan.tableClusters) << Int(bits - 3)
        table.append(contentsOf: repeatElement(0, count: entries - table.count))
        for number in 0..<plan.blocks {
            table[plan.firstBlock + Int(number)] = (plan.first + number) << bits
            var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
            let covered = number * geometry.refcountBlockEntries
            for position in 0..<min(geometry.refcountBlockEntries, max(plan.count, covered) - covered) {
                RefcountBlock.store(1, in: &bytes, Int(position), geometry.refcountOrder)
            }
            let buffer = AlignedBuffer(copying: bytes)
            await file.reach(.refblockAllocWriteBlocks)
            try await file.write(at: (plan.first + number) << bits, from: buffer.bytes, flags: [])
        }
        // The new table names them too, so they must be whole before the header names it.
        for block in dirtyBlocks where block.isNew {
            let buffer = AlignedBuffer(copying: block.bytes)
            try await file.write(at: block.offset, from: buffer.bytes, flags: [])
        }
        await file.reach(.refblockAllocWriteTable)
        try await writeTable(table, at: plan.tableFirst << bits)
        return table
    }

    /// Writes a table in pieces of 1 MiB.
    func writeTable(_ table: [UInt64], at offset: UInt64) async throws(BlockError) {
        var done = 0
        while done < table.count {
            let range = done..<min(done + (1 << 17), table.count)
            let buffer = table.bigEndianBytes(range)
            try await file.write(at: offset + UInt64(done) * 8, from: buffer.bytes, flags: [])
            done = range.upperBound
        }
    }

    /// The header names the new table: memory follows, and the old one's clusters are freed.
    private func adopt(_ table: [UInt64], _ plan: RefcountGrowth) {
        let bits = UInt64(geometry.clusterBits)
        let old = ClusterRun(
            start: header.refcountTableOffset >> bits, count: UInt64(header.refcountTableClusters))
        refcountTable = table
        dirtyRefcountTable.removeAll()
        for block in dirtyBlocks { block.isNew = false }
        header.refcountTableOffset = plan.tableFirst << bits
        header.refcountTableClusters = UInt32(plan.tableClusters)
        forgetMetadata(old)
        freed.add(old)
        for cluster in plan.first..<plan.first + plan.count { noteMetadata(cluster: cluster) }
    }

    /// Makes the L1 table `entries` long (O7). The caller holds `structure`.
    func growL1(to entries: UInt64) async throws(BlockError) {
        let bits = UInt64(geometry.clusterBits)
        // From here on, until the header names the new table, the L1 table on disk equals the one in memory.
        let clusters = geometry.clusters(for: entries * 8)
        await file.reach(.l1GrowAllocTable)
        let row = try await takeRow(clusters)
        do {
            release(try await commitLocked())
            var table = l1
            table.append(contentsOf: repeatElement(0, count: Int(clusters) << Int(bits - 3) - table.count))
            await file.reach(.l1GrowWriteTable)
            try await writeTable(table, at: row.start << bits)
        } catch {
            freed.add(row)
            throw error
        }
        do {
            await file.reach(.l1GrowActivateTable)
            try await flushFile()
            try await writeHeaderFields {
                $0.l1Size = UInt32(entries)
                $0.l1TableOffset = row.start << bits
            }
        } catch {
            fence(error)
            throw error
        }
        let old = ClusterRun(
            start: header.l1TableOffset >> bits, count: geometry.clusters(for: UInt64(header.l1Size) * 8))
        forgetMetadata(old)
        freed.add(old)
        for cluster in row.start..<row.end { noteMetadata(cluster: cluster) }
        header.l1TableOffset = row.start << bits
        header.l1Size = UInt32(entries)
        l1.append(contentsOf: repeatElement(0, count: Int(entries) - l1.count))
    }
}
