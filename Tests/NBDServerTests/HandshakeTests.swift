import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD handshake over a connection")
struct HandshakeTests {
    static func bench(_ limits: NBDServer.Limits = NBDServer.Limits()) -> Bench {
        let bench = Bench(limits)
        bench.export(MemoryStorage(length: 1 << 20), description: "the first", offersDepth: true)
        bench.export(MemoryStorage(length: 4096), as: "other", isWritable: false, isMultiConn: false)
        return bench
    }

    @Test("EXPORT_NAME begins transmission, with 124 zero bytes unless NO_ZEROES", arguments: [1, 3] as [UInt32])
    func exportName(flags: UInt32) throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect()
            try await client.begin(flags: flags)
            try await client.send(option(1, Array("disk".utf8)))
            let head = try await client.receive(10)
            #expect(head.byteSpan.bigEndian(UInt64.self, at: 0) == 1 << 20)
            if flags == 1 { #expect(try await client.receive(124) == [UInt8](repeating: 0, count: 124)) }
            #expect(try await client.read(at: 0, 512).data == [UInt8](repeating: 0, count: 512))
        }
    }

    @Test("an export that is not there ends EXPORT_NAME's connection, and leaves GO's its turn")
    func unknownExport() throws {
        let bench = Self.bench()
        try bench.run {
            let old = bench.connect()
            try await old.begin()
            try await old.send(option(1, Array("nothing".utf8)))
            #expect(await old.hasEnded())
            let client = bench.connect()
            try await client.begin()
            #expect(try await client.ask(.go, infoData("nothing")).map(\.code) == [NBDOptionReply.unknown])
            try await client.go("disk")
            #expect(client.size == 1 << 20)
        }
    }

    @Test("ABORT is acknowledged before the connection ends")
    func abort() throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect()
            try await client.begin()
            #expect(try await client.ask(.abort).map(\.code) == [NBDOptionReply.ack])
            #expect(await client.hasEnded())
        }
        #expect(bench.server.connections == 0)
    }

    @Test("R37: a client that speaks in the clear behind STARTTLS is left, before TLS begins")
    func injection() throws {
        let bench = Self.bench()
        try bench.run {
            let (honest, secured) = bench.connectSecurable()
            try await honest.begin()
            #expect(try await honest.ask(.go, infoData("disk")).map(\.code) == [NBDOptionReply.tlsRequired])
            #expect(try await honest.ask(.startTLS).map(\.code) == [NBDOptionReply.ack])
            try await honest.go("disk")
            #expect(secured.isSecured && honest.size == 1 << 20)
            let (injecting, left) = bench.connectSecurable()
            try await injecting.begin()
            try await injecting.send(option(NBDOption.startTLS.rawValue) + option(NBDOption.structuredReply.rawValue))
            #expect(try await injecting.receive(20).count == 20)
            #expect(await injecting.hasEnded())
            #expect(!left.isSecured)
        }
    }

    @Test("LIST tells the exports there are now")
    func list() throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect()
            try await client.begin()
            let first = try await client.ask(.list)
            #expect(first.dropLast().map(\.data) == [counted("disk") + Array("the first".utf8), counted("other")])
            let other = try #require(bench.server.export(named: "other"))
            await bench.server.remove(other)
            #expect(try await client.ask(.list).count == 2)
        }
    }

    @Test("GO tells what the export can do: a writable one")
    func writableFlags() throws {
        let bench = Self.bench()
        try bench.run {
            let client = try await bench.client()
            #expect(
                client.flags == [
                    .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendDF, .canMultiConn, .sendCache,
                    .sendFastZero,
                ])
            #expect(client.infos[NBDInfo.name] == Array("disk".utf8))
            #expect(client.infos[NBDInfo.description] == Array("the first".utf8))
            #expect(client.infos[NBDInfo.blockSize] == [0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0])
            let simple = try await bench.client(structured: false)
            #expect(simple.flags == client.flags.subtracting(.sendDF))
        }
    }

    @Test("GO tells what the export can do: a read-only one for a single connection")
    func readOnlyFlags() throws {
        let bench = Self.bench()
        try bench.run {
            let client = try await bench.client("other")
            #expect(client.flags == [.hasFlags, .readOnly, .sendFlush, .sendFUA, .sendDF, .sendCache])
            #expect(client.infos[NBDInfo.description] == nil)
        }
    }

    @Test(
        "block sizes are powers of two within the protocol's borders, whatever the storage prefers",
        arguments: [
            StorageLimits(requestAlignment: 4096, preferredTransfer: 1 << 20), StorageLimits(preferredTransfer: 0),
            StorageLimits(preferredTransfer: 196_608), StorageLimits(preferredTransfer: 1 << 40),
            StorageLimits(requestAlignment: 512, preferredTransfer: 5000), StorageLimits(preferredTransfer: .max),
        ])
    func blockSizes(limits: StorageLimits) throws {
        let bench = Bench()
        bench.export(MemoryStorage(SparseBytes(length: 1 << 20), limits: limits))
        try bench.run {
            let client = try await bench.client()
            let sizes = try #require(client.infos[NBDInfo.blockSize])
            let (minimum, preferred, maximum) = (
                sizes.firstNumber(), Array(sizes[4...]).firstNumber(), Array(sizes[8...]).firstNumber()
            )
            #expect(UInt64(minimum) == limits.requestAlignment)
            #expect(preferred.nonzeroBitCount == 1)
            #expect(preferred >= max(512, minimum) && preferred <= maximum)
            #expect(maximum == 32 << 20)
        }
    }

    @Test("INFO does not begin transmission, and does not count as a client of the export")
    func info() throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect()
            try await client.begin()
            #expect(try await client.ask(.info, infoData("disk")).last?.code == NBDOptionReply.ack)
            #expect(bench.server.clients(of: bench.server.exports[0]) == 0)
            try await client.go("disk")
            _ = try await client.read(at: 0, 1)
            #expect(bench.server.clients(of: bench.server.exports[0]) == 1)
        }
    }

    @Test("a client may send its requests behind GO without waiting for the answer", arguments: 0..<10 as Range<UInt64>)
    func pipelined(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        bench.export(MemoryStorage(length: 1 << 20))
        try bench.run {
            let client = bench.connect()
            var request = NBDRequest(flags: [], type: 3, cookie: 77, offset: 0, length: 0)
            var bytes: [UInt8] = [0, 0, 0, 3] + option(99, [1]) + option(7, infoData("disk"))
            for cookie in 0..<5 as Range<UInt64> {
                request.cookie = cookie
                bytes += request.encoded
            }
            try await client.send(bytes)
            _ = try await client.receive(18)
            #expect(try await client.optionReplies(to: 99).map(\.code) == [NBDOptionReply.unsupported])
            #expect(try await client.optionReplies(to: 7).last?.code == NBDOptionReply.ack)
            var cookies: Set<UInt64> = []
            for _ in 0..<5 {
                let reply = try await client.receive(16)
                #expect(reply.starts(with: [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]))
                cookies.insert(reply.byteSpan.bigEndian(at: 8))
            }
            #expect(cookies == [0, 1, 2, 3, 4])
        }
    }

    @Test(
        "R32: an option of any length up to 64 KiB is taken, however it arrives",
        arguments: [0, 4079, 4080, 4081, 16_368, 16_369, 65_535, 65_536])
    func longOptions(length: Int) throws {
        let bench = Self.bench()
        for chunks in [false, true] {
            try bench.run {
                let client = bench.connect(chunks: chunks, capacity: 1 << 20)
                try await client.begin()
                let data = [UInt8](repeating: 1, count: length)
                for _ in 0..<5 { try await client.send(option(99, data)) }
                for _ in 0..<5 {
                    #expect(try await client.optionReplies(to: 99).map(\.code) == [NBDOptionReply.unsupported])
                }
                try await client.go("disk")
                #expect(try await client.read(at: 0, 512).error == 0)
            }
        }
    }

    @Test("what cannot be understood ends the connection without an answer")
    func notUnderstood() throws {
        let bench = Self.bench()
        let tooLong = option(7, claiming: 65537)
        var badMagic = option(3)
        badMagic[0] = 0
        for bytes in [[0, 0, 0, 2], [0, 0, 0, 7], [0, 0, 0, 3] + tooLong, [0, 0, 0, 3] + badMagic] {
            try bench.run {
                let client = bench.connect()
                _ = try await client.receive(18)
                try await client.send(bytes)
                #expect(await client.hasEnded())
            }
        }
        #expect(bench.server.connections == 0)
    }

    @Test("R39: no storage is touched before a client asks for bytes")
    func noEarlyWork() throws {
        let bench = Bench()
        let disk = SimDisk(bench.context, contents: SparseBytes(length: 1 << 20))
        bench.export(disk, offersDepth: true)
        try bench.run {
            let client = try await bench.client(contexts: ["base:allocation", "qemu:allocation-depth"])
            _ = try await client.call(.cache, at: 0, 4096)
        }
        #expect(disk.requests.isEmpty)
    }
}
