import Block
import Bytes

// Clusters in a row, for tables.

extension Qcow2Image {
    /// Takes `count` clusters in a row. The caller holds `structure`.
    func takeRow(_ count: UInt64) async throws(BlockError) -> ClusterRun {
        if count >= geometry.refcountBlockEntries { return try await takeLongRow(count) }
        var left: UInt64?
        defer { if let left { places.lower(to: left) } }
        for attempt in 0..<16 {
            // Behind all that was ever used there is room in a row, unless others take of it meanwhile.
            if attempt > 0, file.limits.growable {
                left = left ?? places.lowest
                places.leave(for: highWater >> UInt64(geometry.clusterBits))
            }
            var row = ClusterRun(start: 0, count: 0)
            var failure: BlockError?
            do {
                row = try await takeClusters(atMost: count)
                while row.count < count {
                    let more = try await takeClusters(atMost: count - row.count)
                    if more.start != row.end {
                        freed.add(more)
                        break
                    }
                    row.count += more.count
                }
            } catch { failure = error }
            if row.count == count { return row }
            freed.add(row)
            if let failure { throw failure }
        }
        throw .noSpace
    }

    /// Takes more clusters in a row than one refcount block counts: behind all that was ever used, where nothing is counted yet.
    /// The blocks that count the row, and themselves, lie before it, for in the middle of their own they would part it. The
    /// caller holds `structure`, without which no cluster can be taken that has no block.
    private func takeLongRow(_ count: UInt64) async throws(BlockError) -> ClusterRun {
        let bits = UInt64(geometry.clusterBits)
        let perBlock = geometry.refcountBlockEntries
        let blocks = blocksCounting(count)
        var firstBlock = Int((highWater >> bits).dividedRoundingUp(by: perBlock))
        while let used = refcountTable.dropFirst(firstBlock).prefix(Int(blocks)).lastIndex(where: { $0 != 0 }) {
            firstBlock = used + 1
        }
        let first = UInt64(firstBlock) * perBlock
        let row = ClusterRun(start: first + blocks, count: count)
        guard row.end <= clusterEnd else {
            isStarved = true
            throw .noSpace
        }
        // A longer refcount table goes behind the row.
        try await growRefcountTable(for: firstBlock + Int(blocks))
        for cluster in first..<row.end where metadata.contains(cluster) {
            reportOverlap(cluster)
            try await markCorrupt()
            throw .corrupt
        }
        let made = (0..<Int(blocks)).map { number in
            let counted = UInt64(number) * perBlock..<min(UInt64(number + 1) * perBlock, blocks + count)
            let block = RefcountBlock(
                index: firstBlock + number, offset: (first + UInt64(number)) << bits,
                bytes: Array(repeating: 0, count: Int(geometry.clusterSize)), order: geometry.refcountOrder)
            for position in counted { block[Int(position % perBlock)] = 1 }
            return block
        }
        // Written at once, as every new block is; linked by the next commit (O8).
        for block in made {
            let buffer = AlignedBuffer(copying: block.bytes)
            await file.reach(.refblockAllocWrite)
            try await file.write(at: block.offset, from: buffer.bytes, flags: [])
        }
        for block in made { install(block) }
        highWater = max(highWater, row.end << bits)
        if let watch { for cluster in first..<row.end { watch.note(cluster) } }
        return row
    }

    /// Counts with a new block, which the refcount table names with the next commit.
    func install(_ block: RefcountBlock) {
        block.isNew = true
        block.isDirty = true
        dirtyBlocks.append(block)
        blocks.insert(block)
        refcountTable[block.index] = block.offset
        dirtyRefcountTable.insert(block.index >> 6)
        noteMetadata(cluster: block.offset >> UInt64(geometry.clusterBits))
    }
}
