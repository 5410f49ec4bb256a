public import Bytes

extension DirtyMap {
    /// The next run of dirty bytes at or behind `position`, or nil. It begins at `position` where that is dirty, ends with a
    /// granule or the disk, and is cut at `end`.
    public func nextDirty(from position: UInt64, to end: UInt64 = .max) -> ByteRange? {
        let end = min(end, length)
        guard position < end else { return nil }
        let shift = UInt64(granularityBits)
        guard let first = firstDirty(from: position >> shift) else { return nil }
        let start = max(position, first << shift)
        guard start < end else { return nil }
        return ByteRange(from: start, to: min(end, bytes(to: firstClean(from: first))))
    }

    /// Whether the byte at `range.start` is dirty, and how many of the range's bytes, from there on, are alike.
    /// Past the disk's end nothing is dirty. Precondition: the range is not empty.
    public func run(_ range: ByteRange) -> (isDirty: Bool, count: UInt64) {
        precondition(!range.isEmpty, "a run of nothing is asked for")
        guard let dirty = nextDirty(from: range.start, to: range.end) else { return (false, range.count) }
        return dirty.start == range.start ? (true, dirty.count) : (false, dirty.start - range.start)
    }

    public func isDirty(at position: UInt64) -> Bool {
        guard position < length else { return false }
        let granule = Int(position >> UInt64(granularityBits))
        return levels[0][granule >> 6] >> UInt64(granule & 63) & 1 != 0
    }

    /// The end of the granules before `granule`, in bytes.
    private func bytes(to granule: UInt64) -> UInt64 {
        granule >= granuleCount ? length : granule << UInt64(granularityBits)
    }

    /// Climbs to the first level that has something further on, and comes down to its first bit.
    private func firstDirty(from granule: UInt64) -> UInt64? {
        guard granule < granuleCount else { return nil }
        var position = Int(granule)
        var level = 0
        while true {
            let word = position >> 6
            guard word < levels[level].count else { return nil }
            let rest = levels[level][word] & (~0 << UInt64(position & 63))
            if rest != 0 {
                position = word << 6 + rest.trailingZeroBitCount
                break
            }
            level += 1
            guard level < levels.count else { return nil }
            position = word + 1
        }
        while level > 0 {
            level -= 1
            position = position << 6 + levels[level][position].trailingZeroBitCount
        }
        return UInt64(position)
    }

    /// The first granule at or behind `granule` that is clean, or the number of granules.
    private func firstClean(from granule: UInt64) -> UInt64 {
        var word = Int(granule >> 6)
        var rest = ~levels[0][word] & (~0 << (granule & 63))
        while rest == 0 {
            word += 1
            guard word < levels[0].count else { return granuleCount }
            rest = ~levels[0][word]
        }
        return min(UInt64(word << 6 + rest.trailingZeroBitCount), granuleCount)
    }
}
