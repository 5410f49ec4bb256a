import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD exports that go, and servers that stop")
struct RemovalTests {
    @Test("an export's clients are counted, so that it is removed only when unused")
    func clients() throws {
        let bench = Bench()
        let export = bench.export(MemoryStorage(length: 4096))
        bench.export(MemoryStorage(length: 4096), as: "other")
        try bench.run {
            #expect(bench.server.clients(of: export) == 0)
            let first = try await bench.client()
            let second = try await bench.client("other")
            _ = try await first.read(at: 0, 1)
            _ = try await second.read(at: 0, 1)
            #expect(bench.server.clients(of: export) == 1)
            try await first.start(.disconnect)
            #expect(await first.hasEnded())
            await bench.settle()
            #expect(bench.server.clients(of: export) == 0)
        }
    }

    @Test("removal ends the export's clients, waits for their requests, and leaves other exports alone")
    func removal() throws {
        let bench = Bench()
        let memory = MemoryStorage(length: 1 << 20)
        let gate = GateStorage(memory, holding: [.write])
        let export = bench.export(gate)
        bench.export(MemoryStorage(length: 4096), as: "other")
        try bench.run {
            let client = try await bench.client()
            let other = try await bench.client("other")
            let undecided = bench.connect()
            try await undecided.begin()
            try await client.start(.write, at: 0, 1, payload: [1])
            await bench.settle()
            var isRemoved = false
            bench.context.spawn {
                await bench.server.remove(export)
                isRemoved = true
            }
            #expect(await client.hasEnded())
            await bench.settle()
            #expect(!isRemoved, "a write is under way")
            #expect(bench.server.export(named: "disk") == nil)
            #expect(try await undecided.ask(.go, infoData("disk")).map(\.code) == [NBDOptionReply.unknown])
            gate.open()
            await bench.settle()
            #expect(isRemoved)
            #expect(bench.server.clients(of: export) == 0)
            #expect(memory.contents.bytes(ByteRange(at: 0, count: 1)) == [1])
            #expect(try await other.read(at: 0, 512).error == 0)
            try await undecided.go("other")
        }
    }

    @Test("removal does not wait for a client that does not read")
    func deafClient() throws {
        let bench = Bench()
        let export = bench.export(MemoryStorage(SparseBytes([UInt8](repeating: 1, count: 1 << 20))))
        try bench.run {
            let client = try await bench.client(capacity: 1000)
            bench.context.spawn {
                for _ in 0..<1000 { do { try await client.start(.read, at: 0, 300_000) } catch { return } }
            }
            for _ in 0..<5 { await bench.settle() }
            await bench.server.remove(export)
            #expect(bench.server.connections == 0)
        }
    }

    @Test("an export that comes back under its name meanwhile is another one", arguments: 0..<30 as Range<UInt64>)
    func exchanged(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        let first = bench.export(MemoryStorage(length: 1 << 20), offersDepth: true)
        try bench.run {
            let client = bench.connect(capacity: 40)
            try await client.begin()
            _ = try await client.ask(.structuredReply)
            _ = try await client.ask(
                .setMetaContext, contextData("disk", ["base:allocation", "qemu:allocation-depth"]))
            bench.context.spawn {
                for _ in 0..<seed { await bench.context.yield() }
                await bench.server.remove(first)
                bench.export(MemoryStorage(length: 512))
            }
            // Whichever came first: the client has the disk that it was told of, or none.
            do {
                try await client.go("disk")
                let answer = try await client.call(.blockStatus, at: 0, 512)
                #expect(client.size == 1 << 20 ? answer.error == 0 : answer.failure == .invalid)
                #expect(try await client.read(at: client.size - 512, 512).error == 0)
            } catch is Ended {} catch BlockError.closed {}
            await bench.settle()
        }
    }

    @Test("a client that was told of an export does not get another one of its name")
    func exchangedWhileTold() throws {
        let bench = Bench()
        let first = bench.export(MemoryStorage(length: 1 << 20), offersDepth: true)
        try bench.run {
            let client = bench.connect(capacity: 40)
            try await client.begin()
            _ = try await client.ask(.structuredReply)
            _ = try await client.ask(
                .setMetaContext, contextData("disk", ["base:allocation", "qemu:allocation-depth"]))
            // The answer does not fit the connection: the server still sends it when the export goes.
            try await client.send(option(7, infoData("disk")))
            await bench.settle()
            await bench.server.remove(first)
            bench.export(MemoryStorage(length: 512))
            #expect(try await client.optionReplies(to: 7).last?.code == NBDOptionReply.ack)
            let request = NBDRequest(flags: [], type: 7, cookie: 1, offset: 0, length: 512)
            try? await client.send(request.encoded)
            #expect(await client.hasEnded())
        }
    }

    @Test("R35: a server that stops ends every client, waits for requests under way, and takes nobody any more")
    func stop() throws {
        let bench = Bench()
        let gate = GateStorage(MemoryStorage(length: 1 << 20), holding: [.flush])
        bench.export(gate)
        try bench.run {
            let silent = bench.connect()
            let undecided = bench.connect()
            try await undecided.begin()
            let idle = try await bench.client()
            let busy = try await bench.client()
            for _ in 0..<200 { try await busy.start(.flush) }
            await bench.settle()
            var isStopped = false
            bench.context.spawn {
                await bench.server.stop()
                isStopped = true
            }
            for client in [undecided, idle, busy] { #expect(await client.hasEnded()) }
            _ = try await silent.receive(18)
            #expect(await silent.hasEnded())
            await bench.settle()
            #expect(!isStopped && bench.server.connections == 1)
            #expect(gate.waiting.count == 128)
            gate.open()
            await bench.settle()
            #expect(isStopped && bench.server.connections == 0)
            #expect(gate.ended == 128, "what had arrived and waited for its turn is not begun")
            let late = bench.connect()
            #expect(await late.hasEnded())
        }
    }

    @Test(
        "R35: a server stops at any moment of its clients' handshakes and requests", arguments: 0..<60 as Range<UInt64>)
    func stopAnyTime(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        bench.export(stripedDisk(bench.context, stripes: 4, seed: seed))
        try bench.run {
            var ended = 0
            for index in 0..<6 {
                bench.context.spawn {
                    do {
                        let client = try await bench.client(structured: index % 2 == 0, capacity: 3000)
                        while true {
                            try await client.start(.read, at: 0, 100_000)
                            try await client.start(.write, at: 0, 1000, payload: [UInt8](repeating: 1, count: 1000))
                            try await client.start(.flush)
                            for _ in 0..<3 { _ = try await client.nextAnswer() }
                        }
                    } catch {
                        #expect(error is Ended || error as? BlockError == .closed, "\(error)")
                        ended += 1
                    }
                }
            }
            await bench.sleep(ns: seed * seed * 200)
            await bench.server.stop()
            #expect(bench.server.connections == 0)
            await bench.settle()
            #expect(ended == 6)
        }
    }
}
