import Block
import BlockTestKit
import Bytes
import Testing

@testable import SCSI

@Suite("WRITE SAME, UNMAP, GET LBA STATUS")
struct ProvisioningTests {
    static let block = (0..<512).map { UInt8(truncatingIfNeeded: $0 % 251 + 1) }
    static let zeros = [UInt8](repeating: 0, count: 512)

    private func same(_ code: UInt8, _ address: UInt64, _ count: UInt32, flags: UInt8 = 0) -> CDB {
        code == 0x41
            ? .ten(code, UInt32(truncatingIfNeeded: address), UInt16(count), flags: flags)
            : .sixteen(code, address, count, flags: flags)
    }

    /// UNMAP with its list. `length` overrides the length that the list tells of its descriptors.
    private func unmap(_ runs: [(UInt64, UInt32)], length: Int? = nil, flags: UInt8 = 0) -> (cdb: CDB, data: [UInt8]) {
        var body: [UInt8] = []
        for (address, count) in runs { body += address.bigEndianBytes + count.bigEndianBytes + [0, 0, 0, 0] }
        let length = UInt16(truncatingIfNeeded: length ?? body.count)
        let data =
            UInt16(truncatingIfNeeded: body.count + 6).bigEndianBytes + length.bigEndianBytes + [0, 0, 0, 0] + body
        return (CDB([0x42, flags, 0, 0, 0, 0, 0] + UInt16(data.count).bigEndianBytes), data)
    }

    @Test(
        "WRITE SAME repeats a block; zeros are zeroed, and unmapped where asked for",
        arguments: [0x41, 0x93] as [UInt8])
    func writeSame(_ code: UInt8) throws {
        try Bench(blocks: 4096).run { bench in
            #expect(await bench.send(same(code, 5, 700), data: Self.block).isGood)
            let data = await bench.send(.ten(0x28, 4, 702)).data
            #expect(data == Self.zeros + (0..<700).flatMap { _ in Self.block } + Self.zeros)
            #expect(await bench.send(same(code, 6, 2), data: Self.zeros).isGood)
            #expect(bench.drive.zeros.last == [])
            #expect(await bench.send(same(code, 9, 2, flags: 0x08), data: Self.zeros).isGood)
            #expect(bench.drive.zeros.last == .mayUnmap)
            // Without any data, as initiators before NDOB did.
            #expect(await bench.send(same(code, 12, 1, flags: 0x08)).isGood)
            let after = await bench.send(.ten(0x28, 5, 9)).data
            let zeroed = [1, 2, 4, 5, 7]
            #expect(after == (0..<9).flatMap { zeroed.contains($0) ? Self.zeros : Self.block })
            // What is not zero is written even where it may be unmapped.
            #expect(await bench.send(same(code, 6, 1, flags: 0x08), data: Self.block).isGood)
            #expect(await bench.send(.ten(0x28, 6, 1)).data == Self.block)
        }
    }

    @Test(
        "no blocks mean all that follow, up to the limit that the block limits tell",
        arguments: [0x41, 0x93] as [UInt8])
    func noBlocks(_ code: UInt8) throws {
        try Bench(blocks: 40000).run { bench in
            let limit = LogicalUnit.writeSameLimit
            #expect(await bench.send(same(code, 40000 - limit, 0), data: Self.zeros).isGood)
            #expect(await bench.send(same(code, 40000 - limit - 1, 0), data: Self.zeros).sense == .invalidFieldInCDB)
            #expect(await bench.send(same(code, 0, UInt32(limit)), data: Self.zeros).isGood)
            let field = await bench.send(same(code, 0, UInt32(limit) + 1), data: Self.zeros).field
            #expect(field?.byte == (code == 0x41 ? 7 : 10))
            #expect(await bench.send(same(code, 40000, 0), data: Self.zeros).isGood)
            for address in [40001, 0x8000_0000, 0xFFFF_FFFF] as [UInt64] {
                #expect(await bench.send(same(code, address, 0), data: Self.zeros).sense == .addressOutOfRange)
            }
            #expect(await bench.send(same(code, 39999, 2), data: Self.zeros).sense == .addressOutOfRange)
        }
    }

