import Block
import Bytes

extension Qcow2Check {
    /// So many rounds end every repair: the file's length and the snapshot table, L1 entries, L2 entries, and a look at what
    /// came of them.
    private static var roundLimit: Int { 10 }

    /// Mends tables that cannot be true, level by level, and counts anew after each. Metadata whose place something else uses
    /// moves away first: whatever reads that place as data goes on reading what it read. From the first change until the
    /// refcounts agree again the image is marked corrupt (version 3), so that nobody writes to it in between.
    func mendTables() async throws(BlockError) {
        for _ in 0..<Self.roundLimit {
            guard !damage.isHopeless else { return report("ERROR what is damaged cannot be repaired") }
            guard needsMending else { return }
            isFirstRound = false
            try await markCorrupt()
            guard try await mendOneLevel() else { return }
            try await file.flush()
            try await lookAgain()
            guard result.checkErrors == 0 else { throw .io }
        }
    }

    /// Whether tables are damaged, not just refcounts and flags.
    private var needsMending: Bool {
        damage.l1Entries || damage.l2Entries || damage.snapshotTable || damage.bitmaps || damage.length > 0
            || !damage.contested.isEmpty || !damage.contestedTables.isEmpty
    }

    private func markCorrupt() async throws(BlockError) {
        guard header.version >= 3, !header.incompatible.contains(.corrupt) else { return }
        header.incompatible.insert(.corrupt)
        try await write(header.incompatible.rawValue, at: 72)
        try await file.flush()
    }

    /// Mends the highest level at which something is to be mended; false where nothing was.
    private func mendOneLevel() async throws(BlockError) -> Bool {
        if damage.length > 0 {
            guard file.limits.growable else { return false }
            report("Repairing the length of the file, \(file.length), which ends inside of metadata")
            knownRun = nil
            try await file.resize(to: geometry.clusters(for: damage.length) * geometry.clusterSize)
            return true
        }
        if damage.bitmaps, header.autoclear.contains(.bitmaps) {
            report("Repairing the bitmaps: they are given up")
            header.autoclear.remove(.bitmaps)
            try await writeHeaderFields()
            return true
        }
        // First what is in nobody's way; then the metadata whose place something else uses moves; then what came with it.
        var inPlace = mender(movesTables: false)
        if try await mendL1s(&inPlace, all: false) { return true }
        if try await mendL2s(&inPlace, all: false) { return true }
        if try await moveActiveL1() { return true }
        if damage.isHopeless { return false }
        if try await mendSnapshots() { return true }
        if damage.isHopeless { return false }
        var mender = mender(movesTables: true)
        if try await mendL1s(&mender, all: true) { return true }
        // A table is changed only where nothing else uses its place.
        if damage.isHopeless { return false }
        return try await mendL2s(&mender, all: true)
    }

    var entryRules: EntryRules { EntryRules(version: header.version, geometry: geometry) }

    /// Copies go to free space. The header is the only metadata that cannot move away.
    func mender(movesTables: Bool) -> EntryMender {
        // The file as it will be, where it ends inside of metadata, and as it was, where a repair has made it longer.
        let planned = geometry.clusters(for: max(file.length, damage.length))
        let file = bound ?? (planned, damage.length > 0 ? planned * geometry.clusterSize : file.length)
        bound = file
        var mender = EntryMender(
            header: header, rules: entryRules, length: file.length, clusters: file.clusters, own: ownClusters,
            closedToTables: movesTables ? damage.contestedTables : [],
            closedToData: damage.contested.intersection([0]))
        mender.copies.next = freeStart * geometry.clusterSize
        return mender
    }

    // MARK: entries

    /// Mends the entries of L1 tables: of all, or of those whose place is theirs alone.
    private func mendL1s(_ mender: inout EntryMender, all: Bool) async throws(BlockError) -> Bool {
        guard damage.l1Entries || !mender.closedToTables.isEmpty else { return false }
        let tables = l1Tables.filter { all || !isContested($0.offset, $0.bytes) }
        // First what is to be copied, then the entries that name the copies.
        for l1 in tables {
            try await forEachEntry(at: l1.offset, count: l1.entries) { (_, entry) in _ = mender.l1(entry) }
        }
        guard try await makeCopies(mender.copies) else { return false }
        var changed = false
        for l1 in tables {
            try await forEachEntry(at: l1.offset, count: l1.entries) { (index, entry) async throws(BlockError) in
                let mended = mender.l1(entry)
                guard mended != entry, entry != L2Entry.copied else { return }
                changed = true
                self.report("Repairing L1 entry \(index) of the table at 0x\(self.hex(l1.offset)): \(self.hex(entry))")
                try await self.write(mended, at: l1.offset + index * 8)
            }
        }
        return changed
    }

