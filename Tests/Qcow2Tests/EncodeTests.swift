import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

@Suite("compressed writes")
struct EncodeTests {
    private func image(
        _ size: UInt64 = 1 << 20, cluster: UInt64 = 4096, _ set: (inout CreateOptions) -> Void = { _ in }
    ) throws -> SparseBytes {
        var options = CreateOptions(size: size)
        options.clusterSize = cluster
        set(&options)
        let storage = MemoryStorage(length: 0, growable: true)
        let chosen = options
        try SimulatedContext(order: .fifo).complete { try await Qcow2Create.create(on: storage, chosen) }
        return storage.contents
    }

    /// Bytes of which `percent` in a hundred are random.
    private func bytes(_ count: Int, random percent: Int, seed: UInt64) -> [UInt8] {
        var source = SeededRandom(seed: seed)
        var bytes = source.bytes(count)
        for index in bytes.indices where index % 100 >= percent { bytes[index] = UInt8(truncatingIfNeeded: seed) }
        return bytes
    }

    private func write(_ bench: Bench, _ bytes: [UInt8], at offset: UInt64) throws {
        try bench.context.complete { [io = bench.io] in try await io.write(bytes, at: offset, flags: .compressed) }
    }

    private func expectClean(_ bench: Bench) throws {
        try bench.close()
        let check = MiniCheck(bench.disk.contents)
        #expect(check.isClean, "\(check.errors), \(check.leaks) leaks")
    }

    @Test(
        "clusters that compress are packed, whichever the codec and the entries", arguments: [false, true],
        [false, true])
    func packs(zstd: Bool, extended: Bool) throws {
        let cluster: UInt64 = 16384
        let bench = try Bench(
            image(1 << 20, cluster: cluster) {
                $0.compression = zstd ? .zstd : .zlib
                $0.extendedL2 = extended
            })
        let content = bytes(32 * Int(cluster), random: 20, seed: 3)
        let before = bench.disk.contents.length
        try write(bench, content, at: 0)
        try bench.flush()
        #expect(try bench.read(0, content.count) == content)
        // A fifth of random bytes, and a little for the rest.
        #expect(bench.disk.contents.length - before < UInt64(content.count) / 2)
        try bench.reopen()
        #expect(try bench.read(0, content.count) == content)
        try expectClean(bench)
    }

    @Test("what does not become smaller is stored as it is, and clusters of one sector always are")
    func incompressible() throws {
        for cluster in [512, 4096] as [UInt64] {
            let bench = try Bench(image(cluster: cluster))
            let content = bytes(4 * Int(cluster), random: cluster == 512 ? 0 : 100, seed: 5)
            try write(bench, content, at: 0)
            let status = try bench.context.complete { [io = bench.io] in
                try await io.status(of: ByteRange(at: 0, count: cluster))
            }
            #expect(!status.flags.contains(.encoded))
            #expect(try bench.read(0, content.count) == content)
            try expectClean(bench)
        }
    }

    @Test("what is no whole cluster is refused, but for the disk's end")
    func units() throws {
        let bench = try Bench(image(10 * 4096 + 512))
        for (offset, count) in [(512, 4096), (0, 512), (4096, 4608)] as [(UInt64, Int)] {
            #expect(throws: BlockError.invalid) {
                try write(bench, [UInt8](repeating: 1, count: count), at: offset)
            }
        }
        try write(bench, [UInt8](repeating: 1, count: 4096 + 512), at: 9 * 4096)
        #expect(try bench.read(9 * 4096, 4608) == [UInt8](repeating: 1, count: 4608))
        try expectClean(bench)
    }

    @Test(
        "overwriting a compressed cluster gives its room back once that is durable, and not before",
        arguments: [true, false])
    func overwrites(compressed: Bool) throws {
        let bench = try Bench(image())
        var ends: [UInt64] = []
        for round in 0..<40 as Range<UInt64> {
            let content = bytes(16 * 4096, random: 30, seed: 100 + round)
            if compressed || round % 2 == 0 {
                try write(bench, content, at: 0)
            } else {
                try bench.write(content, at: 0)
            }
            #expect(try bench.read(0, content.count) == content)
            try bench.flush()
            ends.append(bench.disk.contents.length)
        }
        // Each round takes its room while the one before it is given back.
        #expect(ends[39] <= ends[6])
        try expectClean(bench)
    }

    @Test("a refcount that cannot count two keeps each compressed cluster in one of its own")
    func narrowRefcounts() throws {
        let bench = try Bench(image { $0.refcountBits = 1 })
        let content = bytes(16 * 4096, random: 10, seed: 9)
        try write(bench, content, at: 0)
        #expect(try bench.read(0, content.count) == content)
        try expectClean(bench)
    }

    @Test("a crash at any write leaves flushed neighbours in the same host cluster whole")
    func neighbours() throws {
        let bench = try Bench(image())
        let first = bytes(4096, random: 20, seed: 1)
        try write(bench, first, at: 0)
        try bench.flush()
        let durable = bench.disk.durable
        try write(bench, bytes(4096, random: 20, seed: 2), at: 4096)
        // Only sectors that nothing durable lies in are written before the next flush.
        for write in bench.disk.pending {
            guard case .write(let content) = write.change else { continue }
            for (index, byte) in content.enumerated() where write.range.start + UInt64(index) < durable.length {
                let old = durable.bytes(ByteRange(at: write.range.start + UInt64(index), count: 1))[0]
                #expect(old == 0 || old == byte)
            }
        }
        try bench.close()
    }

    @Test("a full disk refuses a compressed write and loses nothing")
    func fullDisk() throws {
        let bench = try Bench(image())
        bench.disk.capacity = bench.disk.length + 3 * 4096
        var failed = false
        for cluster in 0..<64 as Range<UInt64> {
            do { try write(bench, bytes(4096, random: 60, seed: cluster), at: cluster * 4096) } catch {
                #expect(error as? BlockError == .noSpace)
                failed = true
                break
            }
        }
        #expect(failed)
        bench.disk.capacity = .max
        try write(bench, bytes(4096, random: 60, seed: 77), at: 63 * 4096)
        #expect(try bench.read(63 * 4096, 4096) == bytes(4096, random: 60, seed: 77))
        #expect(try bench.read(0, 4096) == bytes(4096, random: 60, seed: 0))
        try expectClean(bench)
    }
}
