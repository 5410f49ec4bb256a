import Block
import Bytes

extension Qcow2Check {
    private static var offsetMask: UInt64 { 0x00FF_FFFF_FFFF_FE00 }
    private static var copiedFlag: UInt64 { 1 << 63 }

    /// Counts all references of the image; the refcount table's own are left out while it is rebuilt.
    func walk(refcountStructures: Bool) async throws(BlockError) {
        reference(0, geometry.clusterSize)
        try await walkL1s([L1Table(offset: header.l1TableOffset, entries: UInt64(header.l1Size)): 1], isActive: true)
        try await walkSnapshots()
        try await walkBitmaps()
        if refcountStructures { try await walkRefcountTable() }
    }

    // MARK: guest data

    /// The L1 table of the disk or of a snapshot.
    private struct L1Table: Hashable {
        let offset: UInt64
        let entries: UInt64
    }

    /// The L2 tables that L1 tables name, and how often.
    private struct NamedTables {
        /// Where a cluster of the file begins; counted in windows as clusters are, so that memory stays bounded.
        var inFile: CheckReferences
        /// Where none does: a few, by offset.
        var stray: [UInt64: UInt32] = [:]
        var isFirstWindow = true

        /// So many pages of 1 KiB.
        static let pages = 1 << 14
    }

    /// Counts what L1 tables reference, each as often as it is used itself. However many entries name one L2 table, it
    /// is read once and counts that often: what a walk costs follows what the file holds, not what it claims.
    private func walkL1s(_ list: [L1Table: UInt32], isActive: Bool) async throws(BlockError) {
        let inOrder = list.sorted { $0.key.offset < $1.key.offset }
        for (l1, times) in inOrder { reference(l1.offset, l1.entries * 8, times: times) }
        var named = NamedTables(
            inFile: CheckReferences(clusters: clusters, blockEntries: 1, pageLimit: NamedTables.pages))
        while true {
            for (l1, times) in inOrder { try await collect(l1, times, &named) }
            for start in named.inFile.pageStarts {
                for cluster in start..<start + CheckReferences.pageClusters where named.inFile.count(cluster) > 0 {
                    let times = UInt32(clamping: named.inFile.count(cluster))
                    try await walkL2(at: cluster << UInt64(geometry.clusterBits), isActive: isActive, times: times)
                }
                try await step(Int(CheckReferences.pageClusters))
            }
            named.isFirstWindow = false
            guard named.inFile.window.upperBound < clusters else { break }
            named.inFile.begin(at: named.inFile.window.upperBound, clusters: clusters)
        }
        for (table, times) in named.stray.sorted(by: { $0.key < $1.key }) {
            try await walkL2(at: table, isActive: isActive, times: times)
        }
    }

    /// Notes the tables that one L1 table names, and reports what is wrong with its entries.
    private func collect(_ l1: L1Table, _ times: UInt32, _ named: inout NamedTables) async throws(BlockError) {
        do throws(BlockError) {
            try await forEachEntry(at: l1.offset, count: l1.entries) { (_, entry) async throws(BlockError) in
                let table = entry & Self.offsetMask
                let isAligned = table & self.geometry.clusterMask == 0
                let cluster = table >> UInt64(self.geometry.clusterBits)
                if isAligned, table != 0, cluster < self.clusters { named.inFile.add(cluster, times: times) }
                guard named.isFirstWindow else { return }
                if entry & 0x7F00_0000_0000_01FF != 0 {
                    self.corruption("ERROR found L1 entry with reserved bits set: \(self.hex(entry))", times: times)
                }
                if !isAligned {
                    self.corruption(
                        "ERROR l2_offset=\(self.hex(table)): Table is not cluster aligned; L1 entry corrupted",
                        times: times)
                    guard named.stray[table] != nil || named.stray.count < Limits.strayTables else {
                        return try self.unreadable("ERROR too many L1 entries are not cluster aligned")
                    }
                    let sum = named.stray[table, default: 0].addingReportingOverflow(times)
                    named.stray[table] = sum.overflow ? .max : sum.partialValue
                } else if cluster >= self.clusters {
                    self.reference(table, self.geometry.clusterSize, times: times)
                }
            }
        } catch {
            try unreadable("ERROR: I/O error in check_refcounts_l1")
        }
    }

