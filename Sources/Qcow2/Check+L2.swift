import Block
import Bytes

extension Qcow2Check {
    /// So many entries are counted between two looks at the pace.
    private static var entriesPerStep: Int { 2048 }

    /// An L2 table under the count.
    private struct L2Cursor {
        let times: UInt32
        let isActive: Bool
        /// The entry that comes next.
        var index = 0
        /// Where the guest's next cluster would lie, were it in order.
        var next: UInt64 = 0
    }

    /// Counts what an L2 table references.
    func countL2(_ bytes: RawSpan, times: UInt32, isActive: Bool) async throws(BlockError) {
        var cursor = L2Cursor(times: times, isActive: isActive)
        while cursor.index < geometry.l2Entries {
            let end = min(cursor.index + Self.entriesPerStep, geometry.l2Entries)
            if times == 1, !geometry.hasExtendedL2, !hasDataFile {
                countRuns(bytes, &cursor, end)
            } else {
                countEach(bytes, &cursor, end)
            }
            try await step(Self.entriesPerStep)
        }
    }

    /// Clusters that follow each other in the file, as most do, are counted together.
    private func countRuns(_ bytes: RawSpan, _ cursor: inout L2Cursor, _ end: Int) {
        let size = geometry.clusterSize
        let bits = UInt64(geometry.clusterBits)
        // What an entry of a plain data cluster has no bits of.
        let odd = ~(~geometry.clusterMask & L2Entry.offsetMask | L2Entry.copied)
        let limit = clusters << bits
        var index = cursor.index
        while index < end {
            let entry = bytes.bigEndian(UInt64.self, at: index * 8)
            if entry == 0 {
                index += 1
                continue
            }
            let place = entry & L2Entry.offsetMask
            guard entry & odd == 0, place != 0, place < limit else {
                countOdd(L2Entry(descriptor: entry), index, &cursor)
                index += 1
                continue
            }
            var next = entry &+ size
            var stop = index + 1
            while stop < end, bytes.bigEndian(UInt64.self, at: stop * 8) == next, next & L2Entry.offsetMask < limit {
                next &+= size
                stop += 1
            }
            let count = UInt64(stop - index)
            countRun(place, count, entry, &cursor)
            index = stop
        }
        cursor.index = end
    }

    private func countRun(_ place: UInt64, _ count: UInt64, _ entry: UInt64, _ cursor: inout L2Cursor) {
        let first = place >> UInt64(geometry.clusterBits)
        let mark: ReferenceCounts.Mark =
            !cursor.isActive ? .none : entry & L2Entry.copied != 0 ? .copied : .plain
        counts.addRun(first, count: count, mark: mark)
        guard isFirstWindow else { return }
        touch(first, first + count - 1)
        guard cursor.isActive else { return }
        result.allocatedClusters += count
        if cursor.next != 0, place != cursor.next { result.fragmentedClusters += 1 }
        cursor.next = place + count << UInt64(geometry.clusterBits)
    }

    private func countEach(_ bytes: RawSpan, _ cursor: inout L2Cursor, _ end: Int) {
        for index in cursor.index..<end {
            let entry = L2Entry(bytes, at: index, geometry)
            if entry != .none { countOdd(entry, index, &cursor) }
        }
        cursor.index = end
    }

    /// One entry, of whatever kind.
    private func countOdd(_ entry: L2Entry, _ index: Int, _ cursor: inout L2Cursor) {
        if entry.isCompressed { return countCompressed(entry, index, cursor) }
        let reserved: UInt64 = 0x3F00_0000_0000_01FF & ~(header.knowsZeroFlag ? L2Entry.zeroFlag : 0)
        if entry.descriptor & reserved != 0 {
            entryDamage("ERROR found l2 entry with reserved bits set: \(hex(entry.descriptor))", cursor)
        }
        let place = entry.descriptor & L2Entry.offsetMask
        checkBitmap(entry, place, cursor)
        // The guest's first cluster lies at the start of a file for data.
        guard place != 0 || hasDataFile && entry.isOwn else {
            if entry.isOwn {
                entryDamage("ERROR OFLAG_COPIED no cluster: l2_entry=\(hex(entry.descriptor))", cursor)
            }
            return
        }
        let holdsData =
            geometry.hasExtendedL2
            ? entry.allocated != 0 : header.version < 3 || entry.descriptor & L2Entry.zeroFlag == 0
        let isAligned = place & geometry.clusterMask == 0
        if !isAligned, replacesUnaligned(place, holdsData: holdsData, cursor) { return }
        if !hasDataFile { countPlace(place, entry, isAligned: isAligned, cursor) }
        guard cursor.isActive, isFirstWindow else { return }
        result.allocatedClusters += 1
        if cursor.next != 0, place != cursor.next { result.fragmentedClusters += 1 }
        cursor.next = place + geometry.clusterSize
    }

