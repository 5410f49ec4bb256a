public import Block
import Bytes

extension Qcow2Image {
    public func resolve(_ need: TableNeed) async throws(BlockError) {
        if isClosed { throw .closed }
        guard let kind = Need(rawValue: need.kind) else { throw .invalid }
        let index = Int(truncatingIfNeeded: need.index)
        switch kind {
        case .loadTable: try await loadOnce(need) { () async throws(BlockError) in try await self.loadTable(index) }
        case .loadBlock: try await loadOnce(need) { () async throws(BlockError) in try await self.loadBlock(index) }
        case .reportEntry:
            reportEntry(at: need.index)
            try await markCorrupt()
            throw .corrupt
        case .reportOverlap:
            reportOverlap(need.index)
            try await markCorrupt()
            throw .corrupt
        case .makeTable, .copyTable, .growL1, .makeBlock, .growRefcountTable:
            await structure.lock()
            defer { structure.unlock() }
            if let writeRefusal { throw writeRefusal }
            try await make(kind, index)
        }
    }

    /// Resolves a need of a caller that holds `structure`.
    func resolveLocked(_ need: TableNeed) async throws(BlockError) {
        guard let kind = Need(rawValue: need.kind) else { throw .invalid }
        switch kind {
        case .makeTable, .copyTable, .growL1, .makeBlock, .growRefcountTable:
            try await make(kind, Int(truncatingIfNeeded: need.index))
        case .loadTable, .loadBlock, .reportEntry, .reportOverlap: try await resolve(need)
        }
    }

    private func make(_ kind: Need, _ index: Int) async throws(BlockError) {
        switch kind {
        case .makeTable: try await makeTable(index)
        case .copyTable: try await copyTable(index)
        case .growL1: try await growL1(for: UInt64(index))
        case .makeBlock: try await makeBlock(at: UInt64(index))
        case .growRefcountTable: try await growRefcountTable(for: index)
        case .loadTable, .loadBlock, .reportEntry, .reportOverlap: break
        }
    }

    /// Runs `load` for the first caller; those that come while it runs wait for its end and look again.
    private func loadOnce(_ need: TableNeed, _ load: () async throws(BlockError) -> Void) async throws(BlockError) {
        if let running = loading.first(where: { $0.need == need }) {
            await running.queue.wait()
            return
        }
        let queue = WaitQueue()
        loading.append((need, queue))
        defer {
            loading.removeAll { $0.need == need }
            queue.wakeAll()
        }
        try await load()
    }

    /// Reads one cluster of metadata that must lie whole in the file.
    func readCluster(at offset: UInt64) async throws(BlockError) -> AlignedBuffer {
        var buffer = AlignedBuffer(byteCount: Int(geometry.clusterSize))
        var span = buffer.mutableBytes
        try await file.read(at: offset, into: &span)
        return buffer
    }

    func liesInFile(_ offset: UInt64) -> Bool {
        file.length >= geometry.clusterSize && offset <= file.length - geometry.clusterSize
    }

    func loadTable(_ index: Int) async throws(BlockError) {
        guard index < l1.count, l1[index] != 0, l2.find(index) == nil else { return }
        let entry = l1[index]
        let offset = entry & L2Entry.offsetMask
        // Whoever asks again until the table is there must not ask for ever.
        guard offset != 0, entry & rules.l1MustBeZero == 0, offset < rules.hostEnd else { throw .corrupt }
        guard liesInFile(offset) else {
            reportCorruption(
                "L2 table offset \(hex(offset)) past the end of the file (L1 index: \(hex(UInt64(index))))",
                offset: offset, size: geometry.clusterSize)
            try await markCorrupt()
            throw .corrupt
        }
        await file.reach(.l2Load)
        let bytes = try await readCluster(at: offset)
        // The table may have been copied, or dropped by a resize, meanwhile: then the caller looks again.
        guard index < l1.count, l1[index] == entry, l2.find(index) == nil else { return }
        l2.insert(table(index, at: offset, [UInt64](bigEndian: bytes.bytes)))
    }

