import Block
import BlockTestKit
import Bytes
import Filters
import Qcow2
import Testing

@testable import Graph

/// Every kind of storage passes the same checks. A new kind is a new line in `kinds`.
@Suite struct StorageConformanceTests {
    struct Kind: Sendable, CustomTestStringConvertible {
        let name: String
        var exceptions: Conformance.Exceptions = []
        let make: @Sendable (SimulatedContext, UInt64) async throws -> any Storage
        var testDescription: String { name }
    }

    static let size: UInt64 = 512 << 10

    static let kinds: [Kind] =
        [
            Kind(name: "memory") { _, _ in MemoryStorage(length: size) },
            Kind(name: "growable memory") { _, _ in MemoryStorage(length: size, growable: true) },
            Kind(name: "simulated disk") { context, seed in
                SimDisk(context, contents: SparseBytes(length: size), .init(seed: seed))
            },
            Kind(name: "a walker over a simulated disk") { context, seed in
                let disk = SimDisk(context, contents: SparseBytes(length: size), .init(seed: seed))
                return BlockIO(context: context, driver: .storage(disk))
            },
            Kind(name: "a read-only walker", exceptions: .readOnly) { context, _ in
                BlockIO(
                    context: context, driver: .storage(MemoryStorage(length: size)), options: .init(isReadOnly: true))
            },
            Kind(name: "null-co", exceptions: [.fixedLength, .forgets]) { context, _ in
                NullStorage(NullOptions(size: size), on: context)
            },
            Kind(name: "a walker over null-co that reads as zeros", exceptions: [.fixedLength, .forgets]) {
                context, _ in
                let null = NullStorage(NullOptions(size: size, readZeroes: true), on: context)
                return BlockIO(context: context, driver: .storage(null))
            },
        ] + stingy(growable: false) + stingy(growable: true) + qcow2() + faults() + raw() + filters()

    /// Filters that change nothing of what a storage promises.
    static func filters() -> [Kind] {
        var kinds = [
            Kind(name: "throttle") { context, seed in
                let disk = SimDisk(context, contents: SparseBytes(length: size), .init(seed: seed))
                let group = ThrottleGroup("g", ThrottleLimits(), on: context)
                // Seed 0 is not limited, the others wait now and then.
                var limits = ThrottleLimits()
                if seed > 0 { limits.bps = .init(64 << 20) }
                group.setLimits(limits)
                return ThrottleFilter(disk, ThrottleMember(of: group))
            },
            Kind(name: "copy-on-read over a disk") { context, seed in
                CopyOnReadFilter(SimDisk(context, contents: SparseBytes(length: size), .init(seed: seed)))
            },
            Kind(name: "a fault filter that pretends limits") { context, seed in
                let disk = SimDisk(
                    context, contents: SparseBytes(length: size),
                    .init(seed: seed, limits: StorageLimits(zeroesFast: true, discards: true, growable: true)))
                var limits = PretendedLimits()
                (limits.align, limits.maxTransfer) = (512, 8192)
                (limits.optWriteZero, limits.maxWriteZero) = (4096, 16384)
                (limits.optDiscard, limits.maxDiscard) = (4096, 65536)
                let filter = FaultFilter(disk, FaultPlanner(errors: []), on: context, pretending: limits)
                return BlockIO(context: context, driver: .storage(filter))
            },
        ]
        kinds += [4096, 65536].flatMap { (cluster: UInt64) in
            [
                Kind(name: "copy-on-read over qcow2 over qcow2, clusters of \(cluster)") { context, seed in
                    let below = SimDisk(context, .init(seed: seed))
                    let backing = try await image(on: below, 4096, 3, backing: nil, context)
                    var random = SeededRandom(seed: seed)
                    try await backing.write(random.bytes(300_000), at: 1000)
                    let top = SimDisk(context, .init(seed: seed + 1))
                    return CopyOnReadFilter(try await image(on: top, cluster, 3, backing: backing, context))
                },
                Kind(name: "compress over qcow2, clusters of \(cluster)") { context, seed in
                    CompressFilter(
                        try await image(on: SimDisk(context, .init(seed: seed)), cluster, 3, backing: nil, context))
                },
            ]
        }
        return kinds
    }

    /// The fault filter where no rule holds: it changes nothing, whatever alignment it asks for.
    static func faults() -> [Kind] {
        [nil, 512, 4096].map { (align: UInt64?) in
            Kind(name: "a fault filter without rules, alignment \(align ?? 1)") { context, seed in
                let disk = SimDisk(context, contents: SparseBytes(length: size), .init(seed: seed))
                // A rule that could never apply stands for none.
                let planner = FaultPlanner(errors: seed == 0 ? [] : [FaultRule(sector: 1 << 50)])
                return FaultFilter(disk, planner, on: context, pretending: PretendedLimits(align: align))
            }
        }
    }

