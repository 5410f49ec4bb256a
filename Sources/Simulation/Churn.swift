import Block
import BlockTestKit
import Bytes
import Qcow2

/// Random changes of one image, as many as one likes, and how much of its file it takes meanwhile (R88): the guest's
/// requests, and internal snapshots and new sizes between them.
public final class Churn {
    /// What was found between two rounds, in bytes.
    public struct Usage: Sendable {
        /// Clusters that something names.
        public let live: UInt64
        /// What the file takes of its host.
        public let taken: UInt64
        public let length: UInt64

        /// What may be taken.
        public var allowed: UInt64 { live + live / 20 + 1 << 20 }
    }

    private let context: SimulatedContext
    private let file: MemoryStorage
    private let image: Qcow2Image
    private let io: BlockIO
    private let clusterSize: UInt64
    private var random: SeededRandom
    private var changes = 0

    /// Clusters of the disk at first; it may have half as many again.
    private static let clusters: UInt64 = 128
    /// Internal snapshots at most.
    private static let snapshots = 3

    /// As long as the file of all states would be, each full and the largest, and one more that takes the place of another.
    private var longest: UInt64 {
        let states = UInt64(Self.snapshots + 2) * Self.clusters * clusterSize * 3 / 2
        return states + states / 20 + 1 << 20
    }

    /// Clusters of 512 bytes, 4 KiB and 64 KiB in turn.
    public init(seed: UInt64) throws {
        let context = SimulatedContext(seed: seed, order: .fifo)
        let file = MemoryStorage(SparseBytes(), limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
        clusterSize = [512, 4096, 65536][Int(seed % 3)]
        var options = CreateOptions(size: Self.clusters * clusterSize)
        options.clusterSize = clusterSize
        (image, io) = try context.complete { [options] in
            let below = BlockIO(context: context, driver: .storage(file))
            try await Qcow2Create.create(on: below, options)
            let image = try await Qcow2Image.open(file: below, options: Options())
            return (image, BlockIO(context: context, driver: .format(image), file: below))
        }
        random = SeededRandom(seed: seed ^ 0xC4023)
        (self.context, self.file) = (context, file)
    }

    /// Makes so many changes, and looks at the file.
    public func run(changes count: Int) throws(Violation) -> Usage {
        do {
            try context.complete { [self] in
                for _ in 0..<count { try await change() }
                try await io.finish()
            }
        } catch { throw Violation("change \(changes): \(error)") }
        let check = MiniCheck(file.contents)
        guard check.isClean else {
            throw Violation("after \(changes) changes: \(check.errors), \(check.leaks) leaks", .corrupt)
        }
        let usage = Usage(
            live: UInt64(check.references.count) * clusterSize, taken: file.contents.allocatedBytes, length: file.length
        )
        guard usage.taken <= usage.allowed else {
            throw Violation("after \(changes) changes \(usage.taken) bytes are taken, and \(usage.live) are live")
        }
        guard usage.length <= longest else {
            throw Violation(
                "after \(changes) changes the file is \(usage.length) bytes long, and \(usage.live) are live")
        }
        return usage
    }

    private func change() async throws {
        changes += 1
        // What is freed between two flushes cannot be used again before the second.
        if changes % 4 == 0 { try await io.flush() }
        if random.below(400) == 0 { return try await changeSnapshots() }
        if random.below(400) == 0 { return try await changeSize() }
        let start = random.below(io.length / 512) * 512
        let count = min((1 + random.below(3 * clusterSize / 512)) * 512, io.length - start)
        let range = ByteRange(at: start, count: count)
        switch random.below(7) {
        case 0: try await io.discard(range)
        case 1: try await io.zero(range, flags: .mayUnmap)
        case 2: try await io.zero(range, flags: [])
        case 3:
            let cluster = ByteRange(at: start / clusterSize * clusterSize, count: clusterSize)
            guard cluster.end <= io.length else { return }
            try await io.write(bytes(clusterSize), at: cluster.start, flags: .compressed)
        default: try await io.write(bytes(count), at: start)
        }
    }

    /// Of a byte that differs from one write to the next.
    private func bytes(_ count: UInt64) -> [UInt8] {
        [UInt8](repeating: UInt8(1 + random.below(255)), count: Int(count))
    }

    private func changeSnapshots() async throws {
        try await io.finish()
        let ids = image.snapshots.map(\.id)
        let punch = { [io] (freed: [ByteRange]) async in await io.punch(freed) }
        if ids.count < Self.snapshots {
            let new = NewSnapshot(name: "s", dateSeconds: 1, dateNanoseconds: 2)
            try await image.createSnapshot(new, onFreed: punch)
        } else if random.chance(50) {
            try await image.deleteSnapshot(id: random.pick(ids), onFreed: punch)
        } else {
            try await image.applySnapshot(id: random.pick(ids), onFreed: punch)
        }
    }

    private func changeSize() async throws {
        let most = Self.clusters * clusterSize
        let size = max(512, (most / 2 + random.below(most)) & ~511)
        try await io.resize(to: size)
        try await io.cutTail()
    }
}
