public import Block
public import Bytes

// A commit writes changes in four phases with a flush between them, and leaves out what has nothing to do
// (docs/decisions/0002-qcow2-commit.md):
//   0 new refcount blocks, then the refcount table's entries for them            (O8)
//   1 refcounts, all of which only ever rise here; new L2 tables, which nothing names yet   (O1, O2, O3, O6)
//   2 L2 and L1 entries, then the disk's size                                     (O4)
//   3 refcounts lowered for what phase 2 dropped; those clusters are handed out when that is durable too (O5, O17)

extension Qcow2Image {
    /// Bytes of freed clusters that make a commit urgent: what a second of discards may free, and no more is kept from the
    /// host and from writers meanwhile. (A full host ends an epoch at once.)
    private static var urgentFreed: UInt64 { 1 << 30 }
    /// Changed tables stay in memory: below so many bytes of them, or below so many tables, a commit is never urgent,
    /// however small the caches are. Tables of 2 MiB are few: each maps 512 GiB of the disk.
    private static var calmBytes: UInt64 { 1 << 20 }
    private static var calmTables: Int { 8 }

    public var commitUrgency: CommitUrgency {
        if let writeRefusal, writeRefusal != .corrupt || !needsCorruptMark { return .none }
        if freed.openClusters >= Self.urgentFreed / geometry.clusterSize
            || isCrowded(dirtyTables.count, roomForTables) || isCrowded(dirtyBlocks.count, cacheSizes.refcount)
        {
            return .now
        }
        if freed.isPending || needsCorruptMark { return .soon }
        return hasChanges ? .later : .none
    }

    /// Where the cache has every table of the disk, no number of changed ones keeps others out.
    private var roomForTables: UInt64 {
        geometry.tableBytes(for: length) <= cacheSizes.l2 ? .max : cacheSizes.l2 / 4 * 3
    }

    /// Whether so many tables are changed that a cache of `room` bytes is full of them.
    private func isCrowded(_ changed: Int, _ room: UInt64) -> Bool {
        changed >= Self.calmTables && UInt64(changed) * geometry.clusterSize >= max(room, Self.calmBytes)
    }

    /// Whether the file lacks changes that memory has, freed clusters apart.
    var hasChanges: Bool {
        !dirtyTables.isEmpty || !dirtyBlocks.isEmpty || !dirtyL1.isEmpty || !dirtyRefcountTable.isEmpty || isSizeDirty
            || needsCorruptMark
    }

    public func commit() async throws(BlockError) -> [ByteRange] {
        if isClosed { throw .closed }
        if isReadOnly { return [] }
        await structure.lock()
        defer { structure.unlock() }
        return try await commitLocked()
    }

    /// The caller holds `structure`.
    func commitLocked() async throws(BlockError) -> [ByteRange] {
        if isFenced { throw .fenced }
        try await markCorrupt()
        var frozen = freeze()
        do {
            try await write(&frozen)
        } catch {
            restore(frozen)
            // A full disk wrote nothing that harms, for any part of a phase may be on disk without the rest: all of it
            // is tried again. After any other failure nobody knows what the file's cache still holds.
            if error != .noSpace { fence(error) }
            throw error
        }
        finish(frozen)
        try await lowerRefcounts(frozen)
        let bits = UInt64(geometry.clusterBits)
        return freed.handOut { generations.hasEnded($0) }.map {
            ByteRange(at: $0.start << bits, count: $0.count << bits)
        }
    }

    public func noteFullHost() {
        isStarved = true
        places.fill()
    }

    /// The walker has punched these, or does not want to: they may be taken again.
    public func release(_ ranges: [ByteRange]) {
        guard !ranges.isEmpty else { return }
        decoder.forget()
        let bits = UInt64(geometry.clusterBits)
        for range in ranges {
            for cluster in range.start >> bits..<range.end >> bits { freed.held.remove(cluster) }
            places.lower(to: range.start >> bits)
        }
        freed.handedOut.removeAll { run in
            ranges.contains(ByteRange(at: run.start << bits, count: run.count << bits))
        }
    }

    // MARK: Freezing

