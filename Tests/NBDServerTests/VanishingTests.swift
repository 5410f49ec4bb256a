import Block
import BlockTestKit
import Bytes
import NBDWire
import Testing

@testable import NBDServer

/// A client that vanishes or talks nonsense loses its own connection only.
@Suite("NBD clients that vanish")
struct VanishingTests {
    /// All that a client says from its first byte to the last: every option and every command.
    static func recording() -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0, 3] + option(8) + option(3) + option(6, infoData("disk", [1, 2, 3]))
        bytes += option(9, contextData("disk", ["base:"])) + option(10, contextData("disk", ["base:allocation"]))
        bytes += option(99, [1, 2, 3]) + option(7, infoData("disk", [3]))
        let requests: [(NBDCommand, UInt64, UInt32, NBDCommandFlags)] = [
            (.read, 0, 512, []), (.write, 4096, 100, .fua), (.read, 0, 200_000, []), (.blockStatus, 0, 200_000, []),
            (.trim, 65536, 65536, []), (.writeZeroes, 0, 4096, .noHole), (.cache, 0, 4096, []), (.flush, 0, 0, []),
            (.write, 100, 20, []), (.disconnect, 0, 0, []),
        ]
        for (index, (command, offset, length, flags)) in requests.enumerated() {
            bytes +=
                NBDRequest(
                    flags: flags, type: command.rawValue, cookie: UInt64(index), offset: offset, length: length
                ).encoded
            if command == .write { bytes += [UInt8](repeating: 0x5A, count: Int(length)) }
        }
        return bytes
    }

    /// A reference that keeps nothing alive.
    struct Weak<Object: AnyObject> {
        weak var object: Object?
        init(_ object: Object) { self.object = object }
    }

    /// How a client goes.
    enum Way: CaseIterable { case closes, closesWhenServed, readsSome }

    @Test("R30: a client may vanish at any byte of its conversation", arguments: Way.allCases)
    func everyByte(way: Way) throws {
        let recording = Self.recording()
        let bench = Bench(seed: 5)
        let disk = stripedDisk(bench.context, stripes: 2)
        let gate = GateStorage(disk)
        bench.export(gate)
        try bench.run {
            let witness = try await bench.client()
            for count in 0...recording.count {
                let client = bench.connect(chunks: count % 2 == 0)
                try await client.send(Array(recording[..<count]))
                if way == .closesWhenServed { await bench.settle() }
                if way == .readsSome { _ = try await client.receive(1 + count % 18) }
                // Requests may be under way, or not yet arrived.
                if count % 3 == 0 { await bench.context.yield() }
                client.stream.close()
                if count % 50 == 0 { #expect(try await witness.read(at: 0, 512).error == 0) }
            }
            for _ in 0..<10 { await bench.settle() }
            #expect(bench.server.connections == 1)
            #expect(bench.ended == recording.count + 1)
            #expect(try await witness.write([1, 2, 3], at: 200_000).error == 0)
            #expect(try await witness.read(at: 200_000, 3).data == [1, 2, 3])
        }
    }

    @Test(
        "R30: a client that vanishes amid a write leaves the disk as it was, and no request behind",
        arguments: [1, 99, 65535])
    func amidWrite(sent: Int) throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 2)
        let before = disk.contents
        let export = bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            try await client.start(.write, at: 0, 65536, payload: [UInt8](repeating: 1, count: sent))
            await bench.settle()
            #expect(bench.server.clients(of: export) == 1)
            client.stream.close()
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
        #expect(disk.requests[.write] == nil)
        #expect(disk.contents == before)
    }

    @Test("R30: requests under way when their client vanishes run to their end before the session does")
    func underWay() throws {
        let bench = Bench()
        let memory = MemoryStorage(length: 1 << 20)
        let gate = GateStorage(memory, holding: [.write, .read])
        let export = bench.export(gate)
        try bench.run {
            let client = try await bench.client(structured: false)
            for index in 0..<10 as Range<UInt64> {
                try await client.start(.write, at: index * 512, 1, payload: [1])
                try await client.start(.read, at: 0, 300_000)
            }
            await bench.settle()
            client.stream.close()
            await bench.settle()
            #expect(gate.waiting.count == 20)
            #expect(bench.server.clients(of: export) == 1)
            gate.open()
            await bench.settle()
            #expect(bench.server.connections == 0)
            #expect(gate.ended == 20)
        }
        #expect(memory.contents.bytes(ByteRange(at: 512, count: 1)) == [1])
    }

    @Test("a client that ends its sending side still gets its replies")
    func halfClosed() throws {
        let bench = Bench()
        bench.export(stripedDisk(bench.context, stripes: 2))
        let requests = NBDRequest(flags: [], type: 0, cookie: 5, offset: 0, length: 1000)
        let bytes = [0, 0, 0, 3] + option(7, infoData("disk")) + requests.encoded
        let stream = RecordedStream(bytes)
        try bench.run { _ = await bench.server.serve(stream) }
        let reply = stream.sent.suffix(1016)
        #expect(reply.prefix(16) == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5])
        #expect(stream.isClosed)
    }

    @Test("a client that takes no more replies is served no more than what it asked", arguments: [0, 18, 100, 700])
    func refusingReplies(taken: Int) throws {
        let bench = Bench()
        let gate = GateStorage(stripedDisk(bench.context, stripes: 2))
        bench.export(gate)
        let request = NBDRequest(flags: [], type: 0, cookie: 5, offset: 0, length: 60_000).encoded
        let bytes = [0, 0, 0, 3] + option(7, infoData("disk")) + request + request + request
        let stream = RecordedStream(bytes, taking: taken)
        try bench.run { _ = await bench.server.serve(stream) }
        #expect(stream.isClosed)
        #expect(stream.sent.count <= taken)
        #expect(gate.ended <= 3)
        #expect(bench.server.connections == 0)
    }

    @Test("nothing of a client that has gone stays in memory, however it went", arguments: Way.allCases)
    func noLeak(way: Way) throws {
        let bench = Bench()
        weak var storage: MemoryStorage?
        var slots: [Weak<NBDSlot>] = []
        try bench.run {
            let disk = MemoryStorage(length: 1 << 20)
            storage = disk
            let export = bench.export(disk)
            for count in stride(from: 0, through: Self.recording().count, by: 9) {
                let client = bench.connect()
                try await client.send(Array(Self.recording().prefix(count)))
                if way == .closesWhenServed { await bench.settle() }
                if way == .readsSome { _ = try await client.receive(18) }
                slots += bench.server.sessions.flatMap(\.slots).map(Weak.init)
                client.stream.close()
            }
            await bench.settle()
            #expect(bench.server.connections == 0)
            await bench.server.remove(export)
        }
        try bench.context.runToIdle()
        #expect(storage == nil)
        #expect(slots.allSatisfy { $0.object == nil })
        #expect(way == .closes || !slots.isEmpty)
        #expect(bench.context.nowNs < 5_000_000_000, "no deadline is left behind")
    }

    @Test("R36: nonsense ends its own connection at most", arguments: 0..<150 as Range<UInt64>)
    func nonsense(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        let disk = stripedDisk(bench.context, stripes: 2, seed: seed)
        bench.export(disk)
        try bench.run {
            var random = SeededRandom(seed: seed)
            let witness = try await bench.client()
            for _ in 0..<10 {
                var bytes = Self.recording()
                for _ in 0..<1 + random.below(5) {
                    let index = random.below(bytes.count)
                    switch random.below(4) {
                    case 0: bytes[index] = UInt8(truncatingIfNeeded: random.next())
                    case 1: bytes.removeSubrange(index..<min(bytes.count, index + 1 + random.below(8)))
                    case 2: bytes.insert(contentsOf: random.bytes(random.below(30)), at: index)
                    default: bytes[index] = random.pick([0, 1, 0x7F, 0x80, 0xFF])
                    }
                }
                let nonsense = bytes
                let client = bench.connect()
                bench.context.spawn {
                    try? await client.send(nonsense)
                    if seed % 2 == 0 { await bench.settle() }
                    client.stream.close()
                }
            }
            for _ in 0..<5 { #expect(try await witness.read(at: 65536, 65536).error == 0) }
            await bench.context.sleep(ms: 6000)
            #expect(bench.server.connections == 1)
            #expect(try await witness.write([9], at: 65536).error == 0)
            #expect(try await witness.read(at: 65536, 1).data == [9])
        }
    }

    @Test("random requests in step are answered as the protocol says, by seeds", arguments: 0..<30 as Range<UInt64>)
    func randomRequests(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        let disk = stripedDisk(bench.context, stripes: 4, seed: seed)
        bench.export(disk, isWritable: seed % 4 != 0, offersDepth: true)
        try bench.run {
            var random = SeededRandom(seed: seed)
            let contexts = seed % 2 == 0 ? ["base:allocation", "qemu:allocation-depth"] : []
            let client = try await bench.client(structured: seed % 5 != 1, contexts: contexts)
            let borders: [UInt64] = [
                0, 1, 511, 512, 65536, disk.length - 1, disk.length, disk.length + 1, 1 << 63, .max,
            ]
            for _ in 0..<200 {
                let type = random.chance(90) ? random.pick([0, 1, 3, 4, 5, 6, 7]) : UInt16(8 + random.below(60_000))
                let offset = random.chance(50) ? random.pick(borders) : random.below(disk.length)
                let length = random.chance(20) && type != 1 ? Int(UInt32.max) - random.below(3) : random.below(100_000)
                let flags = NBDCommandFlags(rawValue: random.chance(70) ? 0 : 1 << UInt16(random.below(7)))
                let payload = random.bytes(type == 1 ? length : 0)
                try await client.start(type: type, at: offset, length, flags, payload: payload)
                if client.waiting.count > 20 { _ = try await client.nextAnswer() }
            }
            while !client.waiting.isEmpty {
                let (request, answer) = try await client.nextAnswer()
                let end = request.offset.addingReportingOverflow(UInt64(request.length))
                if request.command != .flush, end.overflow || end.partialValue > disk.length {
                    #expect(answer.error != 0)
                }
                if request.command == nil { #expect(answer.failure == .invalid) }
            }
        }
    }
}
