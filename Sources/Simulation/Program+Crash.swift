import BlockTestKit
import Bytes

extension Program {
    /// A random program for crash runs: a small disk, so that many states can be judged, and short, so that a failure can
    /// be read.
    public init(crash seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0xC4A5)
        var shape = Shape(seed: seed, &random)
        shape.clusterBits = random.pick([9, 9, 10, 10, 11, 12])
        shape.refcountBits = random.pick([16, 16, 16, 1, 2, 8, 32, 64])
        shape.version = shape.refcountBits == 16 ? random.pick([2, 3, 3]) : 3
        shape.lazyRefcounts = shape.version == 3 && random.chance(20)
        shape.size = (8192 + random.below(random.chance(20) ? 160_000 : 40_000)) & ~511
        shape.room = nil
        let length = 4 + random.below(20)
        if random.chance(6) {
            shape.crowd(&random)
        } else if random.chance(15) {
            shape.divide()
        } else if random.chance(15), shape.clusterBits > 9 {
            shape.compresses = true
        }
        self.init(seed: seed, shape: shape, length: length)
    }
}

extension Shape {
    /// An image whose next refcount block, or longer refcount table, is a few clusters away.
    fileprivate mutating func crowd(_ random: inout SeededRandom) {
        (version, clusterBits, refcountBits) = (3, 9, 64)
        (backing, lazyRefcounts) = (.none, false)
        let edge: UInt64 = random.chance(70) ? 64 * (1 + random.below(3 as UInt64)) : 4096
        crowd = edge - random.below(12 as UInt64)
    }
}