    func loadBlock(_ index: Int) async throws(BlockError) {
        guard index < refcountTable.count, blocks.find(index) == nil else { return }
        let entry = refcountTable[index]
        guard entry != 0 else { return }
        guard entry & geometry.clusterMask == 0, entry < rules.hostEnd, liesInFile(entry) else {
            reportCorruption(
                entry & geometry.clusterMask != 0
                    ? "Refblock offset \(hex(entry)) unaligned (reftable index: \(hex(UInt64(index))))"
                    : "Refblock offset \(hex(entry)) past the end of the file (reftable index: \(hex(UInt64(index))))",
                offset: header.refcountTableOffset + UInt64(index) * 8, size: 8)
            try await markCorrupt()
            throw .corrupt
        }
        await file.reach(.refblockLoad)
        let bytes = try await readCluster(at: entry)
        guard index < refcountTable.count, refcountTable[index] == entry, blocks.find(index) == nil else { return }
        blocks.insert(
            RefcountBlock(index: index, offset: entry, bytes: bytes.bytes.array, order: geometry.refcountOrder))
    }

    func table(_ index: Int, at offset: UInt64, _ words: [UInt64]) -> L2Table {
        L2Table(index: index, offset: offset, words: words, isExtended: geometry.hasExtendedL2)
    }

    /// Makes an empty L2 table. The caller holds `structure`.
    private func makeTable(_ index: Int) async throws(BlockError) {
        guard index < l1.count, l1[index] == 0 else { return }
        let place = try await takeTableCluster()
        install(table(index, at: place, Array(repeating: 0, count: Int(geometry.clusterSize / 8))))
    }

    /// Gives the active state its own copy of a table that a snapshot shares. The caller holds `structure`.
    private func copyTable(_ index: Int) async throws(BlockError) {
        guard index < l1.count, l1[index] != 0, l1[index] & L2Entry.copied == 0 else { return }
        await file.reach(.l2AllocCowRead)
        if l2.find(index) == nil {
            try await loadOnce(Need.loadTable.at(index)) { () async throws(BlockError) in
                try await self.loadTable(index)
            }
        }
        guard let table = l2.find(index) else { return }
        table.pins += 1
        defer { table.pins -= 1 }
        let shared = table.offset >> UInt64(geometry.clusterBits)
        if contested.contains(shared) {
            reportOverlap(shared)
            try await markCorrupt()
            throw .corrupt
        }
        let place = try await takeTableCluster()
        metadata.remove(shared)
        freed.add(ClusterRun(start: shared, count: 1))
        table.offset = place
        link(table)
    }

    private func install(_ table: L2Table) {
        l2.insert(table)
        link(table)
    }

    /// Names a new table in the L1 table in memory; a commit writes both.
    private func link(_ table: L2Table) {
        table.isNew = true
        listDirty(table)
        l1[table.index] = table.offset | L2Entry.copied
        dirtyL1.insert(table.index >> 6)
        noteMetadata(cluster: table.offset >> UInt64(geometry.clusterBits))
    }

    /// Takes a cluster for a table and writes zeros there, so that a full disk shows before anything depends on it.
    private func takeTableCluster() async throws(BlockError) -> UInt64 {
        let cluster = try await takeCluster()
        let offset = cluster << UInt64(geometry.clusterBits)
        do {
            await file.reach(.l2AllocWrite)
            try await writeCluster(AlignedBuffer(byteCount: Int(geometry.clusterSize)), at: offset)
        } catch {
            freed.add(ClusterRun(start: cluster, count: 1))
            throw error
        }
        return offset
    }

    private func writeCluster(_ buffer: consuming AlignedBuffer, at offset: UInt64) async throws(BlockError) {
        try await file.write(at: offset, from: buffer.bytes, flags: [])
    }

    func listDirty(_ table: L2Table) {
        guard !table.isListed else { return }
        table.isListed = true
        dirtyTables.append(table)
    }
}
