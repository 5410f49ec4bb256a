import Bytes
import Testing

@Suite struct ByteRangeTests {
    @Test("a range that would end past 64 bits cannot be built")
    func overflow() {
        #expect(ByteRange(checked: .max, count: 1) == nil)
        #expect(ByteRange(checked: .max, count: 0)?.end == .max)
        #expect(ByteRange(checked: 1, count: .max - 1)?.end == .max)
    }

    @Test("ranges overlap exactly where they share a byte")
    func overlaps() {
        let range = ByteRange(at: 10, count: 10)
        #expect(range.overlaps(ByteRange(at: 19, count: 1)) && range.overlaps(ByteRange(at: 0, count: 11)))
        #expect(!range.overlaps(ByteRange(at: 20, count: 5)) && !range.overlaps(ByteRange(at: 0, count: 10)))
        #expect(!range.overlaps(ByteRange(at: 15, count: 0)) && !ByteRange(at: 15, count: 0).overlaps(range))
    }

    @Test("intersection, prefix and the rest agree with a set of positions", arguments: 0..<200 as Range<UInt64>)
    func sets(seed: UInt64) {
        // A small linear congruence is enough of a source here.
        func number(_ index: UInt64) -> UInt64 { (seed &* 6_364_136_223 &+ index &* 1_442_695_041) >> 7 % 40 }
        let (left, right) = (ByteRange(at: number(1), count: number(2)), ByteRange(at: number(3), count: number(4)))
        func positions(_ range: ByteRange) -> Set<UInt64> { Set(range.start..<range.end) }
        #expect(positions(left.intersection(right)) == positions(left).intersection(positions(right)))
        #expect(left.overlaps(right) == !positions(left).isDisjoint(with: positions(right)))
        let cut = number(5)
        #expect(positions(left.prefix(cut)).union(positions(left.dropping(cut))) == positions(left))
        #expect(left.prefix(cut).count + left.dropping(cut).count == left.count)
        #expect(left.contains(right) == (right.start >= left.start && right.end <= left.end))
    }

    @Test("growing covers the range, shrinking stays inside, both aligned")
    func alignment() {
        for start in 0..<20 as Range<UInt64> {
            for count in 0..<20 as Range<UInt64> {
                let range = ByteRange(at: start, count: count)
                let (grown, shrunk) = (range.grown(to: 8), range.shrunk(to: 8))
                #expect(grown.map { $0.isAligned(to: 8) && $0.contains(range) && $0.count < count + 16 } == true)
                #expect(shrunk.isEmpty || (shrunk.isAligned(to: 8) && range.contains(shrunk)))
                #expect(shrunk.isEmpty || shrunk.count + 16 > count)
            }
        }
        #expect(ByteRange(at: .max - 5, count: 3).grown(to: 8) == nil)
        #expect((UInt64.max - 3).roundedUp(to: 8) == nil)
        #expect((UInt64.max - 7).roundedUp(to: 8) == UInt64.max - 7)
        #expect(UInt64.max.roundedDown(to: 8) == UInt64.max - 7)
    }
}
