import Bytes
import DirtyMap
import Testing

/// The pages of a map: what they take of memory, and what becomes of marks where there is none.
@Suite("the pages of a dirty map")
struct PageTests {
    /// Granules of a page, and bytes of its words.
    private static let page: UInt64 = 32768
    private static let pageBytes: UInt64 = 4096

    /// The runs of a flat list of flags, in granules.
    private static func runs(_ flags: [Bool]) -> [Range<Int>] {
        var (runs, position): ([Range<Int>], Int) = ([], 0)
        while let start = flags[position...].firstIndex(of: true) {
            position = flags[start...].firstIndex(of: false) ?? flags.count
            runs.append(start..<position)
        }
        return runs
    }

    private static func runs(_ map: DirtyMap) -> [Range<Int>] {
        DirtyMapTests.ranges(map).map { Int($0.start / 512)..<Int(($0.end + 511) / 512) }
    }

    private static func granules(_ range: Range<Int>) -> ByteRange {
        ByteRange(from: UInt64(range.lowerBound) * 512, to: UInt64(range.upperBound) * 512)
    }

    /// A run of granules that begins and ends near the borders of pages and words more often than not.
    private static func range(below count: Int, _ random: inout Seeded) -> Range<Int> {
        func place() -> Int {
            let near = [Int(page), 64, 1].randomElement(using: &random) ?? 1
            let border = Int.random(in: 0...count / near, using: &random) * near
            return min(max(border + Int.random(in: -1...1, using: &random), 0), count)
        }
        let (one, other) = (place(), place())
        return min(one, other)..<max(one, other)
    }

