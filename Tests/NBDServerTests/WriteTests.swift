import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD changes")
struct WriteTests {
    @Test("what was written is read again, at any length and offset", arguments: ReadTests.lengths)
    func lengths(length: Int) throws {
        let bench = Bench(seed: UInt64(length))
        let disk = SimDisk(bench.context, contents: SparseBytes(length: 2_000_000))
        bench.export(disk)
        var random = SeededRandom(seed: UInt64(length))
        let bytes = random.bytes(length)
        try bench.run {
            let client = try await bench.client()
            for offset in [0, 1, 65535, 2_000_000 - UInt64(length)] {
                #expect(try await client.write(bytes, at: offset).error == 0)
                #expect(disk.contents.bytes(ByteRange(at: offset, count: UInt64(length))) == bytes)
                #expect(try await client.read(at: offset, length).data == bytes)
            }
        }
    }

    @Test("32 MiB is written in one request; one byte more ends the connection before its payload is read")
    func longest() throws {
        let bench = Bench()
        let disk = MemoryStorage(length: 1 << 40)
        bench.export(disk)
        try bench.run {
            let client = try await bench.client(chunks: false, capacity: 64 << 20)
            let bytes = [UInt8](repeating: 0xA5, count: 32 << 20)
            #expect(try await client.write(bytes, at: 4096).error == 0)
            #expect(disk.contents.bytes(ByteRange(at: 4095 + 32 << 20, count: 2)) == [0xA5, 0])
            for length in [32 << 20 + 1, 1 << 31, Int(UInt32.max)] {
                let greedy = try await bench.client()
                try await greedy.start(.write, at: 0, length)
                #expect(await greedy.hasEnded())
            }
            #expect(try await client.read(at: 4096, 512).data == [UInt8](repeating: 0xA5, count: 512))
        }
    }

    @Test("changes of nothing succeed and change nothing", arguments: [NBDCommand.write, .trim, .writeZeroes, .cache])
    func nothing(command: NBDCommand) throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 1)
        let before = disk.contents
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            for offset in [0, 1, 131_072] as [UInt64] {
                #expect(try await client.call(command, at: offset, 0).error == 0)
            }
            #expect(try await client.read(at: 0, 512).error == 0)
        }
        #expect(disk.contents == before)
    }

    @Test("past the end there is no space to write or zero, and trim and cache are invalid; nothing is changed")
    func pastTheEnd() throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 1)
        let before = disk.contents
        bench.export(disk)
        let cases: [(UInt64, Int)] = [
            (131_071, 2), (131_072, 1), (131_073, 0), (0, 131_073), (1 << 40, 512), (.max, 1), (.max - 511, 512),
            (1 << 63, 4096),
        ]
        try bench.run {
            let client = try await bench.client()
            for (offset, length) in cases {
                let bytes = [UInt8](repeating: 1, count: length)
                #expect(try await client.write(bytes, at: offset).failure == .noSpace)
                #expect(try await client.call(.writeZeroes, at: offset, length).failure == .noSpace)
                #expect(try await client.call(.trim, at: offset, length).failure == .invalid)
                #expect(try await client.call(.cache, at: offset, length).failure == .invalid)
            }
        }
        #expect(disk.contents == before)
    }

    @Test("the flags of WRITE_ZEROES say whether space may go, whether to be fast, and whether to be durable")
    func zeroFlags() throws {
        let bench = Bench()
        let storage = ExtentStorage([.init(count: 1 << 40, flags: [.data, .allocated])])
        bench.export(storage)
        let cases: [(NBDCommandFlags, String)] = [
            ([], "unmap"), (.noHole, ""), (.fastZero, "unmap+fast"), ([.noHole, .fastZero], "fast"),
            ([.noHole, .fua], "fua"), ([.fua, .fastZero], "fua+unmap+fast"),
        ]
        try bench.run {
            let client = try await bench.client()
            for (flags, told) in cases {
                #expect(try await client.call(.writeZeroes, at: 512, Int(UInt32.max), flags).error == 0)
                #expect(storage.changes.last == "zero 512+4294967295 \(told)")
            }
        }
    }

    @Test("zeros that cannot be written fast are refused where they must be fast, and written elsewhere")
    func fastZero() throws {
        let bench = Bench()
        let disk = SimDisk(
            bench.context, contents: SparseBytes([UInt8](repeating: 7, count: 131_072)),
            SimDisk.Options(limits: StorageLimits(zeroesFast: false)))
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.call(.writeZeroes, at: 0, 65536, .fastZero).failure == .unsupported)
            #expect(disk.contents.bytes(ByteRange(at: 0, count: 4)) == [7, 7, 7, 7])
            #expect(try await client.call(.writeZeroes, at: 0, 65536).error == 0)
            #expect(disk.contents.bytes(ByteRange(at: 65534, count: 4)) == [0, 0, 7, 7])
        }
    }

    @Test("TRIM discards the range, and CACHE touches nothing")
    func trimAndCache() throws {
        let bench = Bench()
        let storage = ExtentStorage([.init(count: 1 << 40, flags: [.data, .allocated])])
        bench.export(storage)
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.call(.cache, at: 0, 1 << 20).error == 0)
            #expect(storage.changes.isEmpty)
            #expect(try await client.call(.trim, at: 1, Int(UInt32.max)).error == 0)
            #expect(storage.changes == ["discard 1+4294967295"])
            #expect(try await client.call(.trim, at: 0, 512, .fua).error == 0)
            #expect(storage.changes.suffix(2) == ["discard 0+512", "flush"])
        }
    }

    @Test("every change of a read-only export is refused; reading, flushing and caching go on")
    func readOnly() throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 1)
        let before = disk.contents
        bench.export(disk, isWritable: false, isWritethrough: true)
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.write([1, 2, 3], at: 0).failure == .permission)
            #expect(try await client.write([1, 2, 3], at: 1 << 40).failure == .permission)
            #expect(try await client.call(.writeZeroes, at: 0, 512).failure == .permission)
            #expect(try await client.call(.trim, at: 0, 512).failure == .permission)
            #expect(try await client.call(.flush).error == 0)
            #expect(try await client.call(.cache, at: 0, 512).error == 0)
            #expect(try await client.read(at: 0, 512).error == 0)
        }
        #expect(disk.contents == before)
        #expect(disk.requests.keys.allSatisfy { $0 == .read || $0 == .status })
    }
}

