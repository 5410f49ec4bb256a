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
        return pages[granule / DirtyPage.granules].contains(granule % DirtyPage.granules)
    }

    /// The end of the granules before `granule`, in bytes.
    private func bytes(to granule: UInt64) -> UInt64 {
        granule >= granuleCount ? length : granule << UInt64(granularityBits)
    }

    private func firstDirty(from granule: UInt64) -> UInt64? {
        guard granule < granuleCount else { return nil }
        var (page, bit) = Int(granule).quotientAndRemainder(dividingBy: DirtyPage.granules)
        while let next = firstPage(from: page) {
            if let found = pages[next].firstDirty(from: next == page ? bit : 0) {
                return UInt64(next) * UInt64(DirtyPage.granules) + UInt64(found)
            }
            (page, bit) = (next + 1, 0)
        }
        return nil
    }

    /// The first granule at or behind `granule` that is clean, or the number of granules.
    private func firstClean(from granule: UInt64) -> UInt64 {
        var (page, bit) = Int(granule).quotientAndRemainder(dividingBy: DirtyPage.granules)
        while page < pages.count {
            if pages[page].dirtyCount < granules(ofPage: page), let found = pages[page].firstClean(from: bit) {
                return min(UInt64(page) * UInt64(DirtyPage.granules) + UInt64(found), granuleCount)
            }
            (page, bit) = (page + 1, 0)
        }
        return granuleCount
    }
}