    private func freeze() -> Frozen {
        var frozen = Frozen()
        frozen.blocks = freezeBlocks()
        frozen.refcountSectors = sectors(dirtyRefcountTable, of: refcountTable)
        dirtyRefcountTable.removeAll()
        for table in dirtyTables {
            table.isListed = false
            table.isInCommit = true
            let (mask, words) = table.freeze()
            frozen.tables.append(
                Frozen.Table(table: table, offset: table.offset, words: words, mask: mask, wasNew: table.isNew))
            table.isNew = false
        }
        dirtyTables.removeAll(keepingCapacity: true)
        frozen.l1Sectors = sectors(dirtyL1, of: l1)
        dirtyL1.removeAll()
        if isSizeDirty { frozen.size = header.size }
        isSizeDirty = false
        frozen.freed = freed.freeze()
        if !frozen.freed.isEmpty { frozen.generation = generations.close() }
        return frozen
    }

    func freezeBlocks() -> [Frozen.Block] {
        let frozen = dirtyBlocks.map { block in
            defer {
                block.isDirty = false
                block.isNew = false
                block.isInCommit = true
            }
            return Frozen.Block(block: block, bytes: block.bytes, wasNew: block.isNew)
        }
        dirtyBlocks.removeAll(keepingCapacity: true)
        return frozen
    }

    /// The marked sectors, 64 entries each, of a table; the last one padded with zeros.
    private func sectors(_ marked: Set<Int>, of table: [UInt64]) -> [Frozen.Sector] {
        marked.sorted().map { index in
            let range = index * 64..<min(index * 64 + 64, table.count)
            return Frozen.Sector(
                index: index, entries: Array(table[range]) + Array(repeating: 0, count: 64 - range.count))
        }
    }

    /// Marks as changed again what may not be on disk.
    private func restore(_ frozen: Frozen) {
        if frozen.increasesAreDurable {
            for part in frozen.blocks { part.block.isInCommit = false }
        } else {
            restore(frozen.blocks)
            dirtyRefcountTable.formUnion(frozen.refcountSectors.map(\.index))
        }
        for part in frozen.tables {
            part.table.isInCommit = false
            // A new table that may be named by now is whole on disk; later entries of it must wait for their data.
            if part.wasNew, frozen.increasesAreDurable { continue }
            part.table.isNew = part.table.isNew || part.wasNew
            part.table.thaw(part.mask)
            listDirty(part.table)
        }
        dirtyL1.formUnion(frozen.l1Sectors.map(\.index))
        if frozen.size != nil { isSizeDirty = true }
        freed.restore(frozen.freed)
    }

    func restore(_ frozen: [Frozen.Block]) {
        for part in frozen {
            part.block.isInCommit = false
            part.block.isNew = part.block.isNew || part.wasNew
            if !part.block.isDirty { dirtyBlocks.append(part.block) }
            part.block.isDirty = true
        }
    }

    private func finish(_ frozen: Frozen) {
        for part in frozen.blocks { part.block.isInCommit = false }
        for part in frozen.tables { part.table.isInCommit = false }
    }

    // MARK: Writing

    private func write(_ frozen: inout Frozen) async throws(BlockError) {
        try await write(frozen.blocks.filter(\.wasNew))
        // One after the other: a block that a later one names may lie where a block counts that an earlier one names (`takeRow`).
        for sector in frozen.refcountSectors {
            try await flushFile()
            try await write([sector], to: header.refcountTableOffset, .refblockAllocHookup)
        }
        try await write(frozen.blocks.filter { !$0.wasNew })
        for part in frozen.tables where part.wasNew {
            await file.reach(.l2Update)
            try await write(part.words, 0..<part.words.count, at: part.offset)
        }
        try await flushFile()
        // Refcounts that the last commit lowered were written before this flush.
        freed.markDurable()
        frozen.increasesAreDurable = true
        if frozen.changesMapping {
            for part in frozen.tables where !part.wasNew { try await writeChanged(part) }
            try await write(frozen.l1Sectors, to: header.l1TableOffset, .l1Update)
            try await flushFile()
        }
        if let size = frozen.size { try await writeHeaderFields { $0.size = size } }
    }

    func write(_ blocks: [Frozen.Block]) async throws(BlockError) {
        for part in blocks {
            let buffer = AlignedBuffer(copying: part.bytes)
            await file.reach(.refblockUpdatePart)
            try await file.write(at: part.block.offset, from: buffer.bytes, flags: [])
        }
    }

