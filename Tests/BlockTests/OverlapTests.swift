import Block
import BlockTestKit
import Bytes
import Testing

/// Requests that overlap where the storage takes only aligned ones: what one changes, another's rest of a unit must not
/// bring back.
@Suite struct OverlapTests {
    private static func disk(_ context: SimulatedContext, _ seed: UInt64) -> SimDisk {
        var limits = StorageLimits(zeroesFast: true, discards: true, growable: true)
        (limits.requestAlignment, limits.memoryAlignment) = (4096, 4096)
        return SimDisk(
            context, contents: SparseBytes(length: 64 << 10), .init(seed: seed, limits: limits, discarded: .zeros))
    }

    @Test("what was zeroed or discarded does not come back beside a small write", arguments: 0..<20 as Range<UInt64>)
    func zeroBesideWrite(seed: UInt64) throws {
        for discards in [false, true] {
            let context = SimulatedContext(seed: seed)
            let io = BlockIO(context: context, driver: .storage(Self.disk(context, seed)))
            let found = try context.complete {
                try await io.write([UInt8](repeating: 0xff, count: 8192), at: 0)
                var running = 2
                context.spawn {
                    try? await io.write([UInt8](repeating: 1, count: 100), at: 100)
                    running -= 1
                }
                context.spawn {
                    let range = ByteRange(at: 0, count: 4096)
                    if discards { try? await io.discard(range) } else { try? await io.zero(range, flags: []) }
                    running -= 1
                }
                while running > 0 { await context.sleep(ms: 1) }
                return try await io.bytes(at: 0, count: 8192)
            }
            let (zeros, kept) = ([UInt8](repeating: 0, count: 100), [UInt8](repeating: 0xff, count: 4096))
            let written = [UInt8](repeating: 1, count: 100)
            #expect(Array(found[..<100]) == zeros)
            #expect(Array(found[100..<200]) == zeros || Array(found[100..<200]) == written)
            #expect(found[200..<4096].allSatisfy { $0 == 0 })
            #expect(Array(found[4096...]) == kept)
        }
    }

    @Test("discard=ignore keeps the space of what is zeroed")
    func ignoredDiscard() throws {
        let context = SimulatedContext()
        let below = Asked(MemoryStorage(length: 1 << 20))
        for honours in [false, true] {
            let io = BlockIO(context: context, driver: .storage(below), options: .init(honoursDiscard: honours))
            try context.complete {
                try await io.zero(ByteRange(at: 0, count: 65536), flags: [.mayUnmap, .fua, .fastOnly])
            }
        }
        #expect(below.flags == [[.fua, .fastOnly], [.mayUnmap, .fua, .fastOnly]])
    }

    /// Notes the flags that zeros are asked with.
    private final class Asked: Storage {
        let below: MemoryStorage
        var flags: [ZeroFlags] = []
        init(_ below: MemoryStorage) { self.below = below }
        var length: UInt64 { below.length }
        var limits: StorageLimits { below.limits }
        func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
            try await below.read(at: offset, into: &buffer)
        }
        func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
            try await below.write(at: offset, from: bytes, flags: flags)
        }
        func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
            self.flags.append(flags)
            try await below.zero(range, flags: flags)
        }
        func discard(_ range: ByteRange) async throws(BlockError) { try await below.discard(range) }
        func flush() async throws(BlockError) {}
        func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await below.status(of: range) }
        func resize(to length: UInt64) async throws(BlockError) { try await below.resize(to: length) }
    }
}
