public import Bytes

extension DirtyMap {
    /// Marks every granule that the range touches. What lies past the disk's end is left out.
    public func set(_ range: ByteRange) {
        let inside = range.intersection(ByteRange(at: 0, count: length))
        guard !inside.isEmpty else { return }
        let shift = UInt64(granularityBits)
        setGranules(inside.start >> shift..<((inside.end - 1) >> shift) + 1)
    }

    public func setAll() { set(ByteRange(at: 0, count: length)) }

    /// Answers false where more is dirty now, since there is no memory to tell it apart.
    @discardableResult
    func setGranules(_ granules: Range<UInt64>) -> Bool {
        var isDone = true
        forEachPage(of: granules) { page, bits in
            if bits.count == self.granules(ofPage: page) {
                fill(page)
            } else if !add(to: page, { $0.set(bits) }) {
                isDone = false
            }
        }
        return isDone
    }

    /// Clears every granule that lies whole in the range: one that the range only touches may hold other changes. Answers
    /// false where some of them stay dirty, since there is no memory to tell them from others of their page: whoever clears until all
    /// is clean may wait for ever.
    @discardableResult
    public func clear(_ range: ByteRange) -> Bool {
        let shift = UInt64(granularityBits)
        let inside = range.intersection(ByteRange(at: 0, count: length))
        guard !inside.isEmpty else { return true }
        let start = Self.granules(inside.start, granularityBits)
        // The last granule is whole where the disk ends in it.
        let end = inside.end == length ? granuleCount : inside.end >> shift
        var isDone = true
        forEachPage(of: start..<max(start, end)) { page, bits in
            if !remove(bits, from: page) { isDone = false }
        }
        return isDone
    }

    public func clearAll() {
        var page = 0
        while let next = firstPage(from: page) {
            _ = remove(0..<granules(ofPage: next), from: next)
            page = next + 1
        }
    }

    /// The pages that granules lie in, and which of each.
    func forEachPage(of granules: Range<UInt64>, _ body: (Int, Range<Int>) -> Void) {
        var next = granules.lowerBound
        while next < granules.upperBound {
            let (page, bit) = next.quotientAndRemainder(dividingBy: UInt64(DirtyPage.granules))
            let count = min(granules.upperBound - next, UInt64(DirtyPage.granules) - bit)
            body(Int(page), Int(bit)..<Int(bit + count))
            next += count
        }
    }

    /// Marks all that is dirty in `other`, as far as this disk reaches; granularities may differ.
    public func merge(_ other: DirtyMap) {
        guard granularityBits == other.granularityBits, length == other.length else {
            var position: UInt64 = 0
            while let run = other.nextDirty(from: position) {
                set(run)
                position = run.end
            }
            return
        }
        var next = 0
        while let page = other.firstPage(from: next) {
            let marks = other.pages[page]
            if marks.dirtyCount == granules(ofPage: page) {
                fill(page)
            } else {
                add(to: page) { for (word, bits) in marks.words.enumerated() { $0.add(bits, to: word) } }
            }
            next = page + 1
        }
    }
}
