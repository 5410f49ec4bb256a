import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// Full disks, failed writes and failed flushes: what the writer is told, and what is left.
@Suite struct FailureTests {
    static func create(size: UInt64 = 8 << 20, clusterSize: UInt64 = 4096, refcountBits: Int = 16) throws -> SparseBytes
    {
        let context = SimulatedContext()
        let disk = SimDisk(context)
        var options = CreateOptions(size: size)
        options.clusterSize = clusterSize
        options.refcountBits = refcountBits
        try context.complete { [options] in try await Qcow2Create.create(on: disk, options) }
        return disk.contents
    }

    private func checkIsClean(_ contents: SparseBytes, leaksAllowed: Bool = false) throws {
        let context = SimulatedContext()
        let disk = SimDisk(context, contents: contents)
        let result = try context.complete {
            try await Qcow2Check.check(disk) { _ in }
        }
        #expect(result.corruptions == 0 && result.checkErrors == 0)
        if !leaksAllowed { #expect(result.leaks == 0) }
    }

    @Test("a full disk is told to the writer, leaves the image writable, and writing goes on once there is room")
    func fullDisk() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 8192), at: 0)
        for nth in 0..<12 {
            bench.disk.faults.add(Fault([.write], nth: nth % 3, forever: true, error: .noSpace))
            #expect(throws: BlockError.noSpace) {
                for step in 0..<8 { try bench.write([2], at: UInt64(1 + nth) << 19 | UInt64(step) << 13) }
                try bench.flush()
            }
            bench.disk.faults.clear()
            #expect(try bench.read(0, 8192) == [UInt8](repeating: 1, count: 8192))
            try bench.write([3], at: UInt64(1 + nth) << 19)
            #expect(bench.image.writeRefusal == nil)
        }
        try bench.flush()
        try bench.close()
        #expect(bench.fences.isEmpty)
        try checkIsClean(bench.disk.contents)
    }

    @Test("space that cannot be given back, since its refcounts cannot be read, is told when the image closes")
    func unreadableRefcounts() throws {
        let bench = try Bench(
            Self.create(clusterSize: 512, refcountBits: 64), options: Options(refcountCacheSize: 2048))
        try bench.write([UInt8](repeating: 1, count: 400_000), at: 0)
        try bench.reopen(Options(refcountCacheSize: 2048))
        try bench.discard(0, 65536)
        let table = bench.disk.contents.bytes(ByteRange(at: 48, count: 8)).byteSpan.bigEndian(UInt64.self, at: 0)
        let block = bench.disk.contents.bytes(ByteRange(at: table + 8, count: 8)).byteSpan.bigEndian(UInt64.self, at: 0)
        bench.disk.faults.add(Fault([.read], forever: true, range: ByteRange(at: block, count: 512)))
        // The data is safe: a flush says so.
        try bench.flush()
        #expect(throws: BlockError.io) { try bench.close() }
        try checkIsClean(bench.disk.contents, leaksAllowed: true)
        #expect(MiniCheck(bench.disk.contents).leaks > 0)
    }

    @Test("a change of the header that fails leaves nobody to guess what it says: the image is fenced")
    func failedHeader() throws {
        for step in [.lazyRefcounts(true), .downgrade] as [AmendStep] {
            let bench = try Bench(Self.create())
            bench.disk.faults.add(Fault([.write], forever: true, range: ByteRange(at: 0, count: 512)))
            #expect(throws: OpenError.self) {
                try bench.context.complete { [image = bench.image] in try await image.amend(step) }
            }
            #expect(bench.image.isFenced && bench.fences == [.io], "\(step)")
        }
    }

    @Test(
        "every single failed request leaves an image without errors, and reads go on",
        arguments: [
            [RequestKind.write], [.flush], [.read], [.write, .flush, .discard],
        ])
    func singleFaults(_ kinds: [RequestKind]) throws {
        let start = try Self.create(clusterSize: 512, refcountBits: 64)
        for nth in 0..<60 {
            let bench = try Bench(start, seed: UInt64(nth))
            let run = Program(bench, model: DiskModel(length: 8 << 20), seed: 9)
            let error: BlockError = nth % 4 < 2 ? .io : .noSpace
            bench.disk.faults.add(Fault(Set(kinds), nth: nth, error: error, effect: nth % 2 == 0 ? .torn : .nothing))
            _ = try? run.concurrently(clients: 3, operations: 12)
            _ = try? run.concurrently(clients: 3, operations: 4)
            for state in bench.disk.crashImages(3, seed: 6) { try checkIsClean(state, leaksAllowed: true) }
            bench.disk.faults.clear()
            _ = try? bench.flush()
            _ = try bench.read(0, 65536)
            _ = try? bench.close()
            try checkIsClean(bench.disk.contents, leaksAllowed: true)
            for state in bench.disk.crashImages(3, seed: 5) { try checkIsClean(state, leaksAllowed: true) }
        }
    }

    @Test(
        "R87: after a failed flush the image takes no writes, says so once, and still reads, though the file flushes again",
        arguments: [BlockError.io, .noSpace])
    func fence(error: BlockError) throws {
        var options = SimDisk.Options(seed: 1)
        options.stickyFlush = false
        let bench = try Bench(Self.create(), disk: options)
        try bench.write([1, 2, 3], at: 4096)
        bench.disk.faults.add(Fault([.flush], error: error))
        #expect(throws: error) { try bench.flush() }
        #expect(bench.fences == [error])
        #expect(bench.image.writeRefusal == .fenced)
        #expect(throws: BlockError.fenced) { try bench.write([1], at: 0) }
        #expect(throws: BlockError.fenced) { try bench.zero(0, 4096) }
        #expect(throws: BlockError.fenced) { try bench.flush() }
        #expect(try bench.read(4096, 3) == [1, 2, 3])
        #expect(throws: BlockError.fenced) { try bench.close() }
        #expect(bench.fences.count == 1)
    }

    @Test("a file that cannot grow gives its freed clusters back before it says that it is full")
    func fixedLength() throws {
        var contents = try Self.create(size: 64 << 10, clusterSize: 4096)
        contents.resize(to: contents.length.roundedUp(to: 4096)! + 18 * 4096)
        let limits = StorageLimits(zeroesFast: true, discards: true, growable: false)
        let bench = try Bench(contents, limits: limits)
        let bytes = [UInt8](repeating: 5, count: 64 << 10)
        try bench.write(bytes, at: 0)
        for round in 0..<5 {
            try bench.discard(0, 64 << 10)
            let other = [UInt8](repeating: UInt8(round + 10), count: 64 << 10)
            try bench.write(other, at: 0)
            #expect(try bench.read(0, 64 << 10) == other)
        }
        try bench.close()
        #expect(bench.disk.contents.length == contents.length)
        try checkIsClean(bench.disk.contents)
    }

    @Test("a freed cluster is neither punched nor reused while a request that looked it up runs (O17)")
    func pinned() throws {
        let bench = try Bench(Self.create())
        let old = [UInt8](repeating: 0xaa, count: 4096)
        try bench.write(old, at: 0)
        try bench.flush()
        let place = try #require(Self.place(of: 0, in: bench))
        let token = bench.image.beginRequest()
        try bench.discard(0, 4096)
        for _ in 0..<4 { try bench.flush() }
        for index in 1..<20 as Range<UInt64> { try bench.write([1], at: index << 12) }
        #expect(bench.disk.contents.bytes(ByteRange(at: place, count: 4096)) == old)
        bench.image.endRequest(token)
        for _ in 0..<3 { try bench.flush() }
        for index in 20..<24 as Range<UInt64> { try bench.write([1], at: index << 12) }
        #expect(bench.disk.contents.bytes(ByteRange(at: place, count: 4096)) != old)
        try bench.close()
        try checkIsClean(bench.disk.contents)
    }

    static func place(of guest: UInt64, in bench: Bench) -> UInt64? {
        if case .data(let offset) = bench.image.lookup(ByteRange(at: guest, count: 1)).mapping { return offset }
        return nil
    }

    @Test("a freed cluster is not reused before what freed it is durable (O5)")
    func quarantine() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 4096), at: 0)
        try bench.flush()
        let place = try #require(Self.place(of: 0, in: bench))
        try bench.discard(0, 4096)
        try bench.write([UInt8](repeating: 2, count: 4096), at: 4096)
        #expect(Self.place(of: 4096, in: bench) != place)
        for _ in 0..<2 { try bench.flush() }
        try bench.write([UInt8](repeating: 3, count: 4096), at: 8192)
        #expect(Self.place(of: 8192, in: bench) == place)
    }

    @Test("a flush with nothing but data in place is one flush of the file")
    func cheapFlush() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 4096), at: 0)
        for _ in 0..<3 { try bench.flush() }
        let before = bench.disk.requests[.flush] ?? 0
        let writes = bench.disk.requests[.write] ?? 0
        try bench.write([UInt8](repeating: 2, count: 4096), at: 0)
        try bench.flush()
        #expect(bench.disk.requests[.flush] == before + 1)
        #expect(bench.disk.requests[.write] == writes + 1)
        #expect(bench.image.commitUrgency == .none)
    }

    @Test("a change is committed within a second without a flush")
    func epoch() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 4096), at: 0)
        try bench.discard(0, 4096)
        #expect(bench.image.commitUrgency == .soon)
        try bench.context.advance(ns: 5_000_000_000)
        #expect(bench.image.commitUrgency == .none)
    }

    @Test("what only allocates is committed within five seconds, and what frees takes it along within one")
    func lateEpoch() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 4096), at: 0)
        #expect(bench.image.commitUrgency == .later)
        try bench.context.advance(ns: 2_000_000_000)
        #expect(bench.image.commitUrgency == .later)
        try bench.context.advance(ns: 3_500_000_000)
        #expect(bench.image.commitUrgency == .none)
        try bench.write([UInt8](repeating: 1, count: 4096), at: 1 << 20)
        try bench.discard(0, 4096)
        #expect(bench.image.commitUrgency == .soon)
        try bench.context.advance(ns: 2_500_000_000)
        #expect(bench.image.commitUrgency == .none)
    }

    @Test("more than a commit waits for is committed within a second too, though no request follows")
    func urgentEpoch() throws {
        let bench = try Bench(Self.create(size: 2 << 30, clusterSize: 2 << 20))
        for index in 0..<520 as Range<UInt64> { try bench.write([1], at: index << 21) }
        try bench.flush()
        let before = bench.disk.requests[.discard, default: 0]
        try bench.discard(0, 520 << 21)
        #expect(bench.image.commitUrgency == .now)
        try bench.context.advance(ns: 2_500_000_000)
        #expect(bench.image.commitUrgency == .none)
        #expect(bench.disk.requests[.discard, default: 0] > before)
    }

    @Test("a changed table of 2 MiB makes no commit of every request")
    func largeClusters() throws {
        let bench = try Bench(Self.create(size: 1 << 30, clusterSize: 2 << 20))
        for index in 0..<20 as Range<UInt64> { try bench.write([1], at: index << 21) }
        #expect(bench.disk.requests[.flush, default: 0] == 0)
        #expect(bench.image.commitUrgency == .later)
    }

    @Test("changed tables make a commit urgent where they crowd a cache, not where it has all tables of the disk")
    func crowdedCache() throws {
        // 512-byte clusters: a table maps 32 KiB, and 4096 tables are 2 MiB.
        for (cache, urgency) in [(nil, CommitUrgency.later), (1 << 20, .now)] as [(UInt64?, CommitUrgency)] {
            let bench = try Bench(
                Self.create(size: 128 << 20, clusterSize: 512), options: Options(l2CacheSize: cache))
            for index in 0..<2048 as Range<UInt64> { try bench.write([1], at: index << 15) }
            #expect(bench.image.commitUrgency == urgency)
        }
    }

    @Test("R70: concurrent reads of one table load it once")
    func loadOnce() throws {
        let bench = try Bench(Self.create())
        try bench.write([UInt8](repeating: 1, count: 1 << 20), at: 0)
        try bench.reopen()
        let before = bench.disk.requests[.read] ?? 0
        var left = 16
        let io = bench.io
        try bench.context.complete { [context = bench.context] in
            for client in 0..<16 as Range<UInt64> {
                context.spawn {
                    _ = try? await io.bytes(at: client << 12, count: 4096)
                    left -= 1
                }
            }
            while left > 0 { await context.sleep(ms: 1) }
        }
        #expect(bench.disk.requests[.read] == before + 17)
    }
}
