import Block
import BlockTestKit
import Bytes
import Testing

@Suite struct StingyStorageTests {
    private static func stingy() -> StingyStorage {
        StingyStorage(
            MemoryStorage(length: 65536),
            limits: StorageLimits(requestAlignment: 512, memoryAlignment: 512, maxTransfer: 4096))
    }

    @Test("a misaligned request traps")
    func misaligned() async {
        await #expect(processExitsWith: .failure) {
            try SimulatedContext().complete { try await Self.stingy().write([UInt8](repeating: 1, count: 512), at: 1) }
        }
    }

    @Test("a request that is too long traps")
    func long() async {
        await #expect(processExitsWith: .failure) {
            try SimulatedContext().complete { _ = try await Self.stingy().bytes(at: 0, count: 8192) }
        }
    }

    @Test("a request past the end traps")
    func end() async {
        await #expect(processExitsWith: .failure) {
            try SimulatedContext().complete { _ = try await Self.stingy().bytes(at: 65536, count: 512) }
        }
    }

    @Test("a walker above it makes every request fit")
    func walker() throws {
        let context = SimulatedContext()
        let io = BlockIO(context: context, driver: .storage(Self.stingy()))
        let bytes = try context.complete {
            try await io.write([UInt8](repeating: 5, count: 10_000), at: 777)
            return try await io.bytes(at: 776, count: 10_002)
        }
        #expect(bytes == [0] + [UInt8](repeating: 5, count: 10_000) + [0])
    }
}