    /// `raw` over a disk that grows and over one that does not, with and without a window.
    static func raw() -> [Kind] {
        let windows: [(offset: UInt64?, size: UInt64?)] = [
            (nil, nil), (1000, size), (65536, nil), (4097, nil),
        ]
        return windows.flatMap { window in
            [true, false].map { (growable: Bool) in
                let shape = "offset \(window.offset.map(String.init) ?? "none"), size \(window.size ?? 0)"
                let fixed = window.size != nil || !growable || window.offset == 4097
                return Kind(
                    name: "raw, \(shape)\(growable ? ", growable" : "")", exceptions: fixed ? .fixedLength : []
                ) { context, seed in
                    let limits = StorageLimits(zeroesFast: seed == 0, discards: true, growable: growable)
                    let length = size + (window.offset ?? 0) + (window.size == nil ? 0 : 512)
                    let disk = SimDisk(
                        context, contents: SparseBytes(length: length), .init(seed: seed, limits: limits))
                    let file = BlockIO(context: context, driver: .storage(disk))
                    var options = RawOptions(file: .node("file"))
                    (options.offset, options.size) = (window.offset, window.size)
                    return BlockIO(context: context, driver: .format(try RawFormat(options, on: file)), file: file)
                }
            }
        }
    }

    /// Walkers over storages that trap on what breaks their limits.
    static func stingy(growable: Bool) -> [Kind] {
        [(1, 1), (1, 512), (512, 1), (512, 512), (4096, 4096)].map { (alignment: UInt64, memory: Int) in
            Kind(name: "a walker over a stingy storage, \(alignment)/\(memory)\(growable ? ", growable" : "")") {
                context, seed in
                var limits = StorageLimits(zeroesFast: seed % 2 == 0, discards: true, growable: growable)
                limits.requestAlignment = alignment
                limits.memoryAlignment = memory
                limits.maxTransfer = max(alignment, seed % 3 == 0 ? 64 << 10 : 1 << 30)
                let disk = SimDisk(
                    context, contents: SparseBytes(length: size), .init(seed: seed, limits: limits))
                let storage = StingyStorage(disk, limits: limits)
                return BlockIO(context: context, driver: .storage(storage))
            }
        }
    }

    /// qcow2 of several shapes over a simulated disk, over a stingy one, and over another qcow2 as its backing file.
    static func qcow2() -> [Kind] {
        let clusters: [UInt64] = [512, 4096, 65536, 2 << 20]
        var kinds = clusters.flatMap { cluster in
            [2, 3].map { (version: Int) in
                Kind(name: "qcow2 version \(version), clusters of \(cluster)") { context, seed in
                    let disk = SimDisk(context, .init(seed: seed))
                    return try await image(on: disk, cluster, version, backing: nil, context)
                }
            }
        }
        kinds.append(
            Kind(name: "qcow2 over a stingy storage") { context, seed in
                var limits = StorageLimits(zeroesFast: true, discards: true, growable: true)
                limits.requestAlignment = 4096
                limits.memoryAlignment = 4096
                let stingy = StingyStorage(SimDisk(context, .init(seed: seed, limits: limits)), limits: limits)
                return try await image(on: stingy, 16384, 3, backing: nil, context)
            })
        kinds.append(
            Kind(name: "qcow2 over a qcow2 backing file, all in memory, where requests are answered in place") {
                context, seed in
                let below = MemoryStorage(length: 0, growable: true)
                let backing = try await image(on: below, 4096, 3, backing: nil, context)
                var random = SeededRandom(seed: seed)
                try await backing.write(random.bytes(300_000), at: 1000)
                return try await image(
                    on: MemoryStorage(length: 0, growable: true), 8192, 3, backing: backing, context)
            })
        kinds += [2, 3].map { (version: Int) in
            Kind(name: "qcow2 version \(version) over a qcow2 backing file") { context, seed in
                let below = SimDisk(context, .init(seed: seed))
                let backing = try await image(on: below, 4096, 3, backing: nil, context)
                var random = SeededRandom(seed: seed)
                try await backing.write(random.bytes(300_000), at: 1000)
                return try await image(
                    on: SimDisk(context, .init(seed: seed + 1)), 8192, version, backing: backing, context)
            }
        }
        return kinds
    }

    /// A new image of `size` bytes, open.
    static func image(
        on storage: any Storage, _ clusterSize: UInt64, _ version: Int, backing: BlockIO?, _ context: SimulatedContext
    ) async throws -> BlockIO {
        let file = BlockIO(context: context, driver: .storage(storage))
        var options = CreateOptions(size: size)
        options.clusterSize = clusterSize
        options.version = version == 2 ? .v2 : .v3
        if backing != nil { options.backingFile = "below" }
        try await Qcow2Image.create(on: file, options)
        let image = try await Qcow2Image.open(file: file, options: Options())
        return BlockIO(context: context, driver: .format(image), file: file, backing: backing)
    }

    @Test("a storage keeps its promises", arguments: kinds, 0..<3 as Range<UInt64>)
    func conforms(kind: Kind, seed: UInt64) throws {
        let context = SimulatedContext(seed: seed)
        try context.complete {
            let storage = try await kind.make(context, seed)
            var conformance = Conformance(of: storage, in: context, seed: seed, kind.exceptions)
            try await conformance.run()
        }
    }
}