    private func walkL2(at table: UInt64, isActive: Bool, times: UInt32) async throws(BlockError) {
        reference(table, geometry.clusterSize, times: times)
        var unaligned: [Int] = []
        do throws(BlockError) {
            try await step(Self.stepsPerRead)
            guard let bytes = try await read(ByteRange(at: table, count: geometry.clusterSize)) else { return }
            var count = L2Count(times: times, isActive: isActive)
            while count.index < geometry.l2Entries {
                countL2(bytes.bytes, &count)
                try await step(Self.entriesPerStep)
            }
            unaligned = count.unaligned
        } catch {
            return try unreadable("ERROR: I/O error in check_refcounts_l2")
        }
        // A zero cluster whose reserved place is impossible loses the place; it reads as before.
        for index in unaligned {
            do throws(BlockError) {
                // In an extended entry the bitmap stays.
                try await write(
                    geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag, at: table + UInt64(index * geometry.l2EntrySize))
                result.corruptionsFixed += 1
            } catch { try unreadable("ERROR: Failed to overwrite L2 table entry: \(error.sentence)") }
        }
    }

    /// An L2 table under the count.
    private struct L2Count {
        let times: UInt32
        let isActive: Bool
        /// The entry that comes next.
        var index = 0
        /// Where the guest's next cluster would lie, were it in order.
        var next: UInt64 = 0
        /// The entries to be replaced by plain zero clusters.
        var unaligned: [Int] = []
    }

    /// So many entries are counted between two looks at the pace.
    private static var entriesPerStep: Int { 2048 }

    /// Counts what the next entries of an L2 table reference.
    private func countL2(_ bytes: RawSpan, _ count: inout L2Count) {
        let end = min(count.index + Self.entriesPerStep, geometry.l2Entries)
        defer { count.index = end }
        for index in count.index..<end {
            let whole = L2Entry(bytes, at: index, geometry)
            let entry = whole.descriptor
            if whole == .none { continue }
            if whole.isCompressed {
                countCompressed(whole, index, count)
                continue
            }
            let reserved: UInt64 = header.version >= 3 ? 0x3F00_0000_0000_01FE : 0x3F00_0000_0000_01FF
            if entry & reserved != 0 {
                corruption("ERROR found l2 entry with reserved bits set: \(hex(entry))", times: count.times)
            }
            let place = entry & Self.offsetMask
            let isPlaced = place != 0 || header.hasDataFile && whole.isOwn
            checkBitmap(whole, isPlaced ? place : nil, times: count.times)
            guard isPlaced else { continue }
            let isZero =
                geometry.hasExtendedL2 ? whole.allocated == 0 : header.version >= 3 && entry & L2Entry.zeroFlag != 0
            if place & geometry.clusterMask != 0, replacesUnaligned(place, isZero: isZero, times: count.times) {
                count.unaligned.append(index)
                continue
            }
            // Clusters of a file for data alone have no refcounts.
            if !header.hasDataFile { reference(place, geometry.clusterSize, times: count.times) }
            if count.isActive, isFirstWalk {
                result.allocatedClusters += UInt64(count.times)
                if count.next != 0, place != count.next { result.fragmentedClusters += UInt64(count.times) }
                count.next = place + geometry.clusterSize
            }
        }
    }

    /// Reports a bitmap of subclusters that contradicts itself or its descriptor.
    private func checkBitmap(_ entry: L2Entry, _ place: UInt64?, times: UInt32) {
        guard let place else {
            guard entry.allocated != 0 else { return }
            return corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map", times: times)
        }
        if entry.allocated & entry.zeros != 0 {
            corruption(
                "ERROR offset=\(hex(place)): Allocated cluster has corrupted subcluster allocation bitmap", times: times
            )
        }
    }

