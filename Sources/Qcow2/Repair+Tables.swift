import Block
import Bytes

extension Qcow2Check {
    /// So many rounds end every repair: the file's length and the snapshot table, L1 entries, L2 entries, and a look at what
    /// came of them.
    private static var roundLimit: Int { 6 }

    /// Mends tables that cannot be true, level by level, and counts anew after each. From the first change until the
    /// refcounts agree again the image is marked corrupt (version 3), so that nobody writes to it in between.
    func mendTables() async throws(BlockError) {
        for _ in 0..<Self.roundLimit {
            guard !damage.isHopeless else { return report("ERROR what is damaged is too much to be repaired") }
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
        if try await mendSnapshots() { return true }
        var mender = mender(closedToData: damage.contested.union(damage.contestedTables))
        if try await mendL1s(&mender) { return true }
        return try await mendL2s(&mender)
    }

    var entryRules: EntryRules { EntryRules(version: header.version, geometry: geometry) }

    /// Copies go to free space.
    func mender(closedToData: Set<UInt64>) -> EntryMender {
        var mender = EntryMender(
            header: header, rules: entryRules, length: file.length,
            clusters: clusters, closedToTables: damage.contested, closedToData: closedToData)
        mender.copies.next = freeStart * geometry.clusterSize
        return mender
    }

    // MARK: entries

    private func mendL1s(_ mender: inout EntryMender) async throws(BlockError) -> Bool {
        guard damage.l1Entries || !damage.contested.isEmpty else { return false }
        // First what is to be copied, then the entries that name the copies.
        for l1 in l1Tables {
            try await forEachEntry(at: l1.offset, count: l1.entries) { (_, entry) in _ = mender.l1(entry) }
        }
        guard try await makeCopies(mender.copies) else { return false }
        var changed = false
        for l1 in l1Tables {
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

    private func mendL2s(_ mender: inout EntryMender) async throws(BlockError) -> Bool {
        guard damage.l2Entries || !mender.closedToData.isEmpty else { return false }
        let entries = geometry.l2Entries
        try await forEachTable { (tables) async throws(BlockError) in
            try await self.readTables(tables, failed: self.rethrow) { (_, bytes) in
                for index in 0..<entries { _ = mender.l2(L2Entry(bytes, at: index, self.geometry)) }
            }
        }
        guard try await makeCopies(mender.copies) else { return false }
        var changed = false
        try await forEachTable { (tables) async throws(BlockError) in
            for table in tables where try await self.mendL2(at: table.cluster, &mender) { changed = true }
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
        guard roomIsEnough(copies) else { return false }
        try await writeCopies(copies)
        try await file.flush()
        return true
    }

    func roomIsEnough(_ copies: EntryMender.Copies) -> Bool {
        let start = freeStart * geometry.clusterSize
        guard copies.next > start else { return true }
        let room = file.limits.growable ? file.length + Self.growth : file.length - min(start, file.length)
        guard copies.next - start > room else { return true }
        report("ERROR what shares its place with metadata is too much to be copied: \(copies.next - start) bytes")
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
