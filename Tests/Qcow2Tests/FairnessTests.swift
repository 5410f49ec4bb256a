import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Requests that go on for long without waiting, for all they need is in memory: others get their turn meanwhile.
@Suite struct FairnessTests {
    /// How many turns another task gets while `body` runs on a disk of 4 MiB in clusters of 512 bytes, all of them
    /// allocated.
    private func turns(_ body: @escaping (BlockIO) async throws -> Void) throws -> Int {
        let context = SimulatedContext(order: .fifo)
        let image = try CheckTests.image {
            $0.size = 4 << 20
            $0.clusterSize = 512
        }
        return try context.complete {
            let memory = MemoryStorage(
                image, limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
            let format = try await Qcow2Image.open(file: memory, options: Options())
            let io = BlockIO(context: context, driver: .format(format), file: memory)
            var (turns, isDone) = (0, false)
            context.spawn {
                while !isDone {
                    turns += 1
                    await context.sleep(ms: 0)
                }
            }
            try await body(io)
            isDone = true
            io.retire()
            try await format.close()
            return turns
        }
    }

    @Test("a discard of a whole disk lets others run")
    func discard() throws {
        #expect(try turns { try await $0.discard(ByteRange(at: 0, count: 4 << 20)) } >= 2)
    }

    @Test("zeroing a whole disk lets others run")
    func zero() throws {
        #expect(try turns { try await $0.zero(ByteRange(at: 0, count: 4 << 20), flags: []) } >= 2)
    }

    @Test("a read of scattered clusters lets others run")
    func read() throws {
        let scattered = try turns { io in
            // Every other cluster is a hole from now on.
            for offset in stride(from: UInt64(0), to: 1 << 20, by: 1024) {
                try await io.zero(ByteRange(at: offset, count: 512), flags: .mayUnmap)
            }
            _ = try await io.bytes(at: 0, count: 1 << 20)
        }
        #expect(scattered >= 16)
    }
}
