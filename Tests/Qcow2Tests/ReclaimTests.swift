import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// A full host: what an image itself has freed is room for it, at once.
@Suite struct ReclaimTests {
    private static let backing: UInt64 = 1 << 20

    /// An image on a disk that is full, over a backing file of ones; its first MiB is its own.
    private func full(seed: UInt64 = 1) throws -> Bench {
        let contents = try FailureTests.create(size: 64 << 20, clusterSize: 4096)
        var below = SparseBytes(length: Self.backing * 4)
        below.write([UInt8](repeating: 1, count: Int(below.length)).rawBytes, at: 0)
        let bench = try Bench(contents, seed: seed, backing: below)
        try bench.write([UInt8](repeating: 2, count: Int(Self.backing)), at: 0)
        try bench.flush()
        bench.disk.capacity = bench.disk.length
        return bench
    }

    @Test("a write finds the room that a discard has just given back")
    func write() throws {
        let bench = try full()
        #expect(throws: BlockError.noSpace) { try bench.write([3], at: 1 << 20) }
        try bench.discard(0, 64 << 10)
        try bench.write([UInt8](repeating: 3, count: 64 << 10), at: 1 << 20)
        #expect(try bench.read(1 << 20, 64 << 10) == [UInt8](repeating: 3, count: 64 << 10))
        #expect(throws: BlockError.noSpace) { try bench.write([UInt8](repeating: 3, count: 64 << 10), at: 2 << 20) }
        try bench.close()
    }

    @Test("zeros that are written as data find it, and so does a table for zero clusters")
    func zeros() throws {
        let bench = try full()
        try bench.discard(0, 64 << 10)
        // A part of a cluster of the backing file: copied up, with zeros in it.
        try bench.zero((1 << 20) + 100, 512)
        #expect(try bench.read((1 << 20) + 99, 514) == [1] + [UInt8](repeating: 0, count: 512) + [1])
        try bench.flush()
        try bench.flush()
        try bench.discard(64 << 10, 64 << 10)
        // Every table counts 2 MiB of the disk.
        for table in 1..<9 as Range<UInt64> { try bench.zero(table << 21, 4096) }
        #expect(try bench.read(2 << 20, 4096) == [UInt8](repeating: 0, count: 4096))
        try bench.close()
    }

    @Test("many writers at once find it, though each holds on to what was freed", arguments: 0..<8 as Range<UInt64>)
    func atOnce(seed: UInt64) throws {
        let bench = try full(seed: seed)
        try bench.discard(0, 128 << 10)
        var failures: [BlockError] = []
        var running = 16
        try bench.context.complete { [io = bench.io, context = bench.context] in
            for client in 0..<16 as Range<UInt64> {
                context.spawn {
                    do throws(BlockError) {
                        try await io.write([UInt8](repeating: 5, count: 4096), at: 1 << 20 | client << 12)
                    } catch { failures.append(error) }
                    running -= 1
                }
            }
            while running > 0 { await context.sleep(ms: 1) }
        }
        #expect(failures.isEmpty)
        try bench.close()
    }
}
