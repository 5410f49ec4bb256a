import Bytes
import DirtyMap
import Testing

/// What a map must agree with: a flag a granule.
private struct FlatMap {
    var flags: [Bool]
    let length: UInt64
    let granularity: UInt64

    init(length: UInt64, granularity: UInt64) {
        self.length = length
        self.granularity = granularity
        flags = Array(repeating: false, count: Int((length + granularity - 1) / granularity))
    }

    mutating func set(_ range: ByteRange) {
        for index in flags.indices where bytes(of: index).overlaps(range) { flags[index] = true }
    }

    mutating func clear(_ range: ByteRange) {
        for index in flags.indices where range.contains(bytes(of: index)) { flags[index] = false }
    }

    func bytes(of index: Int) -> ByteRange {
        ByteRange(from: UInt64(index) * granularity, to: min(UInt64(index + 1) * granularity, length))
    }
}

@Suite("a dirty map")
struct DirtyMapTests {
    static func make(_ length: UInt64, bits: Int = 9, limit: UInt64 = .max) -> DirtyMap? {
        DirtyMap(length: length, granularityBits: bits, memory: BitmapMemory(limit: limit))
    }

    /// The dirty ranges of a map, found one after the other.
    static func ranges(_ map: DirtyMap) -> [ByteRange] {
        var found: [ByteRange] = []
        var position: UInt64 = 0
        while let range = map.nextDirty(from: position) {
            found.append(range)
            position = range.end
        }
        return found
    }

    @Test("agrees with a flag a granule, whatever is set and cleared", arguments: 1...12)
    func agreesWithFlags(seed: UInt64) throws {
        var random = Seeded(seed)
        // From one word to three levels, with and without a granule that the end cuts.
        let length = UInt64.random(in: 1...400_000 * (seed % 3 + 1), using: &random)
        let map = try #require(Self.make(length, bits: 9 + Int(seed % 3)))
        var flat = FlatMap(length: length, granularity: map.granularity)
        for _ in 0..<60 {
            let start = UInt64.random(in: 0..<length, using: &random)
            let range = ByteRange(at: start, count: UInt64.random(in: 0...length / 4 + 600, using: &random))
            if Bool.random(using: &random) {
                map.set(range)
                flat.set(range)
            } else {
                map.clear(range)
                flat.clear(range.intersection(ByteRange(at: 0, count: length)))
            }
            #expect(map.dirtyCount == UInt64(flat.flags.count { $0 }))
            let found = Self.ranges(map)
            for (index, flag) in flat.flags.enumerated() {
                let bytes = flat.bytes(of: index)
                #expect(map.isDirty(at: bytes.start) == flag)
                #expect(found.contains { $0.contains(bytes) } == flag)
            }
            for (one, next) in zip(found, found.dropFirst()) { #expect(one.end < next.start) }
        }
    }

    @Test("a run tells where it begins and is cut at the end that was asked")
    func runs() throws {
        let map = try #require(Self.make(10_000))
        map.set(ByteRange(at: 600, count: 1000))
        #expect(map.run(ByteRange(at: 0, count: 10_000)) == (false, 512))
        #expect(map.run(ByteRange(at: 700, count: 9300)) == (true, 2048 - 700))
        #expect(map.run(ByteRange(at: 700, count: 9)) == (true, 9))
        #expect(map.nextDirty(from: 0, to: 512) == nil)
        #expect(map.nextDirty(from: 0, to: 513) == ByteRange(at: 512, count: 1))
        map.setAll()
        #expect(map.run(ByteRange(at: 0, count: 10_000)) == (true, 10_000))
        #expect(map.dirtyCount == 20)
    }

    @Test("a granule that the end cuts is one: marked by its last byte, cleared with the disk's end")
    func lastGranule() throws {
        let map = try #require(Self.make(1025))
        map.set(ByteRange(at: 1024, count: 1))
        #expect(map.dirtyCount == 1)
        map.clear(ByteRange(at: 600, count: 425))
        #expect(map.isEmpty)
        map.set(ByteRange(at: 1025, count: 5000))
        #expect(map.isEmpty, "what lies past the end is left out")
    }

    @Test("what was stored comes back, piece by piece, with zeros behind the last bit")
    func storing() throws {
        let length: UInt64 = 512 * (4096 * 2 + 100)
        let map = try #require(Self.make(length))
        map.set(ByteRange(at: 512 * 4096, count: 512 * 4096))
        map.set(ByteRange(at: length - 1, count: 1))
        #expect(map.serialisedCount == 1024 + 13)
        #expect(map.piece(at: 0, count: 512) == .clean)
        #expect(map.piece(at: 512, count: 512) == .dirty)
        #expect(map.piece(at: 1024, count: 512) == .mixed)
        let copy = try #require(Self.make(length))
        var piece = [UInt8](repeating: 0xFF, count: 512)
        piece.withMutableBytes { map.store(from: 1024, in: &$0) }
        #expect(piece[12] == 8 && piece.reduce(0) { $0 + $1.nonzeroBitCount } == 1)
        #expect(restore(piece, at: 1024, in: copy) && copy.restoreDirty(at: 512, count: 512))
        #expect(Self.ranges(copy) == Self.ranges(map))
        #expect(copy.dirtyCount == map.dirtyCount)
        // A stored bitmap may say more than the disk has.
        #expect(restore([UInt8](repeating: 0xFF, count: 512), at: 1024, in: copy))
        #expect(copy.dirtyCount == 4096 + 100)
        var all: [UInt8] = []
        copy.forEachPiece { all += $0.array }
        #expect(all.count == 1040 && all.reduce(0) { $0 + $1.nonzeroBitCount } == 4196)
        #expect(all[1024..<1036].allSatisfy { $0 == 0xFF } && all[1036] == 0xF && all[1037...].allSatisfy { $0 == 0 })
    }

    @Test("merging marks what either has, also where granularities differ", arguments: [9, 10, 14])
    func merging(bits: Int) throws {
        let length: UInt64 = 1_000_000
        let map = try #require(Self.make(length))
        let other = try #require(Self.make(length, bits: bits))
        map.set(ByteRange(at: 0, count: 1))
        other.set(ByteRange(at: 500_000, count: 1))
        map.merge(other)
        let granule = UInt64(500_000) & ~(other.granularity - 1)
        #expect(Self.ranges(map) == [ByteRange(at: 0, count: 512), ByteRange(at: granule, count: other.granularity)])
    }

    @Test("a longer disk is clean where it is new, a shorter one forgets")
    func resizing() throws {
        let map = try #require(Self.make(512 * 70))
        map.setAll()
        #expect(map.resize(to: 512 * 10_000))
        #expect(Self.ranges(map) == [ByteRange(at: 0, count: 512 * 70)])
        #expect(map.resize(to: 512 * 3))
        #expect(map.dirtyCount == 3)
        #expect(map.resize(to: 512 * 10_000))
        #expect(Self.ranges(map) == [ByteRange(at: 0, count: 512 * 3)])
        #expect(map.resize(to: 0) && map.isEmpty && map.nextDirty(from: 0) == nil)
    }
}

/// A span cannot be handed to an expectation.
func restore(_ bytes: [UInt8], at start: UInt64, in map: DirtyMap) -> Bool { map.restore(bytes.byteSpan, at: start) }

/// A small generator with a seed (xorshift64*).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