    /// Reports a place that is not a cluster's; true where the entry is to be repaired.
    private func replacesUnaligned(_ place: UInt64, isZero: Bool, times: UInt32) -> Bool {
        guard isZero else {
            corruption(
                "ERROR offset=\(hex(place)): Data cluster is not properly aligned; L2 entry corrupted.", times: times)
            return false
        }
        let text = "offset=\(hex(place)): Preallocated cluster is not properly aligned; L2 entry corrupted."
        guard repair == .all, isFirstWalk, result.checkErrors == 0 else {
            corruption("ERROR \(text)", times: times)
            return false
        }
        report("Repairing \(text)")
        return true
    }

    private func countCompressed(_ whole: L2Entry, _ index: Int, _ count: L2Count) {
        let entry = whole.descriptor
        let shift = UInt64(62 - (geometry.clusterBits - 8))
        let place = entry & ((1 << shift) - 1)
        if entry & Self.copiedFlag != 0 {
            corruption(
                "ERROR: coffset=0x\(hex(place)): copied flag must never be set for compressed clusters",
                times: count.times)
        }
        if header.hasDataFile {
            return corruption(
                "ERROR compressed cluster \(index) with data file, entry=0x\(hex(entry))", times: count.times)
        }
        if whole.bitmap != 0 {
            return corruption(
                "ERROR compressed cluster \(index) with non-zero subcluster allocation bitmap, entry=0x\(hex(entry))",
                times: count.times)
        }
        let sectors = (entry & ~(Self.copiedFlag | L2Entry.compressedFlag)) >> shift + 1
        reference(place, sectors * 512 - (place & 511), times: count.times)
        if count.isActive, isFirstWalk {
            result.allocatedClusters += UInt64(count.times)
            result.compressedClusters += UInt64(count.times)
            result.fragmentedClusters += UInt64(count.times)
        }
    }

    // MARK: the rest

    /// Every snapshot's L1 table, and the snapshot table itself.
    private func walkSnapshots() async throws(BlockError) {
        var offset = header.snapshotsOffset
        var tables: [L1Table: UInt32] = [:]
        var bytes: UInt64 = 0
        for _ in 0..<header.snapshotCount {
            guard offset - header.snapshotsOffset <= Limits.snapshotTableBytes,
                let range = ByteRange(checked: offset, count: 40)
            else { return corruption("ERROR snapshot table is too large") }
            do throws(BlockError) {
                guard let entry = try await read(range) else { return corruption("ERROR snapshot table is truncated") }
                let l1 = entry.bytes.bigEndian(UInt64.self, at: 0)
                let count = UInt64(entry.bytes.bigEndian(UInt32.self, at: 8))
                let names =
                    UInt64(entry.bytes.bigEndian(UInt16.self, at: 12))
                    + UInt64(entry.bytes.bigEndian(UInt16.self, at: 14))
                let extra = UInt64(entry.bytes.bigEndian(UInt32.self, at: 36))
                offset = (offset + 40 + extra + names + 7) & ~7
                if l1 & geometry.clusterMask != 0 {
                    corruption(
                        "ERROR snapshot l1_offset=0x\(hex(l1)): L1 table is not cluster aligned; "
                            + "snapshot table entry corrupted")
                    continue
                }
                if count * 8 > Limits.l1Bytes {
                    corruption(
                        "ERROR snapshot l1_size=0x\(hex(count)): L1 table is too large; snapshot table entry corrupted")
                    continue
                }
                let table = L1Table(offset: l1, entries: count)
                if tables[table] == nil { bytes += count * 8 }
                guard bytes <= Limits.checkedL1Bytes else {
                    return try unreadable("ERROR snapshots' L1 tables are too large to be checked")
                }
                tables[table, default: 0] += 1
                try await step(Self.stepsPerRead)
            } catch { return try unreadable("ERROR: I/O error in the snapshot table") }
        }
        try await walkL1s(tables, isActive: false)
        reference(header.snapshotsOffset, offset - header.snapshotsOffset)
    }