    /// Mends the entries of L2 tables: of all, or of those whose place is theirs alone.
    private func mendL2s(_ mender: inout EntryMender, all: Bool) async throws(BlockError) -> Bool {
        guard damage.l2Entries || !mender.closedToData.isEmpty else { return false }
        let entries = geometry.l2Entries
        let contested = all ? [] : damage.contestedTables.union(damage.contested)
        try await forEachTable { (tables) async throws(BlockError) in
            let tables = tables.filter { !contested.contains($0.cluster) }
            try await self.readTables(tables, failed: self.rethrow) { (_, bytes) in
                for index in 0..<entries { _ = mender.l2(L2Entry(bytes, at: index, self.geometry)) }
            }
        }
        guard try await makeCopies(mender.copies) else { return false }
        var changed = false
        try await forEachTable { (tables) async throws(BlockError) in
            for table in tables where !contested.contains(table.cluster) {
                if try await self.mendL2(at: table.cluster, &mender) { changed = true }
            }
        }
        return changed
    }

    private func rethrow(_ error: BlockError) throws(BlockError) { throw error }

    private func mendL2(at cluster: UInt64, _ mender: inout EntryMender) async throws(BlockError) -> Bool {
        let offset = cluster * geometry.clusterSize
        guard var buffer = try await read(ByteRange(at: offset, count: geometry.clusterSize)) else { return false }
        var changed: Range<Int>?
        var table = buffer.mutableBytes
        let size = geometry.l2EntrySize
        for index in 0..<geometry.l2Entries {
            let entry = L2Entry(table.bytes, at: index, geometry)
            let mended = mender.l2(entry)
            guard mended != entry else { continue }
            report("Repairing L2 entry \(index) of the table at 0x\(hex(offset)): \(hex(entry.descriptor))")
            table.storeBigEndian(mended.descriptor, at: index * size)
            if geometry.hasExtendedL2 { table.storeBigEndian(mended.bitmap, at: index * size + 8) }
            changed = (changed?.lowerBound ?? index)..<index + 1
        }
        guard let changed else { return false }
        try await write(
            buffer.bytes.extracting(changed.lowerBound * size..<changed.upperBound * size),
            at: offset + UInt64(changed.lowerBound * size))
        return true
    }

    // MARK: copies

    /// A repair may make the file so many bytes longer than twice its length.
    private static var growth: UInt64 { 64 << 20 }

    /// Writes the copies, durable before anything names them (O2, O6). False where they would be too much.
    private func makeCopies(_ copies: EntryMender.Copies) async throws(BlockError) -> Bool {
        let start = freeStart
        guard roomIsEnough(copies) else { return false }
        try await writeCopies(copies)
        try await file.flush()
        ownClusters.formUnion(start..<copies.next / geometry.clusterSize)
        return true
    }

    func roomIsEnough(_ copies: EntryMender.Copies) -> Bool {
        let start = freeStart * geometry.clusterSize
        guard copies.next > start else { return true }
        let room = file.limits.growable ? file.length + Self.growth : file.length - min(start, file.length)
        guard copies.isFull || copies.next - start > room else { return true }
        report("ERROR metadata whose place something else uses is too much to be copied: \(copies.next - start) bytes")
        damage.isHopeless = true
        return false
    }

    func writeCopies(_ copies: EntryMender.Copies) async throws(BlockError) {
        if let zeros = copies.zeros {
            try await write(AlignedBuffer(byteCount: Int(geometry.clusterSize)).bytes, at: zeros)
        }
        for original in copies.order {
            guard let place = copies.places[original] else { continue }
            try await copy(original, to: place)
        }
    }

    private func copy(_ original: ByteRange, to place: UInt64) async throws(BlockError) {
        var done: UInt64 = 0
        // Whole clusters are written, so that the file has them whole.
        let length = geometry.clusters(for: original.count) * geometry.clusterSize
        while done < length {
            let part = min(length - done, Self.piece)
            var buffer = AlignedBuffer(byteCount: Int(part))
            let wanted = ByteRange(
                at: original.start + done, count: min(part, original.count - min(done, original.count)))
            let inside = wanted.intersection(ByteRange(at: 0, count: file.length))
            if !inside.isEmpty {
                var whole = buffer.mutableBytes
                var span = whole._mutatingExtracting(0..<Int(inside.count))
                try await file.read(at: inside.start, into: &span)
            }
            try await write(buffer.bytes, at: place + done)
            done += part
            try await step(Self.stepsPerRead)
        }
    }
}