/// When a reply may be sent: the disk knows what it would still hold after a crash.
@Suite("NBD durability")
struct DurabilityTests {
    static func bench(seed: UInt64, isWritethrough: Bool = false) -> (Bench, SimDisk) {
        let bench = Bench(seed: seed)
        let disk = SimDisk(
            bench.context, contents: SparseBytes([UInt8](repeating: 7, count: 1 << 20)),
            SimDisk.Options(seed: seed, discarded: .zeros))
        bench.export(disk, isWritethrough: isWritethrough)
        return (bench, disk)
    }

    static func durable(_ disk: SimDisk, _ offset: UInt64) -> UInt8 {
        disk.durable.bytes(ByteRange(at: offset, count: 1))[0]
    }

    @Test("a forced write, zero or trim is durable when its reply arrives", arguments: 0..<10 as Range<UInt64>)
    func forced(seed: UInt64) throws {
        let (bench, disk) = Self.bench(seed: seed)
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.write([UInt8](repeating: 1, count: 4096), at: 0, .fua).error == 0)
            #expect(Self.durable(disk, 4095) == 1)
            #expect(try await client.call(.writeZeroes, at: 65536, 65536, .fua).error == 0)
            #expect(Self.durable(disk, 131_071) == 0)
            #expect(try await client.call(.trim, at: 262_144, 65536, .fua).error == 0)
            #expect(disk.pending.isEmpty)
        }
    }

    @Test("without force a write is not durable yet; with writethrough every change is", arguments: [false, true])
    func writethrough(isWritethrough: Bool) throws {
        let (bench, disk) = Self.bench(seed: 1, isWritethrough: isWritethrough)
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.write([UInt8](repeating: 1, count: 4096), at: 0).error == 0)
            #expect(Self.durable(disk, 0) == (isWritethrough ? 1 : 7))
            #expect(try await client.call(.writeZeroes, at: 65536, 65536).error == 0)
            #expect(Self.durable(disk, 65536) == (isWritethrough ? 0 : 7))
            #expect(try await client.call(.trim, at: 262_144, 65536).error == 0)
            #expect(disk.pending.isEmpty == isWritethrough)
        }
    }

    @Test(
        "a flush makes durable every write that was answered before, of every connection",
        arguments: 0..<10 as Range<UInt64>)
    func flush(seed: UInt64) throws {
        let (bench, disk) = Self.bench(seed: seed)
        try bench.run {
            let first = try await bench.client()
            let second = try await bench.client()
            for index in 0..<8 as Range<UInt64> {
                let client = index % 2 == 0 ? first : second
                #expect(try await client.write([UInt8](repeating: 1, count: 4096), at: index * 65536).error == 0)
            }
            let late = try await first.start(.write, at: 0, 4096, payload: [UInt8](repeating: 2, count: 4096))
            #expect(try await second.call(.flush).error == 0)
            for index in 1..<8 as Range<UInt64> { #expect(Self.durable(disk, index * 65536) == 1) }
            #expect(try await first.answer(to: late).error == 0)
        }
    }

    @Test("a flush that fails is told, and so is every later one")
    func failedFlush() throws {
        let (bench, disk) = Self.bench(seed: 1)
        disk.faults.add(Fault([.flush]))
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.call(.flush).failure == .io)
            #expect(try await client.call(.flush).failure == .io)
        }
    }

    @Test("a forced trim whose flush fails is not told to be durable")
    func failedTrim() throws {
        let (bench, disk) = Self.bench(seed: 1)
        disk.faults.add(Fault([.flush]))
        try bench.run {
            let client = try await bench.client()
            #expect(try await client.call(.trim, at: 0, 65536, .fua).failure == .io)
        }
    }
}
