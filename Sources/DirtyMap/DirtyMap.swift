/// Which granules of a disk are dirty: a bit for each, in pages, and above the pages a tree that tells where to look.
///
/// A page has memory of its own only where some of its 32768 granules are dirty and others are not; so what a map takes
/// depends on what is marked in it, and an empty one takes next to nothing, however large the disk. In level 0 of the tree a
/// bit is set for each page that is not clean, in a higher level for each word below it that is not zero. The highest level
/// is one word, so finding the next dirty granule takes a few words and one page.
///
/// No mark is ever lost: where `memory` has no room for a page's words all granules of the page become dirty, which takes
/// none. Whoever copies what is dirty copies more than it had to, and misses nothing.
public final class DirtyMap {
    /// log2 of the smallest and of the largest granularity: 512 bytes and 2 GiB.
    public static let granularityBits: ClosedRange<Int> = 9...31

    /// The disk's length in bytes.
    public internal(set) var length: UInt64
    /// log2 of the bytes that one bit stands for.
    public let granularityBits: Int
    /// How many granules are dirty.
    public internal(set) var dirtyCount: UInt64 = 0
    var pages: [DirtyPage]
    var tree: [[UInt64]]
    private let memory: BitmapMemory
    /// Bytes taken of `memory`.
    private var taken: UInt64 = 0

    /// A map without a dirty granule, or nil where `memory` has no room for its pages' places and its tree. Precondition:
    /// `granularityBits` is one that a map can have.
    public init?(length: UInt64, granularityBits: Int, memory: BitmapMemory) {
        precondition(Self.granularityBits.contains(granularityBits), "a bitmap's granularity is out of bounds")
        let count = Self.pages(length, granularityBits)
        guard memory.take(Self.frameBytes(count)) else { return nil }
        self.length = length
        self.granularityBits = granularityBits
        self.memory = memory
        pages = Array(repeating: DirtyPage(), count: Int(count))
        tree = Self.tree(count)
        taken = Self.frameBytes(count)
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

    /// How many granules a page has.
    func granules(ofPage page: Int) -> Int {
        Int(min(UInt64(DirtyPage.granules), granuleCount - UInt64(page) * UInt64(DirtyPage.granules)))
    }

    static func pages(_ length: UInt64, _ bits: Int) -> UInt64 {
        let page = UInt64(DirtyPage.granules)
        return (granules(length, bits) + page - 1) / page
    }

    /// Bytes that a map takes while it is clean: its pages' places, and the tree.
    static func frameBytes(_ pages: UInt64) -> UInt64 {
        var words = max((pages + 63) / 64, 1)
        var sum = words
        while words > 1 {
            words = (words + 63) / 64
            sum += words
        }
        return pages * UInt64(MemoryLayout<DirtyPage>.stride) + sum * 8
    }

    static func tree(_ pages: UInt64) -> [[UInt64]] {
        var levels = [[UInt64](repeating: 0, count: Int(max((pages + 63) / 64, 1)))]
        while let last = levels.last, last.count > 1 {
            levels.append([UInt64](repeating: 0, count: (last.count + 63) / 64))
        }
        return levels
    }

    func take(_ bytes: UInt64) -> Bool {
        guard memory.take(bytes) else { return false }
        taken += bytes
        return true
    }

    func give(_ bytes: UInt64) {
        memory.give(bytes)
        taken -= bytes
    }
}
