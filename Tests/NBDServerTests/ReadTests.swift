import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD reads")
struct ReadTests {
    /// Lengths around every border that the server or the protocol has.
    static let lengths = [
        1, 2, 511, 512, 513, 4095, 4096, 4097, 16383, 16384, 16385, 32767, 32768, 32769, 65535, 65536, 65537, 131_071,
        262_144, 262_145, 1_000_001,
    ]

    @Test("a read of any length is answered with the disk's bytes, in either form", arguments: [false, true], lengths)
    func anyLength(structured: Bool, length: Int) throws {
        let bench = Bench(seed: UInt64(length))
        let disk = stripedDisk(bench.context, stripes: 10)
        bench.export(disk)
        try bench.run {
            let client = try await bench.client(structured: structured)
            for offset in [0, 1, 65535, 65536, 100_000, 1_310_720 - UInt64(length)]
            where offset + UInt64(length) <= disk.length {
                let answer = try await client.read(at: offset, length)
                #expect(answer.error == 0)
                #expect(answer.data == disk.contents.bytes(ByteRange(at: offset, count: UInt64(length))))
            }
        }
    }

    @Test("a read of nothing succeeds, in either form", arguments: [false, true])
    func nothing(structured: Bool) throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1 << 20))
        try bench.run {
            let client = try await bench.client(structured: structured)
            for offset in [0, 1, 1 << 20] as [UInt64] {
                let answer = try await client.read(at: offset, 0)
                #expect(answer.error == 0)
                #expect(answer.chunks.map(\.type) == (structured ? [NBDChunk.none] : []))
            }
            #expect(try await client.read(at: 1 << 20 + 1, 0).failure == .invalid)
        }
    }

    @Test("holes of a long read come as holes, data as data, in the disk's order")
    func sparse() throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 4)
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            let answer = try await client.read(at: 0, Int(disk.length))
            #expect(answer.chunks.map(\.type) == [1, 2, 1, 2, 1, 2, 1, 2])
            #expect(answer.holes.map(\.start) == [1, 3, 5, 7].map { $0 * 65536 })
            let inside = try await client.read(at: 40_000, 100_000)
            #expect(inside.holes == [ByteRange(at: 65536, count: 65536)])
            #expect(inside.data == disk.contents.bytes(ByteRange(at: 40_000, count: 100_000)))
        }
    }

    @Test(
        "a read of nothing but a hole sends no data, up to the longest", arguments: [32768, 65536, 1 << 20, 32 << 20])
    func hole(length: Int) throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 64 << 20))
        try bench.run {
            let client = try await bench.client()
            let answer = try await client.read(at: 4096, length)
            #expect(answer.chunks.map(\.type) == [NBDChunk.offsetHole])
            #expect(answer.holes == [ByteRange(at: 4096, count: UInt64(length))])
        }
    }

    @Test(
        "don't-fragment is answered with one chunk of data, holes as zeros", arguments: [1, 512, 65536, 65537, 500_000])
    func dontFragment(length: Int) throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 4)
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            let answer = try await client.read(at: 10_000, length, .dontFragment)
            #expect(answer.chunks.map(\.type) == [NBDChunk.offsetData])
            #expect(answer.data == disk.contents.bytes(ByteRange(at: 10_000, count: UInt64(length))))
            let simple = try await bench.client(structured: false)
            #expect(try await simple.read(at: 0, length, .dontFragment).failure == .invalid)
        }
    }

    @Test("neighbouring extents of data go out as one chunk, whatever lies behind them")
    func joined() throws {
        let bench = Bench()
        let data: BlockStatus.Flags = [.data, .allocated]
        let disk = ExtentStorage([
            .init(count: 10_000, flags: data), .init(count: 30_000, flags: data, depth: 1),
            .init(count: 50_000, flags: [.zero]), .init(count: 10_000, flags: [.zero, .allocated]),
            .init(count: 1, flags: data), .init(count: 99_999, flags: [.allocated, .data, .encoded]),
        ])
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            let answer = try await client.read(at: 0, Int(disk.length))
            #expect(answer.data == disk.pattern(ByteRange(at: 0, count: disk.length)))
            #expect(answer.chunks.map(\.type) == [1, 2, 2, 1])
        }
    }

    @Test("a read that passes the end, or the end of 64 bits, is invalid", arguments: [false, true])
    func pastTheEnd(structured: Bool) throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1_000_001))
        try bench.run {
            let client = try await bench.client(structured: structured)
            let cases: [(UInt64, Int)] = [
                (1_000_000, 2), (1_000_001, 1), (0, 1_000_002), (1 << 40, 512), (.max, 1), (.max - 511, 512),
                (1 << 63, 4096), (UInt64(bitPattern: -1000), 2000),
            ]
            for (offset, length) in cases {
                #expect(try await client.read(at: offset, length).failure == .invalid, "\(offset)+\(length)")
            }
            #expect(try await client.read(at: 1_000_000, 1).error == 0)
        }
    }

    @Test("a read longer than 32 MiB is invalid, and the connection goes on", arguments: [false, true])
    func tooLong(structured: Bool) throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1 << 40))
        try bench.run {
            let client = try await bench.client(structured: structured)
            for length in [32 << 20 + 1, 1 << 30, 1 << 31, Int(UInt32.max)] {
                #expect(try await client.read(at: 0, length).failure == .invalid)
            }
            #expect(try await client.read(at: 0, 512).error == 0)
        }
    }

    @Test("an error amid a sparse read ends it with an error, behind the chunks that went well")
    func errorAmid() throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 4)
        disk.faults.add(Fault([.read], nth: 1))
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            let answer = try await client.read(at: 0, Int(disk.length))
            #expect(answer.failure == .io)
            #expect(answer.chunks.map(\.type) == [1, 2, NBDChunk.error])
            #expect(try await client.read(at: 0, Int(disk.length)).error == 0)
        }
    }

    @Test("a large chunk does not overtake the small ones gathered before it", arguments: 0..<20 as Range<UInt64>)
    func order(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        var contents = SparseBytes(length: 4 << 20)
        var random = SeededRandom(seed: seed)
        // A hole, which is gathered; then more data than is gathered, which ends the reply.
        let data = random.bytes(300_000)
        for start in [100_000, 1_100_000, 2_100_000] as [UInt64] { contents.write(data.rawBytes, at: start) }
        // It answers at once, so that what was gathered has not been sent when the large chunk is ready.
        bench.export(MemoryStorage(contents))
        try bench.run {
            let client = try await bench.client()
            var cookies: [UInt64] = []
            for offset in [0, 1_000_000, 2_000_000, 0, 2_000_000] as [UInt64] {
                cookies.append(try await client.start(.read, at: offset, 400_000))
            }
            for (index, offset) in ([0, 1_000_000, 2_000_000, 0, 2_000_000] as [UInt64]).enumerated() {
                let answer = try await client.answer(to: cookies[index])
                #expect(answer.data == contents.bytes(ByteRange(at: offset, count: 400_000)))
                #expect(answer.chunks.first?.type == NBDChunk.offsetHole)
            }
        }
    }
}
