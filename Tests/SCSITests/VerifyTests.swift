import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("VERIFY, COMPARE AND WRITE, ORWRITE")
struct VerifyTests {
    private func bytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return random.bytes(count)
    }

    private func cdb(_ code: UInt8, _ address: UInt64, _ count: UInt32, flags: UInt8) -> CDB {
        switch code >> 5 {
        case 1: .ten(code, UInt32(address), UInt16(count), flags: flags)
        case 5: .twelve(code, UInt32(address), count, flags: flags)
        default: .sixteen(code, address, count, flags: flags)
        }
    }

    @Test(
        "VERIFY compares each block, or each with one, or none, and tells where they differ",
        arguments: [
            0x2F, 0xAF, 0x8F,
        ] as [UInt8])
    func verify(_ code: UInt8) throws {
        try Bench(blocks: 2048).run { bench in
            let data = bytes(600 * 512)
            #expect(await bench.send(.ten(0x2A, 8, 600), data: data).isGood)
            #expect(await bench.send(cdb(code, 8, 600, flags: 0x02), data: data).isGood)
            #expect(await bench.send(cdb(code, 8, 600, flags: 0x12), data: data).isGood)
            for place in [0, 511, 512, 100_001, 600 * 512 - 1] {
                var other = data
                other[place] ^= 1
                let reply = await bench.send(cdb(code, 8, 600, flags: 0x02), data: other)
                #expect(reply.sense == .miscompare && reply.information == UInt64(place))
            }
            let none = await bench.send(cdb(code, 8, 600, flags: 0), data: [1])
            #expect(none.isGood && none.plan == .none)
            // One block for all.
            let block = bytes(512, seed: 9)
            for address in 700..<704 as Range<UInt32> { _ = await bench.send(.ten(0x2A, address, 1), data: block) }
            let one = await bench.send(cdb(code, 700, 4, flags: 0x06), data: block)
            #expect(one.isGood && one.plan == .fromInitiator(512))
            #expect(await bench.send(cdb(code, 700, 5, flags: 0x06), data: block).sense == .miscompare)
            #expect(await bench.send(cdb(code, 0, 1, flags: 0x04)).field == .init(inCDB: true, byte: 1, bit: 2))
            #expect(await bench.send(cdb(code, 2048, 1, flags: 0)).sense == .addressOutOfRange)
            #expect(await bench.send(cdb(code, 2048, 0, flags: 0x02)).isGood)
            #expect(await bench.send(cdb(code, 2049, 0, flags: 0x02)).sense == .addressOutOfRange)
        }
    }

    @Test("VERIFY without data reads the medium, and tells what cannot be read")
    func verifyReads() throws {
        let storage = FaultyStorage(MemoryStorage(length: 1 << 20))
        storage.plan.add(Fault([.read], forever: true, range: ByteRange(at: 512 << 10, count: 1)))
        try Bench(FakeDrive(medium: storage)).run { bench in
            #expect(await bench.send(.ten(0x2F, 0, 1024)).isGood)
            #expect(await bench.send(.ten(0x2F, 0, 1025)).sense == .unrecoveredRead)
        }
        try Bench(blocks: 1 << 20).run { bench in
            #expect(await bench.send(.twelve(0xAF, 0, 65537)).sense == .invalidFieldInCDB)
        }
    }

    @Test("WRITE AND VERIFY stores durably and compares what it reads back", arguments: [0x2E, 0xAE, 0x8E] as [UInt8])
    func writeAndVerify(_ code: UInt8) throws {
        try Bench().run { bench in
            let data = bytes(4 * 512)
            for flags in [0x00, 0x02, 0x10] as [UInt8] {
                #expect(await bench.send(cdb(code, 1020, 4, flags: flags), data: data).isGood)
                #expect(bench.drive.writes.last == .fua)
            }
            #expect(await bench.send(.ten(0x28, 1020, 4)).data == data)
            #expect(await bench.send(cdb(code, 0, 1, flags: 0x06), data: bytes(512)).sense == .invalidFieldInCDB)
            #expect(await bench.send(cdb(code, 1021, 4, flags: 0x02), data: data).sense == .addressOutOfRange)
            bench.drive.isMediumReadOnly = true
            #expect(await bench.send(cdb(code, 0, 4, flags: 0), data: data).sense == .writeProtected)
        }
    }

    @Test("COMPARE AND WRITE writes where all is equal, and else nothing")
    func compareAndWrite() throws {
        try Bench().run { bench in
            for (address, count) in [(0, 1), (1023, 1), (769, 255)] as [(UInt64, UInt32)] {
                let size = Int(count) * 512
                let (old, new) = (bytes(size, seed: 2), bytes(size, seed: 3))
                #expect(await bench.send(.sixteen(0x8A, address, count), data: old).isGood)
                for place in [0, size / 2, size - 1] {
                    var other = old
                    other[place] ^= 0x10
                    let reply = await bench.send(.sixteen(0x89, address, count), data: other + new)
                    #expect(reply.sense == .miscompare && reply.information == UInt64(place))
                }
                #expect(await bench.send(.sixteen(0x88, address, count)).data == old)
                #expect(await bench.send(.sixteen(0x89, address, count, flags: 0x08), data: old + new).isGood)
                #expect(bench.drive.writes.last == .fua)
                #expect(await bench.send(.sixteen(0x88, address, count)).data == new)
            }
            #expect(await bench.send(.sixteen(0x89, 0, 0)).isGood)
            #expect(await bench.send(.sixteen(0x89, 1024, 1), data: bytes(1024)).sense == .addressOutOfRange)
            #expect(await bench.send(.sixteen(0x89, 0, 256)).sense == .invalidFieldInCDB)
            for count in [0, 512, 1023] {
                let reply = await bench.send(.sixteen(0x89, 0, 1), data: bytes(count))
                #expect(reply.sense == .invalidFieldInInformationUnit && reply.outcome.wanted == 1024)
            }
            for (count, data) in [(1, 2048), (0, 262_144)] as [(UInt32, Int)] {
                #expect(await bench.send(.sixteen(0x89, 0, count), data: bytes(data)).field?.byte == 13)
            }
        }
    }

    @Test("ORWRITE sets bits")
    func orWrite() throws {
        try Bench(blocks: 2048).run { bench in
            let (old, more) = (bytes(700 * 512, seed: 4), bytes(700 * 512, seed: 5))
            #expect(await bench.send(.ten(0x2A, 1, 700), data: old).isGood)
            #expect(await bench.send(.sixteen(0x8B, 1, 700), data: more).isGood)
            #expect(await bench.send(.ten(0x28, 1, 700)).data == zip(old, more).map { $0 | $1 })
            #expect(await bench.send(.sixteen(0x8B, 2048, 1), data: bytes(512)).sense == .addressOutOfRange)
            #expect(await bench.send(.sixteen(0x8B, 0, 1), data: bytes(511)).sense == .invalidFieldInInformationUnit)
        }
    }

    /// Storage that takes a moment for everything, so that commands meet.
    final class SlowStorage: Storage {
        let below: any Storage
        let context: SimulatedContext
        var length: UInt64 { below.length }
        var limits: StorageLimits { below.limits }

        init(_ below: any Storage, _ context: SimulatedContext) {
            self.below = below
            self.context = context
        }

        func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
            await context.yield()
            try await below.read(at: offset, into: &buffer)
            await context.yield()
        }
        func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
            await context.yield()
            try await below.write(at: offset, from: bytes, flags: flags)
        }
        func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
            await context.yield()
            try await below.zero(range, flags: flags)
        }
        func discard(_ range: ByteRange) async throws(BlockError) { try await below.discard(range) }
        func flush() async throws(BlockError) { try await below.flush() }
        func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await below.status(of: range) }
        func resize(to length: UInt64) async throws(BlockError) { try await below.resize(to: length) }
    }

    @Test(
        "of many COMPARE AND WRITE of one block each counts once, whatever else is written",
        arguments: 0..<8 as Range<UInt64>)
    func atomicity(_ seed: UInt64) throws {
        let drive = FakeDrive(medium: nil)
        let bench = Bench(drive, seed: seed)
        drive.medium = SlowStorage(MemoryStorage(length: 1 << 20), bench.context)
        var done = 0
        func block(_ value: UInt64) -> [UInt8] { value.bigEndianBytes + [UInt8](repeating: 0, count: 504) }
        for worker in 0..<4 {
            bench.context.spawn {
                for _ in 0..<5 {
                    while true {
                        let seen = await bench.send(.ten(0x28, 7, 1)).data
                        let next = block(seen.number(0..<8) + 1)
                        if await bench.send(.sixteen(0x89, 7, 1), data: seen + next).isGood { break }
                    }
                    // Bits of a neighbour, each worker's own.
                    _ = await bench.send(.sixteen(0x8B, 8, 1), data: block(1 << UInt64(worker)))
                }
                done += 1
            }
        }
        try bench.context.run { done == 4 }
        let end = try bench.context.complete { await bench.send(.ten(0x28, 7, 2)).data }
        #expect(end.number(0..<8) == 20 && end.number(512..<520) == 0xF)
    }

    @Test("a write that waited for its blocks does not reach a medium that came meanwhile")
    func changedMedium() throws {
        let drive = FakeDrive(kind: .removable, medium: nil)
        let bench = Bench(drive, seed: 1)
        drive.medium = SlowStorage(MemoryStorage(length: 1 << 20), bench.context)
        let fresh = MemoryStorage(length: 1 << 20)
        var outcomes: [SenseCode?] = []
        let zeros = [UInt8](repeating: 0, count: 512)
        for _ in 0..<3 {
            bench.context.spawn {
                let reply = await bench.send(.sixteen(0x89, 0, 1), data: zeros + [UInt8](repeating: 1, count: 512))
                outcomes.append(reply.isGood ? nil : reply.sense)
            }
        }
        bench.context.spawn {
            await bench.context.yield()
            drive.insert(fresh)
        }
        try bench.context.run { outcomes.count == 3 }
        #expect(outcomes.contains(.mediumMayHaveChanged))
        let bytes = try bench.context.complete { try await fresh.bytes(at: 0, count: 512) }
        #expect(bytes == zeros)
    }

    @Test(
        "an ordered command waits for those before it and holds up those behind it", arguments: 0..<4 as Range<UInt64>)
    func ordered(_ seed: UInt64) throws {
        let drive = FakeDrive(medium: nil)
        let bench = Bench(drive, seed: seed)
        drive.medium = SlowStorage(MemoryStorage(length: 1 << 20), bench.context)
        var order: [Int] = []
        for (index, attribute) in [SCSICommand.Attribute.simple, .ordered, .simple].enumerated() {
            bench.context.spawn {
                // They start in this order whatever the schedule.
                for _ in 0..<index * 2 { await bench.context.yield() }
                _ = await bench.send(.ten(0x28, UInt32(index), 8), attribute)
                order.append(index)
            }
        }
        try bench.context.run { order.count == 3 }
        #expect(order == [0, 1, 2])
    }

    @Test("PRE-FETCH and SYNCHRONIZE CACHE check their blocks; the latter makes all durable")
    func caches() throws {
        try Bench().run { bench in
            for (fetch, synchronize) in [(0x34, 0x35), (0x90, 0x91)] as [(UInt8, UInt8)] {
                #expect(await bench.send(cdb(fetch, 0, 1024, flags: 2)).isGood)
                #expect(await bench.send(cdb(fetch, 1024, 1, flags: 0)).sense == .addressOutOfRange)
                let flushes = bench.drive.flushes
                #expect(await bench.send(cdb(synchronize, 0, 0, flags: 6)).isGood)
                #expect(bench.drive.flushes == flushes + 1)
                #expect(await bench.send(cdb(synchronize, 1025, 0, flags: 0)).sense == .addressOutOfRange)
            }
        }
        let storage = FaultyStorage(MemoryStorage(length: 1 << 20))
        storage.plan.add(Fault([.flush], forever: true, error: .noSpace))
        try Bench(FakeDrive(medium: storage)).run { bench in
            #expect(await bench.send(.ten(0x35, 0, 0)).sense == .spaceAllocationFailed)
        }
    }

    @Test("there are no defects to read")
    func defects() throws {
        try Bench().run { bench in
            for format in [0, 3, 4, 5] as [UInt8] {
                #expect(
                    await bench.send([0x37, 0, 0x18 | format, 0, 0, 0, 0, 0, 255]).data == [0, 0x18 | format, 0, 0])
                let long = await bench.send([0xB7, 0x08 | format, 0, 0, 0, 0, 0, 0, 0, 255]).data
                #expect(long == [0, 0x08 | format, 0, 0, 0, 0, 0, 0])
            }
            #expect(await bench.send([0x37, 0, 0x19 | 6, 0, 0, 0, 0, 0, 255]).field?.byte == 2)
            #expect(await bench.send([0xB7, 0x07, 0, 0, 0, 0, 0, 0, 0, 255]).field?.byte == 1)
        }
    }
}