    @Test("WRITE SAME refuses anchors and data of another length; NDOB has none")
    func writeSameRefused() throws {
        try Bench().run { bench in
            for code in [0x41, 0x93] as [UInt8] {
                #expect(await bench.send(same(code, 0, 1, flags: 0x10), data: Self.zeros).field?.bit == 4)
                #expect(await bench.send(same(code, 0, 1, flags: 0x18), data: Self.zeros).field?.bit == 4)
                for count in [256, 1024] {
                    let data = [UInt8](repeating: 0, count: count)
                    for flags in [0, 8] as [UInt8] {
                        #expect(
                            await bench.send(same(code, 0, 1, flags: flags), data: data).sense
                                == .invalidFieldInInformationUnit)
                    }
                }
                #expect(await bench.send(same(code, 0, 1)).sense == .invalidFieldInInformationUnit)
                bench.drive.isMediumReadOnly = true
                #expect(await bench.send(same(code, 0, 1), data: Self.zeros).sense == .writeProtected)
                bench.drive.isMediumReadOnly = false
            }
            #expect(await bench.send(.ten(0x2A, 0, 1), data: Self.block).isGood)
            let reply = await bench.send(same(0x93, 0, 1, flags: 0x01))
            #expect(reply.isGood && reply.plan == .none)
            #expect(await bench.send(.ten(0x28, 0, 1)).data == Self.zeros)
            #expect(await bench.send(same(0x41, 0, 1, flags: 0x01), data: Self.zeros).sense == .invalidFieldInCDB)
        }
    }

    @Test("UNMAP makes each run read as zeros")
    func unmapRuns() throws {
        try Bench().run { bench in
            #expect(await bench.send(same(0x93, 0, 1024), data: Self.block).isGood)
            let (cdb, data) = unmap([(3, 2), (8, 0), (1023, 1), (4, 3), (1024, 0)])
            #expect(await bench.send(cdb, data: data).isGood)
            let after = await bench.send(.ten(0x28, 0, 1024)).data
            #expect(after == (0..<1024).flatMap { [3, 4, 5, 6, 1023].contains($0) ? Self.zeros : Self.block })
            #expect(bench.drive.zeros.allSatisfy { $0 == .mayUnmap })
            for (cdb, data) in [unmap([]), (CDB([0x42]), [])] { #expect(await bench.send(cdb, data: data).isGood) }
        }
    }

    @Test("a drive that zeroes slowly is told to discard, and does not promise zeros")
    func discards() throws {
        let storage = MemoryStorage(SparseBytes(length: 1 << 20), limits: StorageLimits(discards: true))
        try Bench(FakeDrive(medium: storage)).run { bench in
            #expect(await bench.send(.readCapacity16()).data[14] == 0x80)
            let (cdb, data) = unmap([(0, 8)])
            #expect(await bench.send(cdb, data: data).isGood)
            #expect(bench.drive.discards == 1 && bench.drive.zeros.isEmpty)
        }
    }

    @Test("UNMAP of a list that is wrong in one place unmaps nothing")
    func unmapRefused() throws {
        try Bench(blocks: 1 << 22).run { bench in
            let limit = UInt32(LogicalUnit.unmapLimit)
            let cases: [([(UInt64, UInt32)], SenseCode)] = [
                ([(0, 1), (1 << 22, 1)], .addressOutOfRange), ([(0, 1), (.max, 1)], .addressOutOfRange),
                ([(0, 1), ((1 << 22) + 1, 0)], .addressOutOfRange), ([(0, limit + 1)], .invalidFieldInParameterList),
                ([(0, limit), (5, 1)], .invalidFieldInParameterList),
                ([(UInt64, UInt32)](repeating: (0, 1), count: 257), .invalidFieldInParameterList),
            ]
            for (runs, sense) in cases {
                let (cdb, data) = unmap(runs)
                #expect(await bench.send(cdb, data: data).sense == sense)
            }
            let (anchored, data) = unmap([(0, 1)], flags: 1)
            #expect(await bench.send(anchored, data: data).field == .init(inCDB: true, byte: 1, bit: 0))
            #expect(
                await bench.send([0x42, 0, 0, 0, 0, 0, 0, 0, 7], data: [0, 0, 0, 0, 0, 0, 0]).sense
                    == .parameterListLength)
            #expect(bench.drive.zeros.isEmpty && bench.drive.discards == 0)
            // A list is no longer than what came, and half a descriptor is none.
            let (long, list) = unmap([(7, 1)], length: 0xFFF0)
            #expect(await bench.send(long, data: list).isGood)
            let (half, part) = unmap([(9, 1)], length: 15)
            #expect(await bench.send(half, data: part).isGood)
            #expect(bench.drive.zeros.count == 1)
            bench.drive.isMediumReadOnly = true
            let (one, single) = unmap([(0, 1)])
            #expect(await bench.send(one, data: single).sense == .writeProtected)
        }
    }

    // MARK: GET LBA STATUS

    private func status(_ address: UInt64, _ length: UInt32 = 4096) -> CDB {
        CDB([0x9E, 0x12] + address.bigEndianBytes + length.bigEndianBytes)
    }

    /// Answers one run of mapped or unmapped blocks after another.
    final class Runs: Storage {
        let runs: [(count: UInt64, isMapped: Bool)]
        var length: UInt64 { runs.reduce(0) { $0 + $1.count } }
        let limits = StorageLimits(zeroesFast: true)
        private(set) var looks = 0

        init(_ runs: [(UInt64, Bool)]) { self.runs = runs.map { (count: $0.0, isMapped: $0.1) } }

        func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
            looks += 1
            var start: UInt64 = 0
            for run in runs {
                if start + run.count > range.start {
                    let count = min(start + run.count, range.end) - range.start
                    return BlockStatus(count: count, flags: run.isMapped ? [.data, .allocated] : [.zero])
                }
                start += run.count
            }
            throw .outOfRange
        }
        func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) { buffer.fill() }
        func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {}
        func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {}
        func discard(_ range: ByteRange) async throws(BlockError) {}
        func flush() async throws(BlockError) {}
        func resize(to length: UInt64) async throws(BlockError) {}
    }

    @Test("runs are told from the address on, neighbours of one kind as one, up to the room there is")
    func statusRuns() throws {
        let storage = Runs([(4096, true), (1024, true), (2560, false), (100, true), (924, false), (512, false)])
        try Bench(FakeDrive(medium: storage)).run { bench in
            func runs(_ data: [UInt8]) -> [[UInt64]] {
                stride(from: 8, to: data.count, by: 16).map {
                    [data.number($0..<$0 + 8), data.number($0 + 8..<$0 + 12), UInt64(data[$0 + 12])]
                }
            }
            let all = await bench.send(status(2)).data
            // A block that is mapped in part is mapped.
            #expect(runs(all) == [[2, 8, 0], [10, 5, 1], [15, 1, 0], [16, 2, 1]])
            #expect(all.number(0..<4) == UInt64(all.count - 4))
            let one = await bench.send(status(0, 24)).data
            #expect(runs(one) == [[0, 10, 0]] && one.count == 24)
            #expect(await bench.send(status(12, 40)).data.count == 40)
            #expect(await bench.send(status(0, 7)).data.count == 7)
            #expect(await bench.send(status(17)).isGood)
            for address in [18, 19, 1 << 63, .max] as [UInt64] {
                #expect(await bench.send(status(address, 24)).sense == .addressOutOfRange)
            }
        }
    }

    @Test("a status costs a bounded number of looks, however the medium is cut up")
    func statusLimit() throws {
        let storage = Runs((0..<2000).map { (512, $0 % 2 == 0) })
        try Bench(FakeDrive(medium: storage)).run { bench in
            let data = await bench.send(status(0, .max)).data
            #expect(data.count == 8 + 16 * 128 && storage.looks <= 129)
        }
        let huge = Runs([(1 << 42, false), (1 << 30, true)])
        try Bench(FakeDrive(medium: huge)).run { bench in
            let data = await bench.send(status(0)).data
            #expect(data.count == 24 && data.number(16..<20) == 0xFFFF_FFFF)
        }
    }
}
