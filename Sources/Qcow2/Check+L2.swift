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
            if times == 1 { countRuns(bytes, &cursor, end) } else { countEach(bytes, &cursor, end) }
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
                countOdd(entry, &cursor)
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
            let entry = bytes.bigEndian(UInt64.self, at: index * 8)
            if entry != 0 { countOdd(entry, &cursor) }
        }
        cursor.index = end
    }

    /// One entry, of whatever kind.
    private func countOdd(_ entry: UInt64, _ cursor: inout L2Cursor) {
        if entry & L2Entry.compressedFlag != 0 { return countCompressed(entry, cursor) }
        let reserved: UInt64 = header.version >= 3 ? 0x3F00_0000_0000_01FE : 0x3F00_0000_0000_01FF
        if entry & reserved != 0 {
            damage.l2Entries = true
            corruption("ERROR found l2 entry with reserved bits set: \(hex(entry))", times: cursor.times)
        }
        let place = entry & L2Entry.offsetMask
        guard place != 0 else {
            if entry & L2Entry.copied != 0 {
                damage.l2Entries = true
                corruption("ERROR OFLAG_COPIED no cluster: l2_entry=\(hex(entry))", times: cursor.times)
            }
            return
        }
        let isZero = header.version >= 3 && entry & L2Entry.zeroFlag != 0
        let isAligned = place & geometry.clusterMask == 0
        if !isAligned, replacesUnaligned(place, isZero: isZero, times: cursor.times) { return }
        let mark: ReferenceCounts.Mark =
            !cursor.isActive || !isAligned ? .none : entry & L2Entry.copied != 0 ? .copied : .plain
        if !reference(place, geometry.clusterSize, times: cursor.times, mark: mark) {
            damage.l2Entries = true
            if cursor.isActive, isAligned, entry & L2Entry.copied != 0 { damage.flags = true }
        }
        guard cursor.isActive, isFirstWindow else { return }
        result.allocatedClusters += UInt64(cursor.times)
        if cursor.next != 0, place != cursor.next { result.fragmentedClusters += UInt64(cursor.times) }
        cursor.next = place + geometry.clusterSize
    }

    /// Reports a place that is not a cluster's; true where it is a zero cluster's that a repair takes away, and so not used.
    private func replacesUnaligned(_ place: UInt64, isZero: Bool, times: UInt32) -> Bool {
        damage.l2Entries = true
        guard isZero else {
            corruption(
                "ERROR offset=\(hex(place)): Data cluster is not properly aligned; L2 entry corrupted.", times: times)
            return false
        }
        let isRepaired = repair == .all && result.checkErrors == 0
        corruption(
            "\(isRepaired ? "Repairing" : "ERROR") offset=\(hex(place)): Preallocated cluster is not properly aligned; "
                + "L2 entry corrupted.", times: times)
        return isRepaired
    }

    private func countCompressed(_ entry: UInt64, _ cursor: L2Cursor) {
        let shift = geometry.compressedShift
        let place = entry & ((1 << shift) - 1)
        if entry & L2Entry.copied != 0 {
            damage.l2Entries = true
            corruption(
                "ERROR: coffset=0x\(hex(place)): copied flag must never be set for compressed clusters",
                times: cursor.times)
        }
        let sectors = (entry & ~(L2Entry.copied | L2Entry.compressedFlag)) >> shift + 1
        let size = sectors * 512 - (place & 511)
        if !reference(place, size, times: cursor.times) {
            if place < file.length { damage.length = max(damage.length, place + size) } else { damage.l2Entries = true }
        }
        if cursor.isActive, isFirstWindow {
            result.allocatedClusters += UInt64(cursor.times)
            result.compressedClusters += UInt64(cursor.times)
            result.fragmentedClusters += UInt64(cursor.times)
        }
    }
}