    private func walkBitmaps() async throws(BlockError) {
        guard header.autoclear.contains(.bitmaps),
            let part = header.extensions.first(where: { $0.type == HeaderExtension.bitmapsType })
        else { return }
        let data = part.data
        guard data.count >= 24 else { return corruption("ERROR bitmaps extension is too short") }
        let (bytes, start) = (Self.number(data, at: 8), Self.number(data, at: 16))
        guard bytes <= Limits.snapshotTableBytes, start & geometry.clusterMask == 0,
            let range = ByteRange(checked: start, count: bytes)
        else { return corruption("ERROR bitmaps extension names an impossible directory") }
        reference(start, bytes)
        do throws(BlockError) {
            var tables: [BitmapTable: UInt32] = [:]
            var tableBytes: UInt64 = 0
            var offset: UInt64 = 0
            while offset + 24 <= bytes {
                guard let entry = try await read(ByteRange(at: start + offset, count: 24)) else {
                    return corruption("ERROR bitmap directory \(range) is damaged")
                }
                let table = entry.bytes.bigEndian(UInt64.self, at: 0)
                let count = UInt64(entry.bytes.bigEndian(UInt32.self, at: 8))
                let names = UInt64(entry.bytes.bigEndian(UInt16.self, at: 18))
                offset = (offset + 24 + names + UInt64(entry.bytes.bigEndian(UInt32.self, at: 20)) + 7) & ~7
                try await step(Self.stepsPerRead)
                guard table & geometry.clusterMask == 0, table < Limits.hostOffset else {
                    corruption("ERROR bitmap table offset=\(hex(table)) is not cluster aligned")
                    continue
                }
                // A table that the file does not hold is no table: walking it would cost what it claims.
                guard count * 8 <= file.length, table <= file.length - count * 8 else {
                    corruption("ERROR bitmap table offset=\(hex(table)) ends past the end of the file")
                    continue
                }
                let place = BitmapTable(offset: table, entries: count)
                if tables[place] == nil { tableBytes += count * 8 }
                guard tableBytes <= Limits.checkedBitmapTableBytes else {
                    return try unreadable("ERROR bitmap tables are too large to be checked")
                }
                tables[place, default: 0] += 1
            }
            for (table, times) in tables.sorted(by: { $0.key.offset < $1.key.offset }) {
                try await walkBitmap(table, times)
            }
        } catch { try unreadable("ERROR: I/O error in the bitmap directory") }
    }

    private struct BitmapTable: Hashable {
        let offset: UInt64
        let entries: UInt64
    }

    private func walkBitmap(_ table: BitmapTable, _ times: UInt32) async throws(BlockError) {
        reference(table.offset, table.entries * 8, times: times)
        try await forEachEntry(at: table.offset, count: table.entries) { (_, value) in
            let place = value & Self.offsetMask
            if place != 0 { self.reference(place, self.geometry.clusterSize, times: times) }
        }
    }

    private func walkRefcountTable() async throws(BlockError) {
        let bytes = UInt64(header.refcountTableClusters) << UInt64(header.clusterBits)
        reference(header.refcountTableOffset, bytes)
        do throws(BlockError) {
            var seen: Set<UInt64> = []
            try await forEachEntry(at: header.refcountTableOffset, count: bytes / 8) { (index, entry) in
                let block = entry & ~0x1FF
                let isInside = block & self.geometry.clusterMask == 0 && block < self.file.length
                if isInside { self.blockOffsets[index] = block }
                if entry & 0x1FF != 0 {
                    self.corruption("ERROR refcount table entry \(index) has reserved bits set", rebuilds: true)
                } else if block & self.geometry.clusterMask != 0 {
                    self.corruption(
                        "ERROR refcount block \(index) is not cluster aligned; refcount table entry corrupted",
                        rebuilds: true)
                } else if !isInside {
                    self.corruption("ERROR refcount block \(index) is outside image", rebuilds: true)
                } else {
                    self.reference(block, self.geometry.clusterSize)
                    guard self.isFirstWalk, !seen.insert(block).inserted else { return }
                    self.corruption("ERROR refcount block \(index) refcount=2", rebuilds: true)
                }
            }
        } catch { try unreadable("ERROR: I/O error in the refcount table") }
    }

    private static func number(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
