import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD requests in flight")
struct InFlightTests {
    @Test("replies come as requests end, not as they began")
    func outOfOrder() throws {
        let bench = Bench()
        let gate = GateStorage(MemoryStorage(length: 1 << 20), holding: [.read])
        bench.export(gate)
        try bench.run {
            let client = try await bench.client()
            var cookies: [UInt64] = []
            for index in 0..<4 as Range<UInt64> { cookies.append(try await client.start(.read, at: index * 512, 512)) }
            // A write passes the reads that wait.
            #expect(try await client.write([1], at: 9000).error == 0)
            await bench.settle()
            #expect(gate.waiting.count == 4)
            for offset in [1024, 0, 1536, 512] as [UInt64] {
                let index = try #require(gate.waiting.firstIndex { $0.offset == offset })
                gate.release(at: index)
                #expect(try await client.nextAnswer().request.offset == offset)
            }
            #expect(client.waiting.isEmpty)
        }
    }

    /// Counts how many requests are answered in place before others have their turn.
    private final class EagerStorage: Storage {
        private let memory = MemoryStorage(length: 4096)
        private(set) var longest = 0
        var inARow = 0

        var length: UInt64 { memory.length }
        var limits: StorageLimits { memory.limits }

        private func count() {
            inARow += 1
            longest = max(longest, inARow)
        }
        func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
            count()
            return memory.readNow(at: offset, into: &buffer)
        }
        func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
            count()
            return memory.writeNow(at: offset, from: bytes)
        }
        func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
            try await memory.read(at: offset, into: &buffer)
        }
        func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
            try await memory.write(at: offset, from: bytes, flags: flags)
        }
        func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
            try await memory.zero(range, flags: flags)
        }
        func discard(_ range: ByteRange) async throws(BlockError) { try await memory.discard(range) }
        func flush() async throws(BlockError) { try await memory.flush() }
        func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await memory.status(of: range) }
        func resize(to length: UInt64) async throws(BlockError) { try await memory.resize(to: length) }
    }

    @Test("a client that sends without end gives others their turn", arguments: [NBDCommand.read, .write])
    func turns(command: NBDCommand) throws {
        let bench = Bench()
        let storage = EagerStorage()
        bench.export(storage)
        try bench.run {
            let client = try await bench.client(chunks: false)
            var isDone = false
            bench.context.spawn {
                while !isDone {
                    storage.inARow = 0
                    await bench.context.sleep(ms: 0)
                }
            }
            try await client.start(2000, command, 1)
            for _ in 0..<2000 { #expect(try await client.nextAnswer().answer.error == 0) }
            isDone = true
            // One more turn may pass before the counter has its own.
            #expect(storage.longest > 32 && storage.longest <= 128)
        }
    }

    @Test("many requests of all kinds at once are each answered once and rightly", arguments: 0..<15 as Range<UInt64>)
    func many(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        let disk = stripedDisk(bench.context, stripes: 16, seed: seed)
        let expected = disk.contents
        bench.export(disk)
        try bench.run {
            var random = SeededRandom(seed: seed)
            let client = try await bench.client(
                structured: seed % 3 != 0, contexts: seed % 3 != 0 ? ["base:allocation"] : [])
            var left = 300
            while left > 0 || !client.waiting.isEmpty {
                if left > 0, client.waiting.count < 60 {
                    left -= 1
                    let offset = random.below(disk.length)
                    let length = 1 + random.below(min(Int(disk.length - offset), 1 << random.below(19)))
                    switch random.below(8) {
                    case 0: try await client.start(.flush)
                    case 1: try await client.start(.cache, at: offset, length)
                    case 2 where client.isStructured: try await client.start(.blockStatus, at: offset, length)
                    case 3:
                        // What is there already, so that reads know what to expect.
                        let bytes = expected.bytes(ByteRange(at: offset, count: UInt64(length)))
                        try await client.start(.write, at: offset, length, payload: bytes)
                    default: try await client.start(.read, at: offset, length)
                    }
                    continue
                }
                let (request, answer) = try await client.nextAnswer()
                #expect(answer.error == 0)
                guard request.command == .read else { continue }
                let range = ByteRange(at: request.offset, count: UInt64(request.length))
                #expect(answer.data == expected.bytes(range))
            }
        }
    }

    @Test("no more requests of one client are under way than the limit, and others do not wait for it")
    func requestLimit() throws {
        var limits = NBDServer.Limits()
        limits.requests = 5
        let bench = Bench(limits)
        let gate = GateStorage(MemoryStorage(length: 1 << 20), holding: [.flush])
        bench.export(gate)
        try bench.run {
            let greedy = try await bench.client()
            for _ in 0..<20 { try await greedy.start(.flush) }
            await bench.settle()
            #expect(gate.waiting.count == 5)
            let modest = try await bench.client()
            #expect(try await modest.read(at: 0, 512).error == 0)
            gate.release(at: 2)
            await bench.settle()
            #expect(gate.waiting.count == 5)
            gate.open()
            for _ in 0..<20 { #expect(try await greedy.nextAnswer().answer.error == 0) }
        }
    }

    @Test("no more bytes of one client are under way than the limit, but one request always is")
    func byteLimit() throws {
        var limits = NBDServer.Limits()
        limits.bytes = 100_000
        let bench = Bench(limits)
        let gate = GateStorage(MemoryStorage(length: 1 << 20), holding: [.read])
        bench.export(gate)
        try bench.run {
            let client = try await bench.client(structured: false)
            for _ in 0..<10 { try await client.start(.read, at: 0, 30_000) }
            try await client.start(.read, at: 0, 500_000)
            await bench.settle()
            #expect(gate.waiting.count == 3)
            gate.open()
            for _ in 0..<11 { #expect(try await client.nextAnswer().answer.error == 0) }
        }
    }

    @Test("block status counts with the bytes that its answer may take")
    func statusLimit() throws {
        var limits = NBDServer.Limits()
        limits.bytes = 8 << 20
        let bench = Bench(limits)
        let gate = GateStorage(ExtentStorage([.init(count: 1 << 40, flags: [.zero])]), holding: [.status])
        bench.export(gate)
        try bench.run {
            let client = try await bench.client(contexts: ["base:allocation"])
            for _ in 0..<10 { try await client.start(.blockStatus, at: 0, 1 << 30) }
            await bench.settle()
            #expect(gate.waiting.count == 4)
            gate.open()
            for _ in 0..<10 { #expect(try await client.nextAnswer().answer.error == 0) }
            gate.held = [.status]
            for _ in 0..<10 { try await client.start(.blockStatus, at: 0, 1 << 30, .reqOne) }
            await bench.settle()
            #expect(gate.waiting.count == 10, "one extent takes no room")
            gate.open()
        }
    }

    @Test("a client that does not read its replies makes its own requests wait, and nobody else's")
    func slowReader() throws {
        let bench = Bench()
        let gate = GateStorage(MemoryStorage(SparseBytes([UInt8](repeating: 1, count: 1 << 20))))
        bench.export(gate)
        try bench.run {
            let slow = try await bench.client(capacity: 1000)
            // More than the server may hold: 128 requests of 64 KiB in slots, and what it gathers.
            var sender = 0
            bench.context.spawn {
                for _ in 0..<2000 {
                    do { try await slow.start(.read, at: 0, 65536) } catch { return }
                    sender += 1
                }
            }
            for _ in 0..<20 { await bench.settle() }
            let (begun, read) = (sender, gate.ended)
            #expect(begun < 1000)
            #expect(read <= 128 + 2 * 4 + 1, "requests whose replies nobody took: \(read)")
            for _ in 0..<20 { await bench.settle() }
            #expect(sender == begun && gate.ended == read, "it stands still")
            let other = try await bench.client()
            #expect(try await other.read(at: 0, 512).error == 0)
            for _ in 0..<2000 { #expect(try await slow.nextAnswer().answer.error == 0) }
            #expect(gate.ended == 2001)
        }
    }

    @Test("a disconnect lets what is under way end and be answered; what follows it is not heard")
    func disconnect() throws {
        let bench = Bench()
        let memory = MemoryStorage(length: 1 << 20)
        let gate = GateStorage(memory, holding: [.read, .write])
        bench.export(gate)
        try bench.run {
            let client = try await bench.client()
            let read = try await client.start(.read, at: 0, 512)
            let write = try await client.start(.write, at: 0, 1, payload: [1])
            try await client.start(.disconnect)
            let ignored = NBDRequest(flags: [], type: 3, cookie: 1, offset: 0, length: 0)
            try await client.send(ignored.encoded)
            await bench.settle()
            #expect(bench.server.connections == 1)
            #expect(gate.waiting.count == 2)
            gate.open()
            #expect(try await client.answer(to: read).error == 0)
            #expect(try await client.answer(to: write).error == 0)
            #expect(await client.hasEnded())
        }
        #expect(memory.contents.bytes(ByteRange(at: 0, count: 1)) == [1])
        #expect(bench.server.connections == 0)
    }

    @Test("a disconnect does not cut off replies that the client has not read yet", arguments: [100, 60_000, 400_000])
    func disconnectUnread(length: Int) throws {
        let bench = Bench()
        bench.export(MemoryStorage(SparseBytes([UInt8](repeating: 1, count: 1 << 20))))
        try bench.run {
            let client = try await bench.client(capacity: 1000)
            for _ in 0..<5 { try await client.start(.read, at: 0, length) }
            try await client.start(.disconnect)
            await bench.settle()
            for _ in 0..<5 { #expect(try await client.nextAnswer().answer.data.count == length) }
            #expect(await client.hasEnded())
        }
    }

    @Test("a request whose magic is wrong ends the connection, behind the replies that were due")
    func wrongMagic() throws {
        for index in 0..<4 {
            let bench = Bench()
            let gate = GateStorage(MemoryStorage(length: 1 << 20), holding: [.read])
            bench.export(gate)
            try bench.run {
                let client = try await bench.client()
                let read = try await client.start(.read, at: 0, 512)
                var bytes = NBDRequest(flags: [], type: 3, cookie: 1, offset: 0, length: 0).encoded
                bytes[index] ^= 1
                try await client.send(bytes)
                await bench.settle()
                gate.open()
                #expect(try await client.answer(to: read).error == 0)
                #expect(await client.hasEnded())
            }
        }
    }
}