    private func countPlace(_ place: UInt64, _ entry: L2Entry, isAligned: Bool, _ cursor: L2Cursor) {
        let mark: ReferenceCounts.Mark = !cursor.isActive || !isAligned ? .none : entry.isOwn ? .copied : .plain
        guard !reference(place, geometry.clusterSize, times: cursor.times, mark: mark) else { return }
        damage.l2Entries = true
        if cursor.isActive, isAligned, entry.isOwn { damage.flags = true }
    }

    private func entryDamage(_ message: @autoclosure () -> String, _ cursor: L2Cursor) {
        damage.l2Entries = true
        corruption(message(), times: cursor.times)
    }

    /// Reports a bitmap of subclusters that contradicts itself or its descriptor.
    private func checkBitmap(_ entry: L2Entry, _ place: UInt64, _ cursor: L2Cursor) {
        if place == 0, entry.allocated != 0, !hasDataFile {
            entryDamage("ERROR: Unallocated cluster has non-zero subcluster allocation map", cursor)
        } else if place != 0 || hasDataFile, entry.allocated & entry.zeros != 0 {
            entryDamage(
                "ERROR offset=\(hex(place)): Allocated cluster has corrupted subcluster allocation bitmap", cursor)
        }
    }

    /// Reports a place that is not a cluster's; true where nothing was written to it and a repair takes it away, so that it
    /// is not used.
    private func replacesUnaligned(_ place: UInt64, holdsData: Bool, _ cursor: L2Cursor) -> Bool {
        guard !holdsData else {
            entryDamage(
                "ERROR offset=\(hex(place)): Data cluster is not properly aligned; L2 entry corrupted.", cursor)
            return false
        }
        let isRepaired = repair == .all && result.checkErrors == 0
        entryDamage(
            "\(isRepaired ? "Repairing" : "ERROR") offset=\(hex(place)): Preallocated cluster is not properly aligned; "
                + "L2 entry corrupted.", cursor)
        return isRepaired
    }

    private func countCompressed(_ entry: L2Entry, _ index: Int, _ cursor: L2Cursor) {
        let shift = geometry.compressedShift
        let place = entry.descriptor & ((1 << shift) - 1)
        if entry.isOwn {
            entryDamage(
                "ERROR: coffset=0x\(hex(place)): copied flag must never be set for compressed clusters", cursor)
        }
        if hasDataFile {
            return entryDamage(
                "ERROR compressed cluster \(index) with data file, entry=0x\(hex(entry.descriptor))", cursor)
        }
        if entry.bitmap != 0 {
            return entryDamage(
                "ERROR compressed cluster \(index) with non-zero subcluster allocation bitmap, "
                    + "entry=0x\(hex(entry.descriptor))", cursor)
        }
        let sectors = (entry.descriptor & ~(L2Entry.copied | L2Entry.compressedFlag)) >> shift + 1
        let size = sectors * 512 - (place & 511)
        if !reference(place, size, times: cursor.times) {
            damage.l2Entries = true
        } else if place >= file.length {
            // A little behind the end is none of the file either, though its cluster may be.
            entryDamage("ERROR: coffset=0x\(hex(place)): compressed cluster behind the end of the file", cursor)
        }
        if cursor.isActive, isFirstWindow {
            result.allocatedClusters += 1
            result.compressedClusters += 1
            result.fragmentedClusters += 1
        }
    }
}
