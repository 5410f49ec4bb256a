import Block
import BlockTestKit
import Bytes
import Testing

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
        ] + stingy(growable: false) + stingy(growable: true)

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