    private func write(
        _ sectors: [Frozen.Sector], to table: UInt64, _ event: FaultEvent
    ) async throws(BlockError) {
        for sector in sectors {
            await file.reach(event)
            try await write(sector.entries, 0..<64, at: table + UInt64(sector.index) * 512)
        }
    }

    private func write(_ entries: [UInt64], _ range: Range<Int>, at offset: UInt64) async throws(BlockError) {
        let buffer = entries.bigEndianBytes(range)
        try await file.write(at: offset, from: buffer.bytes, flags: [])
    }

    /// Writes the changed parts of a table, neighbours in one write.
    private func writeChanged(_ part: Frozen.Table) async throws(BlockError) {
        await file.reach(.l2Update)
        let partBytes = L2Table.partBytes(clusterSize: part.words.count * 8)
        var mask = part.mask
        while mask != 0 {
            let first = mask.trailingZeroBitCount
            let count = (~(mask >> UInt64(first))).trailingZeroBitCount
            let range = first * partBytes / 8..<min((first + count) * partBytes / 8, part.words.count)
            try await write(part.words, range, at: part.offset + UInt64(first * partBytes))
            mask &= first + count >= 64 ? 0 : ~0 << UInt64(first + count)
        }
    }

    // MARK: Freeing

    /// Lowers the refcounts of what the frozen epoch dropped, and writes them; the next flush makes that durable.
    private func lowerRefcounts(_ frozen: Frozen) async throws(BlockError) {
        // In a damaged image a leak does no harm, and lowering the wrong count would.
        guard !frozen.freed.isEmpty, !isCorrupt else { return }
        unlowered = nil
        var zeroed: [ClusterRun] = []
        // In the order of the file: refcounts lie together, and so does what is punched.
        var rest = frozen.freed.sorted { $0.start < $1.start }[...]
        lowering: while let run = rest.first {
            for cluster in run.start..<run.end {
                do {
                    guard let count = try await dropReference(to: cluster) else {
                        reportCorruption(
                            "Refcount of cluster at \(hex(cluster << UInt64(geometry.clusterBits))) is lower than its references",
                            offset: cluster << UInt64(geometry.clusterBits), size: geometry.clusterSize)
                        break lowering
                    }
                    guard count == 0 else { continue }
                    if packing?.cluster == cluster { packing = nil }
                    freed.held.insert(cluster)
                    zeroed.add(ClusterRun(start: cluster, count: 1))
                } catch {
                    // The counts could not be read: what is left is tried again at the next commit.
                    let left = ClusterRun(start: cluster, count: run.end - cluster)
                    freed.restore([left] + rest.dropFirst())
                    unlowered = error
                    break lowering
                }
            }
            rest = rest.dropFirst()
        }
        if !zeroed.isEmpty { freed.batches.append(.init(generation: frozen.generation, runs: zeroed)) }
        let lowered = freezeBlocks().partitioned(\.wasNew)
        // A block made meanwhile keeps to its own order: it is linked by the next commit.
        restore(lowered.matching)
        do {
            try await write(lowered.rest)
            if isStarved {
                isStarved = false
                try await flushFile()
                freed.markDurable()
            }
        } catch {
            restore(lowered.rest)
            if error != .noSpace { fence(error) }
            throw error
        }
        for part in lowered.rest { part.block.isInCommit = false }
        try await markCorrupt()
    }

    // MARK: Closing

    /// Commits until nothing is left to do. No request may be under way.
    func drain() async throws(BlockError) {
        // Two rounds end an epoch; a round more is for what the last one's own tables changed.
        for _ in 0..<8 {
            guard hasChanges || freed.isPending, !isFenced else { break }
            release(try await commit())
        }
        if isFenced { throw .fenced }
        if !isReadOnly { try await flushFile() }
    }

    /// Writes back all changes, gives back all freed clusters, and takes no more requests. No request may be under way. Throws
    /// also where all is written back and something could not be given back: what stays counted is a leak.
    public func close() async throws(BlockError) {
        guard !isClosed else { return }
        defer { isClosed = true }
        if isReadOnly { return }
        try await drain()
        try await storeBitmaps()
        try await drain()
        if let unlowered { throw unlowered }
    }
}

extension Array {
    /// The elements that match, and the others, in order.
    func partitioned(_ matches: (Element) -> Bool) -> (matching: [Element], rest: [Element]) {
        (filter(matches), filter { !matches($0) })
    }
}
