import Block
import Bytes

extension Qcow2Check {
    /// Counts all references of the image; the refcount table's own are left out while it is rebuilt.
    func walk(refcountStructures: Bool) async throws(BlockError) {
        structures = []
        use(.header, 0, geometry.clusterSize)
        try await readSnapshots()
        for l1 in l1Tables { useL1(l1) }
        try await walkTables()
        if header.snapshotCount > 0 { use(.snapshotTable, header.snapshotsOffset, snapshotTableBytes) }
        try await walkBitmaps()
        if refcountStructures { try await walkRefcountTable() }
    }

    /// Metadata of the given kind is here. Answers whether it is in the file.
    @discardableResult
    func use(_ kind: Structure, _ offset: UInt64, _ size: UInt64, times: UInt32 = 1) -> Bool {
        guard reference(offset, size, times: times) else { return false }
        structures.append((kind, offset, size))
        return true
    }

    /// An L1 table that begins in the file and ends behind it goes on with zeros there, which a repair writes.
    private func useL1(_ l1: L1Table) {
        if use(l1.isActive ? .activeL1 : .snapshotL1, l1.offset, l1.bytes, times: l1.times) {
            if l1.entries > 0 { needs(l1.offset + l1.bytes) }
        } else if l1.offset < file.length {
            damage.length = max(damage.length, l1.offset + l1.bytes)
        } else if l1.isActive {
            damage.isHopeless = true
        } else {
            damage.snapshotTable = true
        }
    }

    /// Metadata reaches up to here: a file that ends in the middle of its cluster is made longer by a repair.
    func needs(_ end: UInt64) { if end > file.length { damage.length = max(damage.length, end) } }

    /// Counts what L1 tables reference, each as often as it is used itself.
    private func walkTables() async throws(BlockError) {
        var stray: [UInt64: NamedTable] = [:]
        try await forEachTable { (l1, entry) throws(BlockError) in
            try self.checkL1(entry, l1, &stray)
        } _: { (tables) async throws(BlockError) in
            let bits = UInt64(self.geometry.clusterBits)
            if self.watch != nil, self.isFirstWindow { self.tablesRead += tables.map(\.cluster) }
            for table in tables {
                self.reference(table.cluster << bits, self.geometry.clusterSize, times: table.times)
                self.needs((table.cluster + 1) << bits)
            }
            try await self.readTables(tables, failed: self.tableUnreadable) { (table, bytes) async throws(BlockError) in
                try await self.countL2(bytes, times: table.times, isActive: table.isActive)
            }
        }
        for (offset, table) in stray.sorted(by: { $0.key < $1.key }) {
            reference(offset, geometry.clusterSize, times: table.times)
            do throws(BlockError) {
                try await step(Self.stepsPerRead)
                guard let bytes = try await read(ByteRange(at: offset, count: geometry.clusterSize)) else { continue }
                try await countL2(bytes.bytes, times: table.times, isActive: table.isActive)
            } catch { try tableUnreadable(error) }
        }
    }

    private func tableUnreadable(_ error: BlockError) throws(BlockError) {
        try unreadable("ERROR: I/O error in check_refcounts_l2")
    }

    /// What is wrong with an L1 entry; notes tables where no cluster begins in `stray`.
    private func checkL1(_ entry: UInt64, _ l1: L1Table, _ stray: inout [UInt64: NamedTable]) throws(BlockError) {
        let table = entry & L2Entry.offsetMask
        let isAligned = table & geometry.clusterMask == 0
        let isInFile = table >> UInt64(geometry.clusterBits) < clusters
        if l1.isActive, isAligned, isInFile, table != 0 { mark(table, entry) }
        guard isFirstWindow else { return }
        if entry & ~(L2Entry.offsetMask | L2Entry.copied) != 0 {
            damage.l1Entries = true
            corruption("ERROR found L1 entry with reserved bits set: \(hex(entry))", times: l1.times)
        }
        if !isAligned {
            damage.l1Entries = true
            corruption(
                "ERROR l2_offset=\(hex(table)): Table is not cluster aligned; L1 entry corrupted", times: l1.times)
            guard stray[table] != nil || stray.count < Limits.strayTables else {
                return try unreadable("ERROR too many L1 entries are not cluster aligned")
            }
            var named = stray[table] ?? NamedTable(cluster: 0, times: 0, isActive: false)
            let sum = named.times.addingReportingOverflow(l1.times)
            named.times = sum.overflow ? .max : sum.partialValue
            named.isActive = named.isActive || l1.isActive
            stray[table] = named
        } else if !isInFile {
            damage.l1Entries = true
            if l1.isActive { damage.flags = true }
            reference(table, geometry.clusterSize, times: l1.times)
        }
    }

    /// Notes what an active entry's flag says of its cluster.
    private func mark(_ offset: UInt64, _ entry: UInt64) {
        counts.mark(offset >> UInt64(geometry.clusterBits), entry & L2Entry.copied != 0 ? .copied : .plain)
    }

    private func walkRefcountTable() async throws(BlockError) {
        let bytes = UInt64(header.refcountTableClusters) << UInt64(header.clusterBits)
        if !use(.refcountTable, header.refcountTableOffset, bytes) { damage.refcounts = true }
        do throws(BlockError) {
            try await forEachEntry(at: header.refcountTableOffset, count: bytes / 8) { (index, entry) in
                self.checkBlock(index, entry)
            }
        } catch { try unreadable("ERROR: I/O error in the refcount table") }
    }

    private func checkBlock(_ index: UInt64, _ entry: UInt64) {
        let block = entry & ~0x1FF
        let isAligned = block & geometry.clusterMask == 0
        let cluster = block >> UInt64(geometry.clusterBits)
        let isInFile = cluster < clusters
        if isAligned, isInFile { blockOffsets[index] = block }
        if entry & 0x1FF != 0 {
            blockDamage("ERROR refcount table entry \(index) has reserved bits set")
        } else if !isAligned {
            blockDamage("ERROR refcount block \(index) is not cluster aligned; refcount table entry corrupted")
        } else if !isInFile {
            blockDamage("\(repair == .all ? "Repairing" : "ERROR") refcount block \(index) is outside image")
        } else if block != 0 {
            reference(block, geometry.clusterSize)
            if block + geometry.clusterSize > file.length { damage.refcounts = true }
            guard counts.window.contains(cluster), counts.count(cluster) != 1 else { return }
            let text = "ERROR refcount block \(index) refcount=\(counts.count(cluster))"
            if suspects(cluster, isLeak: false, text) { return }
            damage.refcounts = true
            if damage.doubtful.count < Self.contestedLimit { damage.doubtful.insert(cluster) }
            result.corruptions += 1
            tell(text)
        }
    }

    private func blockDamage(_ message: @autoclosure () -> String) {
        damage.refcounts = true
        corruption(message())
    }
}
