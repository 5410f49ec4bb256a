import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// What is written at once lies in a row in the file, where it can.
@Suite struct RowTests {
    private static let cluster: UInt64 = 4096

    /// A disk of eight clusters of ones, some of which were made zeros and keep their places.
    private func bench(zeros: [UInt64], seed: UInt64 = 1) throws -> Bench {
        let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: Self.cluster), seed: seed)
        try bench.write(bytes(1, 8 * Self.cluster), at: 0)
        for number in zeros { try bench.zero(number * Self.cluster, Self.cluster) }
        try bench.reopen()
        return bench
    }

    /// Requests that the file gets for a write.
    private func writes(_ bench: Bench, at offset: UInt64, _ count: UInt64) throws -> Int {
        // The table is in memory from here on.
        _ = try bench.read(0, 1)
        let before = bench.disk.requests[.write, default: 0]
        try bench.write(bytes(2, count), at: offset)
        return bench.disk.requests[.write, default: 0] - before
    }

    @Test(
        "one write fills data and places without data that lie in a row, wherever it begins and ends",
        arguments: [[1], [0], [7], [0, 2, 4, 6], [1, 3, 5, 7], [3, 4, 5]] as [[UInt64]])
    func oneWrite(zeros: [UInt64]) throws {
        let bench = try bench(zeros: zeros)
        let before = MiniCheck(bench.disk.contents)
        #expect(before.zeros == Set(zeros))
        // From the middle of a cluster to the middle of another.
        let range = ByteRange(from: 512, to: 8 * Self.cluster - 512)
        #expect(try writes(bench, at: range.start, range.count) == 1)
        var expected = bytes(1, 512) + bytes(2, range.count) + bytes(1, 512)
        if zeros.contains(0) { expected.replaceSubrange(0..<512, with: bytes(0, 512)) }
        if zeros.contains(7) { expected.replaceSubrange(Int(range.end)..<expected.count, with: bytes(0, 512)) }
        #expect(try bench.read(0, expected.count) == expected)
        let after = try bench.closedClean()
        #expect(after.zeros.isEmpty)
        let first = try #require(after.mapped[0])
        for number in 0..<8 as Range<UInt64> { #expect(after.mapped[number] == first + number * Self.cluster) }
    }

    @Test("data alone needs no place, and what lies elsewhere in the file no write of the same bytes")
    func apart() throws {
        let bench = try bench(zeros: [])
        #expect(try writes(bench, at: 0, 8 * Self.cluster) == 1)
        // A cluster that has moved away.
        try bench.discard(3 * Self.cluster, Self.cluster)
        try bench.write(bytes(3, Self.cluster), at: 100 * Self.cluster)
        try bench.flush()
        try bench.zero(5 * Self.cluster, Self.cluster)
        try bench.reopen()
        #expect(try writes(bench, at: 0, 8 * Self.cluster) >= 3)
        #expect(try bench.read(0, 32768) == bytes(2, 32768))
        _ = try bench.closedClean()
    }

    @Test("subclusters of one cluster are filled by one write, over a backing file that shows between them")
    func subclusters() throws {
        let context = SimulatedContext()
        let disk = SimDisk(context)
        var options = CreateOptions(size: 1 << 20)
        options.extendedL2 = true
        try context.complete { [options] in try await Qcow2Create.create(on: disk, options) }
        let bench = try Bench(disk.contents, backing: SparseBytes(bytes(9, 1 << 20)))
        try bench.write(bytes(1, 2048), at: 2048)
        try bench.write(bytes(1, 2048), at: 6144)
        // From data over what has a place and shows the backing file, over data, to the middle of the like.
        #expect(try writes(bench, at: 3072, 6144) == 1)
        #expect(try bench.read(0, 12288) == bytes(9, 2048) + bytes(1, 1024) + bytes(2, 6144) + bytes(9, 3072))
        #expect(Set(try bench.closedClean().mapped.keys) == [1, 2, 3, 4])
    }

    @Test(
        "a write beside, into the cluster of data where the one write begins or ends, is never lost",
        arguments: 0..<64 as Range<UInt64>)
    func writeBeside(seed: UInt64) throws {
        let bench = try bench(zeros: [1], seed: seed)
        var failures: [BlockError] = []
        var running = 3
        try bench.context.complete { [io = bench.io, context = bench.context] in
            for (byte, start, count) in [(5, 0, 1024), (6, 1024, 10240), (7, 11264, 1024)] as [(UInt8, UInt64, UInt64)]
            {
                context.spawn {
                    do throws(BlockError) { try await io.write(bytes(byte, count), at: start) } catch {
                        failures.append(error)
                    }
                    running -= 1
                }
            }
            while running > 0 { await context.sleep(ms: 1) }
        }
        #expect(failures.isEmpty)
        #expect(try bench.read(0, 12288) == bytes(5, 1024) + bytes(6, 10240) + bytes(7, 1024))
        _ = try bench.closedClean()
    }

    @Test("a write that fails leaves zeros zeros, and a discard of its data meanwhile waits for it")
    func failures() throws {
        let bench = try bench(zeros: [1])
        _ = try bench.read(0, 1)
        bench.disk.faults.add(Fault([.write], error: .io))
        #expect(throws: BlockError.io) { try bench.write(bytes(2, 3 * Self.cluster), at: 0) }
        #expect(try bench.read(Self.cluster, 4096) == bytes(0, 4096))
        var order: [String] = []
        try bench.context.complete { [io = bench.io, context = bench.context] in
            context.spawn {
                try? await io.write(bytes(2, 3 * Self.cluster), at: 0)
                order.append("write")
            }
            context.spawn {
                try? await io.discard(ByteRange(at: 2 * Self.cluster, count: Self.cluster))
                order.append("discard")
            }
            while order.count < 2 { await context.sleep(ms: 1) }
        }
        #expect(Set(order) == ["write", "discard"])
        _ = try bench.closedClean()
    }

    @Test(
        "what is written across the end of a refcount block lies in a row, and the next block behind it",
        arguments: [1, 5, 20, 63] as [UInt64])
    func acrossBlocks(behind: UInt64) throws {
        // A block counts 64 clusters, and a table maps as many.
        let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: 512, refcountBits: 64))
        try bench.write(bytes(1, 512), at: 0)
        let taken = try #require(MiniCheck(try flushed(bench)).references.keys.max()) + 1
        let free = 64 - taken
        // In the first table, up to the block's end and on.
        let count = min(free + behind, 63)
        try bench.write(bytes(2, count * 512), at: 512)
        let check = try bench.closedClean()
        let first = try #require(check.mapped[1])
        for number in 0..<min(count, 63) as Range<UInt64> {
            #expect(check.mapped[1 + number] == first + number * 512, "cluster \(number) of \(count)")
        }
        if count > free { #expect(check.owners[taken + count] == .refcountBlock) }
    }

    private func flushed(_ bench: Bench) throws -> SparseBytes {
        try bench.flush()
        return bench.disk.contents
    }

    @Test("a device that ends with the first cluster of a block has room for the block alone")
    func lastCluster() throws {
        let contents = try FailureTests.create(size: 1 << 20, clusterSize: 512, refcountBits: 64)
        var device = SparseBytes(length: 65 * 512)
        device.write(contents.bytes(ByteRange(at: 0, count: contents.length)).rawBytes, at: 0)
        let bench = try Bench(device, limits: StorageLimits(zeroesFast: true, discards: true, growable: false))
        var written: UInt64 = 0
        while (try? bench.write(bytes(1, 512), at: written * 512)) != nil { written += 1 }
        #expect(written > 40 && written < 64)
        #expect(throws: BlockError.noSpace) { try bench.write(bytes(1, 4096), at: written * 512) }
        _ = try bench.closedClean()
    }
}
