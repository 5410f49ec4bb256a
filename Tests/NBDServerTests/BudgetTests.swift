import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD within a memory budget")
struct BudgetTests {
    /// A kind of client: how replies come to it.
    struct Way: Sendable, CustomTestStringConvertible {
        let isStructured: Bool
        let flags: NBDCommandFlags
        var testDescription: String { isStructured ? (flags.isEmpty ? "chunks" : "one chunk") : "simple" }
    }

    static let ways = [
        Way(isStructured: false, flags: []), Way(isStructured: true, flags: []),
        Way(isStructured: true, flags: .dontFragment),
    ]

    /// The smallest budget there can be: nothing long fits.
    private static var tight: MemoryBudget { MemoryBudget(limit: 2 * MemoryBudget.leastShare) }

    private static func pattern(_ count: Int, _ seed: UInt64 = 3) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return random.bytes(count)
    }

    @Test("a request longer than there is memory is carried out in pieces, and answered rightly", arguments: ways)
    func pieces(way: Way) throws {
        let bench = Bench(budget: Self.tight)
        let bytes = Self.pattern(4 << 20)
        let disk = MemoryStorage(SparseBytes(bytes))
        let meter = MeterStorage(disk)
        bench.export(meter)
        let other = Self.pattern(3 << 20, 4)
        try bench.run {
            let client = try await bench.client(structured: way.isStructured)
            let whole = try await client.read(at: 0, 4 << 20, way.flags)
            #expect(whole.error == 0 && whole.data == bytes)
            // Several at once, whose replies do not mix.
            var cookies: [UInt64] = []
            for index in 0..<10 { cookies.append(try await client.start(.read, at: UInt64(index) * 4096, 1 << 20)) }
            for (index, cookie) in cookies.enumerated() {
                let answer = try await client.answer(to: cookie)
                #expect(answer.data == Array(bytes[index * 4096..<index * 4096 + 1 << 20]))
            }
            #expect(try await client.write(other, at: 4096).error == 0)
            #expect(try await client.read(at: 4096, 3 << 20, way.flags).data == other)
        }
        #expect(meter.longest <= bench.server.budget.limit)
        #expect(disk.contents.bytes(ByteRange(at: 4096, count: 3 << 20)) == other)
    }

    @Test(
        "what is wrong with a long request is told as for a short one, and the next request is found", arguments: ways)
    func wrong(way: Way) throws {
        let bench = Bench(budget: Self.tight)
        let faults = FaultPlan()
        bench.export(FaultyStorage(MemoryStorage(SparseBytes(Self.pattern(4 << 20))), faults))
        try bench.run {
            let client = try await bench.client(structured: way.isStructured)
            #expect(try await client.write(Self.pattern(2 << 20), at: 3 << 20).error == NBDError.noSpace.rawValue)
            #expect(try await client.read(at: 3 << 20, 2 << 20, way.flags).error == NBDError.invalid.rawValue)
            faults.add(Fault([.write], nth: 3))
            #expect(try await client.write(Self.pattern(2 << 20), at: 0).error == NBDError.io.rawValue)
            faults.add(Fault([.read]))
            #expect(try await client.read(at: 0, 2 << 20, way.flags).error == NBDError.io.rawValue)
            #expect(try await client.read(at: 0, 2 << 20, way.flags).error == 0)
        }
    }

    @Test("where a piece fails after its reply has begun and no error can be told, the connection ends")
    func lateFailure() throws {
        let bench = Bench(budget: Self.tight)
        let faults = FaultPlan()
        bench.export(FaultyStorage(MemoryStorage(SparseBytes(Self.pattern(4 << 20))), faults))
        try bench.run {
            let client = try await bench.client(structured: false)
            faults.add(Fault([.read], nth: 3))
            await #expect(throws: Ended.self) { _ = try await client.read(at: 0, 4 << 20) }
            await bench.settle()
            #expect(bench.server.connections == 0)
            let next = try await bench.client(structured: false)
            #expect(try await next.read(at: 0, 512).error == 0)
        }
    }

    @Test("the memory of a request of 1 MiB stays for the next one, that of a longer one goes")
    func kept() throws {
        let bench = Bench()
        bench.export(MemoryStorage(SparseBytes(Self.pattern(16 << 20))))
        let budget = bench.server.budget
        try bench.run {
            let client = try await bench.client()
            let before = budget.common
            #expect(try await client.read(at: 0, 1 << 20).error == 0)
            #expect(budget.common < before - (512 << 10))
            let kept = budget.common
            #expect(try await client.read(at: 1 << 20, 1 << 20).error == 0)
            #expect(budget.common == kept)
            #expect(try await client.read(at: 0, 16 << 20).error == 0)
            await bench.settle()
            #expect(budget.common > kept)
        }
    }

    @Test("block status is as short as its memory, and goes on where it ended")
    func status() throws {
        let bench = Bench(budget: Self.tight)
        bench.export(
            ExtentStorage((0..<40_000).map { .init(count: 4096, flags: $0 % 2 == 0 ? [.data, .allocated] : [.zero]) }))
        try bench.run {
            let client = try await bench.client(contexts: ["base:allocation"])
            var at: UInt64 = 0
            var rounds = 0
            while at < 40_000 * 4096 {
                let answer = try await client.call(.blockStatus, at: at, Int(40_000 * 4096 - at))
                let told = answer.status.values.first ?? []
                #expect(!told.isEmpty)
                if told.isEmpty { break }
                at += told.reduce(0) { $0 + UInt64($1.length) }
                rounds += 1
            }
            #expect(rounds > 1)
        }
    }

    @Test(
        "clients that never read fill no more than the budget, and keep nobody else from any request", arguments: ways)
    func deaf(way: Way) throws {
        let bench = Bench(budget: MemoryBudget(limit: 8 << 20, clients: 16))
        let bytes = Self.pattern(4 << 20)
        let meter = MeterStorage(MemoryStorage(SparseBytes(bytes)))
        bench.export(meter)
        try bench.run {
            var deaf: [Client] = []
            for _ in 0..<12 {
                let client = try await bench.client(structured: way.isStructured, capacity: 1000)
                deaf.append(client)
                bench.context.spawn {
                    for index in 0..<40 {
                        do { try await client.start(.read, at: UInt64(index) * 512, 1 << 20, way.flags) } catch {
                            return
                        }
                    }
                }
            }
            for _ in 0..<20 { await bench.settle() }
            // What they asked for and did not take is held: these bytes, at least.
            let held = meter.bytesRead
            #expect(held > 1 << 20)
            #expect(held <= bench.server.budget.limit, "\(held) bytes are held for clients that do not read")
            let honest = try await bench.client(structured: way.isStructured)
            for length in [512, 64 << 10, 1 << 20, 4 << 20] {
                #expect(try await honest.read(at: 0, length, way.flags).data == Array(bytes[..<length]))
                #expect(try await honest.write(Array(bytes[..<length]), at: 0).error == 0)
            }
            for client in deaf { client.stream.close() }
            honest.stream.close()
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
        #expect(bench.server.budget.common == bench.server.budget.limit / 2, "all of it came back")
    }

    @Test("there are no more connections than the budget has clients")
    func connections() throws {
        let bench = Bench(budget: MemoryBudget(limit: 8 << 20, clients: 3))
        bench.export(MemoryStorage(length: 1 << 20))
        #expect(bench.server.limits.connections == 3)
        try bench.run {
            let workers = [try await bench.client(), try await bench.client(), try await bench.client()]
            await bench.settle()
            let newcomer = bench.connect()
            #expect(await newcomer.hasEnded())
            for worker in workers { #expect(try await worker.read(at: 0, 512).error == 0) }
        }
    }

    @Test(
        "for another connection's sake the oldest client that has not chosen goes, one at a time; those who work stay")
    func makeRoom() throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1 << 20))
        try bench.run {
            let worker = try await bench.client()
            #expect(!bench.server.makeRoom())
            let idle = [bench.connect(), bench.connect()]
            for client in idle { try await client.begin() }
            #expect(bench.server.makeRoom())
            #expect(bench.server.makeRoom(), "one that is going is enough")
            await bench.settle()
            #expect(await idle[0].hasEnded())
            #expect(bench.server.connections == 2)
            #expect(try await idle[1].ask(.list).count == 2)
            #expect(try await worker.read(at: 0, 512).error == 0)
        }
    }
}

/// Passes requests on and notes how much was asked at a time and in all.
private final class MeterStorage: Storage {
    private let below: any Storage
    private(set) var longest = 0
    private(set) var bytesRead = 0

    init(_ below: any Storage) { self.below = below }

    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        longest = max(longest, buffer.byteCount)
        bytesRead += buffer.byteCount
        try await below.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        longest = max(longest, bytes.byteCount)
        try await below.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await below.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await below.discard(range) }
    func flush() async throws(BlockError) { try await below.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await below.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await below.resize(to: length) }
}
