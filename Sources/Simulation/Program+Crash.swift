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
        self.init(seed: seed, shape: shape, length: 4 + random.below(20))
    }
}
