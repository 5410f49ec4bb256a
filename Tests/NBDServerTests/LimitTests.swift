import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD limits on connections")
struct LimitTests {
    static func bench(connections: Int = 1024, handshakeMs: UInt64 = 5000) -> Bench {
        var limits = NBDServer.Limits()
        limits.connections = connections
        limits.handshakeMs = handshakeMs
        let bench = Bench(limits)
        bench.export(MemoryStorage(length: 1 << 20))
        return bench
    }

    @Test("R35: a client that does not choose an export in time is left, at whichever byte it stopped")
    func deadline() throws {
        let bytes: [UInt8] = [0, 0, 0, 3] + option(8) + option(7, infoData("disk"))
        for count in 0..<bytes.count {
            let bench = Self.bench()
            try bench.run {
                let client = bench.connect()
                try await client.send(Array(bytes[..<count]))
                await bench.context.sleep(ms: 4990)
                #expect(bench.server.connections == 1)
                await bench.context.sleep(ms: 20)
                #expect(bench.server.connections == 0)
            }
        }
    }

    @Test("one byte at a time does not move the deadline")
    func slowClient() throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect()
            try await client.begin()
            await #expect(throws: BlockError.closed) {
                for _ in 0..<100 {
                    try await client.send(option(3))
                    await bench.context.sleep(ms: 100)
                }
            }
            #expect(bench.context.nowNs < 6_000_000_000)
        }
    }

    @Test("a client that does not read the answers of its handshake is left in time")
    func deafClient() throws {
        let bench = Self.bench()
        try bench.run {
            let client = bench.connect(capacity: 1000)
            await #expect(throws: BlockError.closed) {
                try await client.send([0, 0, 0, 3])
                for _ in 0..<1000 { try await client.send(option(3)) }
            }
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
    }

    @Test("a client that has chosen may be silent for as long as it likes")
    func silence() throws {
        let bench = Self.bench()
        try bench.run {
            let client = try await bench.client()
            await bench.context.sleep(ms: 1_000_000)
            #expect(try await client.read(at: 0, 512).error == 0)
        }
    }

    @Test("without a deadline a client may take for ever to choose")
    func noDeadline() throws {
        let bench = Self.bench(handshakeMs: 0)
        try bench.run {
            let client = bench.connect()
            await bench.context.sleep(ms: 1_000_000)
            try await client.begin()
            try await client.go("disk")
        }
    }

    @Test("where the server is full, the oldest client that has not chosen makes room; those who work stay")
    func makesRoom() throws {
        let bench = Self.bench(connections: 3)
        try bench.run {
            let worker = try await bench.client()
            let oldest = bench.connect()
            try await oldest.begin()
            let younger = bench.connect()
            try await younger.begin()
            let newcomer = try await bench.client()
            #expect(await oldest.hasEnded())
            #expect(try await younger.ask(.list).count == 2)
            #expect(try await worker.read(at: 0, 512).error == 0)
            #expect(try await newcomer.read(at: 0, 512).error == 0)
        }
    }

    @Test("where all work, a newcomer is turned away and nobody else is disturbed")
    func full() throws {
        let bench = Self.bench(connections: 2)
        try bench.run {
            let first = try await bench.client()
            let second = try await bench.client()
            let newcomer = bench.connect()
            #expect(await newcomer.hasEnded())
            #expect(try await first.read(at: 0, 512).error == 0)
            second.stream.close()
            await bench.settle()
            let next = try await bench.client()
            #expect(try await next.read(at: 0, 512).error == 0)
        }
    }

    @Test("R35: a thousand clients that say nothing do not keep an honest one waiting")
    func flood() throws {
        let bench = Self.bench(connections: 100)
        try bench.run {
            var idle: [Client] = []
            for _ in 0..<1000 {
                idle.append(bench.connect())
                await bench.context.yield()
            }
            let client = try await bench.client()
            #expect(try await client.read(at: 0, 512).error == 0)
            #expect(bench.server.connections <= 101)
            #expect(bench.context.nowNs < 1_000_000_000)
        }
    }
}
