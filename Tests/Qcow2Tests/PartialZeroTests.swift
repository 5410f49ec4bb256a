import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// Zeros for a part of a cluster: the whole of it where the rest reads as zeros too, as with qemu, and else data.
@Suite struct PartialZeroTests {
    private static let cluster: UInt64 = 16384

    /// A disk of 256 KiB over one that holds ones in the second half of its second cluster, and in all of its third.
    private func bench() throws -> Bench {
        var below = SparseBytes(length: 256 << 10)
        below.write([UInt8](repeating: 1, count: 24576).rawBytes, at: 24576)
        return try Bench(try FailureTests.create(size: 256 << 10, clusterSize: Self.cluster), backing: below)
    }

    @Test(
        "a part of a cluster that reads as zeros all over makes it a cluster of zeros",
        arguments: [0, 1024, 15872] as [UInt64])
    func emptyCluster(at offset: UInt64) throws {
        let bench = try bench()
        // Also where that alone is allowed, for no data is written.
        try bench.zero(8 * Self.cluster + offset, 512, .fastOnly)
        let check = try bench.closedClean()
        #expect(check.zeros == [8] && check.mapped.isEmpty)
    }

    @Test("a range from the middle of one cluster to the middle of another makes both zeros, and those between")
    func severalClusters() throws {
        let bench = try bench()
        try bench.zero(8 * Self.cluster + 1024, 2 * Self.cluster)
        let check = try bench.closedClean()
        #expect(check.zeros == [8, 9, 10] && check.mapped.isEmpty)
    }

    @Test("what hides all of the backing file's data in a cluster makes it a cluster of zeros")
    func hidesBacking() throws {
        let bench = try bench()
        try bench.zero(24576, 8192)
        #expect(try bench.read(16384, 16384) == [UInt8](repeating: 0, count: 16384))
        #expect(try bench.read(32768, 1) == [1])
        let check = try bench.closedClean()
        #expect(check.zeros == [1] && check.mapped.isEmpty)
    }

    @Test("where the backing file's data shows beside the part, it stays", arguments: [24576, 32256] as [UInt64])
    func keepsBacking(at offset: UInt64) throws {
        let bench = try bench()
        try bench.zero(offset, 512)
        var expected = [UInt8](repeating: 0, count: 8192) + [UInt8](repeating: 1, count: 8192)
        for index in 0..<512 { expected[Int(offset) - 16384 + index] = 0 }
        #expect(try bench.read(16384, 16384) == expected)
        let check = try bench.closedClean()
        #expect(check.zeros.isEmpty && check.mapped.count == 1)
    }

    @Test("where it only shows zeros of the backing file, and data beside them, the image holds all of the cluster")
    func ownsZeros() throws {
        let bench = try bench()
        try bench.zero(16384, 512)
        #expect(
            try bench.read(16384, 16384) == [UInt8](repeating: 0, count: 8192) + [UInt8](repeating: 1, count: 8192))
        let check = try bench.closedClean()
        #expect(check.zeros.isEmpty && check.mapped.count == 1)
    }

    @Test("a write beside the part is never lost, whichever comes first", arguments: 0..<32 as Range<UInt64>)
    func writeBeside(seed: UInt64) throws {
        let bench = try Bench(
            try FailureTests.create(size: 256 << 10, clusterSize: Self.cluster), seed: seed,
            backing: SparseBytes(length: 256 << 10))
        var failures: [BlockError] = []
        var running = 2
        try bench.context.complete { [io = bench.io, context = bench.context] in
            context.spawn {
                do throws(BlockError) { try await io.zero(ByteRange(at: 1024, count: 512), flags: []) } catch {
                    failures.append(error)
                }
                running -= 1
            }
            context.spawn {
                do throws(BlockError) { try await io.write([UInt8](repeating: 7, count: 512), at: 2048) } catch {
                    failures.append(error)
                }
                running -= 1
            }
            while running > 0 { await context.sleep(ms: 1) }
        }
        #expect(failures.isEmpty)
        #expect(try bench.read(2048, 512) == [UInt8](repeating: 7, count: 512))
        #expect(try bench.read(1024, 512) == [UInt8](repeating: 0, count: 512))
        _ = try bench.closedClean()
    }
}
