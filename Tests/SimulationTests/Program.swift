import Block
import BlockTestKit
import Bytes

/// What kind of chain a program runs on.
struct Shape: Sendable, CustomStringConvertible {
    enum Backing: String, Sendable { case none, shorter, equal, longer }

    var version = 3
    var clusterBits: UInt64
    var refcountBits = 16
    var size: UInt64
    var backing = Backing.none
    var lazyRefcounts = false
    /// Caches of two tables, so that loading and writing back is the rule.
    var tinyCaches = false
    /// Requests under way at once.
    var depth = 1
    var detectZeroes = BlockIO.DetectZeroes.off
    /// Clusters by which the top image may grow before its disk is full.
    var room: UInt64?

    var clusterSize: UInt64 { 1 << clusterBits }

    var description: String {
        "v\(version) cluster \(clusterSize) refcount \(refcountBits) size \(size) backing \(backing) "
            + "lazy \(lazyRefcounts) tiny \(tinyCaches) depth \(depth) detect \(detectZeroes)"
            + (room.map { " room \($0)" } ?? "")
    }

    /// The shape of a seed: seeds in a row go through every cluster size and refcount width.
    init(seed: UInt64, _ random: inout SeededRandom) {
        clusterBits = 9 + seed % 13
        refcountBits = 1 << (seed / 13 % 7)
        version = refcountBits == 16 && random.chance(40) ? 2 : 3
        let cluster = 1 << clusterBits as UInt64
        // Small tables make disks of several L2 tables cheap.
        let most = min(max(cluster * 40, cluster * cluster / 8 * 6), cluster >= 32768 ? 24 << 20 : 6 << 20)
        size = max(512, random.below(most) & ~511)
        if random.chance(5), clusterBits >= 12, clusterBits <= 16 { size = (cluster * cluster / 8) + 4096 }
        backing = random.pick([.none, .none, .shorter, .equal, .longer])
        lazyRefcounts = version == 3 && random.chance(15)
        tinyCaches = random.chance(50)
        depth = random.pick([1, 2, 4, 8, 16])
        detectZeroes = random.pick([.off, .off, .on, .unmap])
        room = random.chance(25) ? random.below(40) : nil
    }
}

/// One step of a program; lengths and offsets in bytes.
enum Step: Sendable, CustomStringConvertible {
    case write(ByteRange, fua: Bool, fill: UInt64)
    case writeZeros(ByteRange)
    case zero(ByteRange, mayUnmap: Bool, fua: Bool)
    case discard(ByteRange)
    case read(ByteRange)
    case status(ByteRange)
    case flush
    case resize(UInt64)
    /// A new overlay of this size on top.
    case snapshot(UInt64)
    case reopen
    /// The image gets an internal snapshot while it is closed.
    case internalSnapshot
    /// Nothing is asked for this long.
    case pause(ms: UInt64)
    case compare

    var description: String {
        switch self {
        case .write(let range, let fua, _): "write \(range)\(fua ? " fua" : "")"
        case .writeZeros(let range): "write zeros \(range)"
        case .zero(let range, let mayUnmap, let fua): "zero \(range)\(mayUnmap ? " unmap" : "")\(fua ? " fua" : "")"
        case .discard(let range): "discard \(range)"
        case .read(let range): "read \(range)"
        case .status(let range): "status \(range)"
        case .flush: "flush"
        case .resize(let size): "resize \(size)"
        case .snapshot(let size): "snapshot \(size)"
        case .reopen: "reopen"
        case .internalSnapshot: "internal snapshot"
        case .pause(let ms): "pause \(ms)"
        case .compare: "compare"
        }
    }
}

extension Step {
    /// The step on a disk that is shorter than the program thought, since a full disk refused to grow it; nil where
    /// nothing is left of it.
    func clipped(to length: UInt64) -> Step? {
        func inside(_ range: ByteRange) -> ByteRange? {
            range.start < length ? range.intersection(ByteRange(at: 0, count: length)) : nil
        }
        switch self {
        case .write(let range, let fua, let fill): return inside(range).map { .write($0, fua: fua, fill: fill) }
        case .writeZeros(let range): return inside(range).map { .writeZeros($0) }
        case .zero(let range, let unmap, let fua): return inside(range).map { .zero($0, mayUnmap: unmap, fua: fua) }
        case .discard(let range): return inside(range).map { .discard($0) }
        case .read(let range): return inside(range).map { .read($0) }
        case .status(let range): return inside(range).map { .status($0) }
        default: return self
        }
    }
}

/// A random program: the same seed gives the same shape and steps.
struct Program: Sendable, CustomStringConvertible {
    let seed: UInt64
    let shape: Shape
    let steps: [Step]

    init(seed: UInt64, length: Int) {
        var random = SeededRandom(seed: seed)
        shape = Shape(seed: seed, &random)
        self.seed = seed
        var writer = Writer(shape: shape, random: random)
        steps = (0..<length).map { _ in writer.next() }
    }

    /// A random program for a given shape.
    init(seed: UInt64, shape: Shape, length: Int) {
        var writer = Writer(shape: shape, random: SeededRandom(seed: seed))
        self.init(seed: seed, shape: shape, steps: (0..<length).map { _ in writer.next() })
    }

    init(seed: UInt64, shape: Shape, steps: [Step]) {
        (self.seed, self.shape, self.steps) = (seed, shape, steps)
    }

    var description: String {
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
            let cluster = shape.clusterSize
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
