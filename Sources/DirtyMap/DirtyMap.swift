public import Bytes

/// Which granules of a disk are dirty: a bit for each, and above the bits a tree that tells where to look.
///
/// Level 0 holds the bits, 64 a word, the first granule in the lowest bit. A bit of a higher level is set where the word
/// below it is not zero. The highest level is one word, so finding the next dirty granule takes a few words, however large
/// the disk. Marking touches the words that a range spans, and stops below the first level that does not change. All
/// levels are there from the start: marking allocates nothing.
public final class DirtyMap {
    /// log2 of the smallest and of the largest granularity: 512 bytes and 2 GiB.
    public static let granularityBits: ClosedRange<Int> = 9...31

    /// The disk's length in bytes.
    public internal(set) var length: UInt64
    /// log2 of the bytes that one bit stands for.
    public let granularityBits: Int
    /// How many granules are dirty.
    public internal(set) var dirtyCount: UInt64 = 0
    var levels: [[UInt64]]
    private let memory: BitmapMemory
    /// Bytes taken of `memory`.
    private var taken: UInt64

    /// A map without a dirty granule, or nil where `memory` has no room for it. Precondition: `granularityBits` is one that
    /// a map can have.
    public init?(length: UInt64, granularityBits: Int, memory: BitmapMemory) {
        precondition(Self.granularityBits.contains(granularityBits), "a bitmap's granularity is out of bounds")
        let bytes = Self.byteCount(length: length, granularityBits: granularityBits)
        guard memory.take(bytes) else { return nil }
        self.length = length
        self.granularityBits = granularityBits
        self.memory = memory
        taken = bytes
        levels = Self.levels(words: Self.words(length, granularityBits))
    }

    deinit { memory.give(taken) }

    /// Bytes of one granule.
    public var granularity: UInt64 { 1 << UInt64(granularityBits) }
    /// How many granules the disk has; the last one may be cut short by the disk's end.
    public var granuleCount: UInt64 { Self.granules(length, granularityBits) }
    public var isEmpty: Bool { dirtyCount == 0 }

    static func granules(_ length: UInt64, _ bits: Int) -> UInt64 {
        length >> UInt64(bits) + (length & ((1 << UInt64(bits)) - 1) == 0 ? 0 : 1)
    }

    /// Words of the lowest level: one even for an empty disk.
    private static func words(_ length: UInt64, _ bits: Int) -> UInt64 { max((granules(length, bits) + 63) / 64, 1) }

    /// Bytes that a map takes, all levels together.
    public static func byteCount(length: UInt64, granularityBits: Int) -> UInt64 {
        var words = Self.words(length, granularityBits)
        var sum = words
        while words > 1 {
            words = (words + 63) / 64
            sum += words
        }
        return sum * 8
    }

    private static func levels(words: UInt64) -> [[UInt64]] {
        var levels = [[UInt64](repeating: 0, count: Int(words))]
        while let last = levels.last, last.count > 1 {
            levels.append([UInt64](repeating: 0, count: (last.count + 63) / 64))
        }
        return levels
    }

    // MARK: Marking

    /// Marks every granule that the range touches. What lies past the disk's end is left out.
    public func set(_ range: ByteRange) {
        let inside = range.intersection(ByteRange(at: 0, count: length))
        guard !inside.isEmpty else { return }
        let shift = UInt64(granularityBits)
        setGranules(inside.start >> shift..<((inside.end - 1) >> shift) + 1)
    }

    public func setAll() { set(ByteRange(at: 0, count: length)) }

    func setGranules(_ granules: Range<UInt64>) {
        guard !granules.isEmpty else { return }
        var (first, last) = (Int(granules.lowerBound), Int(granules.upperBound - 1))
        for level in levels.indices {
            var changed = false
            for word in first >> 6...last >> 6 {
                let old = levels[level][word]
                let new = old | Self.mask(word, first, last)
                guard new != old else { continue }
                levels[level][word] = new
                changed = true
                if level == 0 { dirtyCount += UInt64((new ^ old).nonzeroBitCount) }
            }
            // Words that were not zero are known to all levels above.
            guard changed else { return }
            first >>= 6
            last >>= 6
        }
    }

    /// Clears every granule that lies whole in the range: one that the range only touches may hold other changes.
    public func clear(_ range: ByteRange) {
        let shift = UInt64(granularityBits)
        let inside = range.intersection(ByteRange(at: 0, count: length))
        guard !inside.isEmpty else { return }
        let start = Self.granules(inside.start, granularityBits)
        // The last granule is whole where the disk ends in it.
        let end = inside.end == length ? granuleCount : inside.end >> shift
        guard start < end else { return }
        clearGranules(start..<end)
    }

    func clearGranules(_ granules: Range<UInt64>) {
        var (first, last) = (Int(granules.lowerBound), Int(granules.upperBound - 1))
        for word in first >> 6...last >> 6 {
            let old = levels[0][word]
            levels[0][word] = old & ~Self.mask(word, first, last)
            dirtyCount -= UInt64((old ^ levels[0][word]).nonzeroBitCount)
        }
        for level in levels.indices.dropFirst() {
            first >>= 6
            last >>= 6
            for child in first...last where levels[level - 1][child] == 0 {
                levels[level][child >> 6] &= ~(1 << UInt64(child & 63))
            }
        }
    }

    public func clearAll() {
        guard dirtyCount > 0 else { return }
        for level in levels.indices {
            for word in levels[level].indices { levels[level][word] = 0 }
        }
        dirtyCount = 0
    }

    /// The bits of `word` from position `first` to position `last`, both counted over all words.
    private static func mask(_ word: Int, _ first: Int, _ last: Int) -> UInt64 {
        var mask = ~UInt64(0)
        if first >> 6 == word { mask &= ~0 << UInt64(first & 63) }
        if last >> 6 == word { mask &= ~0 >> UInt64(63 - last & 63) }
        return mask
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
        for word in levels[0].indices { levels[0][word] |= other.levels[0][word] }
        countAnew()
    }

    /// Makes the levels above, and the count, anew from level 0.
    func countAnew() {
        dirtyCount = levels[0].reduce(0) { $0 + UInt64($1.nonzeroBitCount) }
        for level in levels.indices.dropFirst() {
            for word in levels[level].indices { levels[level][word] = 0 }
            for (child, value) in levels[level - 1].enumerated() where value != 0 {
                levels[level][child >> 6] |= 1 << UInt64(child & 63)
            }
        }
    }

    // MARK: Size

    /// Follows the disk to another length: what is gained is clean, what is lost is forgotten. Answers false, and changes
    /// nothing, where there is no memory for it.
    public func resize(to newLength: UInt64) -> Bool {
        let bytes = Self.byteCount(length: newLength, granularityBits: granularityBits)
        if bytes > taken {
            guard memory.take(bytes - taken) else { return false }
        } else {
            memory.give(taken - bytes)
        }
        taken = bytes
        let words = Self.words(newLength, granularityBits)
        var leaves = levels[0]
        if words < leaves.count {
            leaves.removeSubrange(Int(words)...)
        } else {
            leaves.append(contentsOf: repeatElement(0, count: Int(words) - leaves.count))
        }
        length = newLength
        levels = Self.levels(words: words)
        levels[0] = leaves
        clearPastEnd()
        countAnew()
        return true
    }

    /// Bits behind the last granule are zero, always.
    func clearPastEnd() {
        let kept = granuleCount & 63
        guard let last = levels[0].indices.last, kept != 0 || granuleCount == 0 else { return }
        levels[0][last] &= kept == 0 ? 0 : ~0 >> (64 - kept)
    }
}
