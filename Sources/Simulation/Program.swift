import Block
import BlockTestKit
import Bytes

/// A random program: the same seed gives the same shape and steps.
public struct Program: Sendable, CustomStringConvertible {
    public let seed: UInt64
    public let shape: Shape
    public let steps: [Step]

    public init(seed: UInt64, length: Int) {
        var random = SeededRandom(seed: seed)
        shape = Shape(seed: seed, &random)
        self.seed = seed
        var writer = Writer(shape: shape, random: random)
        steps = (0..<length).map { _ in writer.next() }
    }

    /// A random program for a given shape.
    public init(seed: UInt64, shape: Shape, length: Int) {
        var writer = Writer(shape: shape, random: SeededRandom(seed: seed))
        self.init(seed: seed, shape: shape, steps: (0..<length).map { _ in writer.next() })
    }

    public init(seed: UInt64, shape: Shape, steps: [Step]) {
        (self.seed, self.shape, self.steps) = (seed, shape, steps)
    }

    public var description: String {
        "seed \(seed): \(shape)\n" + steps.enumerated().map { "  \($0): \($1)" }.joined(separator: "\n")
    }

    /// Draws steps; some kinds are switched off for a whole program, so that others pile up (swarm testing).
    private struct Writer {
        let shape: Shape
        var random: SeededRandom
        var size: UInt64
        var layers = 0
        let off: Set<UInt64>
        /// Where a program comes back to.
        var hot: UInt64

        init(shape: Shape, random: SeededRandom) {
            self.shape = shape
            var random = random
            size = shape.size
            off = Set((0..<3).map { _ in random.below(12 as UInt64) })
            hot = random.below(shape.size)
            self.random = random
        }

        mutating func next() -> Step {
            let kind = random.below(100)
            switch kind {
            case 0..<38: return .write(range(), fua: random.chance(8), fill: random.next())
            case 38..<42: return off.contains(0) ? .flush : .writeZeros(range())
            case 42..<56:
                return off.contains(1)
                    ? .write(range(), fua: false, fill: random.next())
                    : .zero(range(), mayUnmap: random.chance(50), fua: random.chance(8))
            case 56..<66: return off.contains(2) ? .read(range()) : .discard(range())
            case 66..<76: return .read(range())
            case 76..<79: return .status(range())
            case 79..<88: return off.contains(3) ? .read(range()) : .flush
            case 88..<91: return off.contains(4) ? .flush : resize()
            case 91..<93 where layers < 3 && !off.contains(5):
                layers += 1
                size = random.chance(70) ? size : newSize()
                return .snapshot(size)
            case 93..<95: return off.contains(6) ? .flush : .reopen
            case 95: return .internalSnapshot
            case 96..<98: return .pause(ms: random.pick([1, 400, 1500]))
            default: return .compare
            }
        }

        private mutating func newSize() -> UInt64 {
            let near = size + random.below(shape.clusterSize * 4)
            return max(512, (random.chance(50) ? near : random.below(size + shape.clusterSize)) & ~511)
        }

        private mutating func resize() -> Step {
            size = newSize()
            return .resize(size)
        }

        /// A part of a cluster, whole clusters, or some of each, often near one place and sometimes at the disk's end.
        private mutating func range() -> ByteRange {
            let cluster = shape.extendedL2 && random.chance(70) ? shape.subclusterSize : shape.clusterSize
            let most = min(size, max(cluster * 3, 8192), 3 << 20)
            var count = 1 + random.below(random.chance(50) ? min(most, cluster) : most)
            var start = random.chance(50) ? random.below(size) : min(hot + random.below(cluster * 4), size - 1)
            if random.chance(8) { start = size - min(count, size) }
            switch random.below(4) {
            case 0: break
            case 1: (start, count) = (start & ~511, max(512, count & ~511))
            default:
                (start, count) = (
                    start & ~(cluster - 1), random.chance(50) ? cluster : max(cluster, count & ~(cluster - 1))
                )
            }
            return ByteRange(at: start, count: min(count, size - start))
        }
    }
}