    @Test(
        "a map of several pages agrees with a flag a granule, resized or not", arguments: 1...6 as ClosedRange<UInt64>)
    func agreesWithFlags(seed: UInt64) throws {
        var random = Seeded(seed)
        let memory = BitmapMemory(limit: .max)
        var flags = [Bool](repeating: false, count: Int.random(in: 1...100_000, using: &random))
        do {
            let map = try #require(DirtyMap(length: UInt64(flags.count) * 512, granularityBits: 9, memory: memory))
            for step in 0..<40 {
                let range = Self.range(below: flags.count, &random)
                switch Int.random(in: 0..<9, using: &random) {
                case 0...3:
                    map.set(Self.granules(range))
                    flags.replaceSubrange(range, with: repeatElement(true, count: range.count))
                case 4...6:
                    #expect(map.clear(Self.granules(range)))
                    flags.replaceSubrange(range, with: repeatElement(false, count: range.count))
                case 7:
                    let count = Self.range(below: 100_000, &random).upperBound
                    #expect(map.resize(to: UInt64(count) * 512))
                    flags.append(contentsOf: repeatElement(false, count: max(0, count - flags.count)))
                    flags.removeLast(flags.count - count)
                default:
                    let other = try #require(DirtyMap(length: map.length, granularityBits: 9, memory: memory))
                    other.set(Self.granules(range))
                    map.merge(other)
                    flags.replaceSubrange(range, with: repeatElement(true, count: range.count))
                }
                let expected = Self.runs(flags)
                #expect(Self.runs(map) == expected, "step \(step)")
                #expect(map.dirtyCount == UInt64(expected.reduce(0) { $0 + $1.count }))
                for index in [range.lowerBound, range.upperBound - 1] where flags.indices.contains(index) {
                    #expect(map.isDirty(at: UInt64(index) * 512) == flags[index])
                }
            }
            let copy = try #require(DirtyMap(length: map.length, granularityBits: 9, memory: memory))
            var piece = [UInt8](repeating: 0, count: 512)
            for start in stride(from: 0, to: map.serialisedCount, by: 512) {
                let bits = flags[min(Int(start) * 8, flags.count)..<min(Int(start + 512) * 8, flags.count)]
                let isDirty = bits.count == 4096 && bits.allSatisfy { $0 }
                #expect(
                    map.piece(at: start, count: 512) == (isDirty ? .dirty : bits.contains(true) ? .mixed : .clean))
                piece.withMutableBytes { map.store(from: start, in: &$0) }
                #expect(restore(piece, at: start, in: copy))
            }
            #expect(Self.runs(copy) == Self.runs(map))
            map.clearAll()
            #expect(map.isEmpty && map.nextDirty(from: 0) == nil)
        }
        #expect(memory.used == 0)
    }

    @Test("an empty map of a huge disk takes next to nothing, and each mark in it no more than a page")
    func sparse() throws {
        let memory = BitmapMemory(limit: 8 << 20)
        // 2^32 granules, whose bits would be 512 MiB.
        let length: UInt64 = 2 << 40
        let map = try #require(DirtyMap(length: length, granularityBits: 9, memory: memory))
        let empty = memory.used
        #expect(empty < 4 << 20)
        var random = Seeded(7)
        let marks = Set((0..<50).map { _ in UInt64.random(in: 0..<length / 512, using: &random) }).sorted()
        for mark in marks { map.set(ByteRange(at: mark * 512, count: 1)) }
        #expect(DirtyMapTests.ranges(map) == marks.map { ByteRange(at: $0 * 512, count: 512) })
        #expect(memory.used == empty + UInt64(Set(marks.map { $0 / Self.page }).count) * Self.pageBytes)
        for mark in marks { #expect(map.clear(ByteRange(at: mark * 512, count: 512))) }
        #expect(map.isEmpty && memory.used == empty)
    }

    @Test("what is wholly dirty takes no more than what is clean")
    func whole() throws {
        let memory = BitmapMemory(limit: 1 << 20)
        let map = try #require(DirtyMap(length: 1000 * 512 * Self.page, granularityBits: 9, memory: memory))
        let empty = memory.used
        map.setAll()
        #expect(map.dirtyCount == 1000 * Self.page && memory.used == empty)
        #expect(map.clear(ByteRange(at: 512, count: 512)))
        #expect(memory.used == empty + Self.pageBytes)
        map.set(ByteRange(at: 512, count: 1))
        #expect(memory.used == empty && DirtyMapTests.ranges(map) == [ByteRange(at: 0, count: map.length)])
    }

    @Test(
        "where there is no memory for a page all of it becomes dirty, and no mark is lost",
        arguments: 1...6 as ClosedRange<UInt64>)
    func noMemory(seed: UInt64) throws {
        var random = Seeded(seed)
        let count = Int(Self.page) * 3 + 100
        let memory = BitmapMemory(limit: 6000)
        let map = try #require(DirtyMap(length: UInt64(count) * 512, granularityBits: 9, memory: memory))
        let empty = memory.used
        var flags = [Bool](repeating: false, count: count)
        var isExact = true
        for _ in 0..<40 {
            let range = Self.range(below: count, &random)
            if Int.random(in: 0..<3, using: &random) > 0 {
                map.set(Self.granules(range))
                flags.replaceSubrange(range, with: repeatElement(true, count: range.count))
            } else if map.clear(Self.granules(range)) {
                flags.replaceSubrange(range, with: repeatElement(false, count: range.count))
            } else {
                isExact = false
                for index in range { flags[index] = map.isDirty(at: UInt64(index) * 512) }
            }
            #expect(memory.used <= memory.limit)
            let found = Self.runs(map)
            #expect(map.dirtyCount == UInt64(found.reduce(0) { $0 + $1.count }))
            for run in Self.runs(flags) {
                #expect(found.contains { $0.lowerBound <= run.lowerBound && $0.upperBound >= run.upperBound })
            }
            // Beyond what was marked only whole pages are dirty.
            for run in found where flags[run].contains(false) {
                isExact = false
                for page in run.lowerBound / Int(Self.page)...(run.upperBound - 1) / Int(Self.page) {
                    let whole = page * Int(Self.page)..<min((page + 1) * Int(Self.page), count)
                    let isMore = flags[run.clamped(to: whole)].contains(false)
                    #expect(!isMore || run.lowerBound <= whole.lowerBound && run.upperBound >= whole.upperBound)
                }
            }
            for run in found { flags.replaceSubrange(run, with: repeatElement(true, count: run.count)) }
        }
        #expect(!isExact, "there was memory enough, and nothing was tried")
        map.clearAll()
        #expect(map.isEmpty && memory.used == empty)
    }

    @Test("a clean granule that cannot be told from a dirty page stays dirty, and the answer says so")
    func refusedClear() throws {
        let memory = BitmapMemory(limit: 1000)
        let map = try #require(DirtyMap(length: 3 * 512 * Self.page, granularityBits: 9, memory: memory))
        map.setAll()
        #expect(!map.clear(ByteRange(at: 0, count: 512)))
        #expect(map.isDirty(at: 0))
        // The whole of a page needs no memory.
        #expect(map.clear(ByteRange(at: 512 * Self.page, count: 512 * Self.page)))
        #expect(map.dirtyCount == 2 * Self.page)
        // What a stored bitmap says cannot be told apart either.
        #expect(!restore([1, 0, 0, 0, 0, 0, 0, 0], at: Self.page / 8, in: map))
        #expect(map.dirtyCount == 3 * Self.page)
    }

    @Test("maps share a bound on memory, checked before it is taken, and give theirs back")
    func bound() throws {
        let memory = BitmapMemory(limit: 6000)
        #expect(DirtyMap(length: 1 << 62, granularityBits: 9, memory: memory) == nil)
        #expect(DirtyMap(length: .max, granularityBits: 9, memory: memory) == nil)
        do {
            let map = try #require(DirtyMap(length: 512 * Self.page * 100, granularityBits: 9, memory: memory))
            // A page's place has 16 bytes; two words and one above them are the tree.
            #expect(memory.used == 1624)
            map.set(ByteRange(at: 0, count: 1))
            #expect(memory.used == 1624 + Self.pageBytes)
            #expect(!map.resize(to: 512 * Self.page * 1000))
            #expect(map.length == 512 * Self.page * 100 && memory.used == 1624 + Self.pageBytes)
            // Of a page that the disk ends in, as many words as it has.
            #expect(map.resize(to: 512 * 65))
            #expect(memory.used == 24 + 16 && map.dirtyCount == 1)
        }
        #expect(memory.used == 0)
    }
}
