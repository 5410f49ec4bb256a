import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("INQUIRY and its kin")
struct PrimaryTests {
    @Test(
        "standard data tells the type, whether the medium can be removed, and the standards",
        arguments: DriveKind.allCases)
    func standard(_ kind: DriveKind) throws {
        try Bench(kind: kind).run { bench in
            let data = await bench.send(.inquiry()).data
            #expect(data.count == 96 && data[4] == 91)
            #expect(data[0] == (kind == .tray ? 0x05 : 0x00))
            #expect(data[1] == (kind == .fixed ? 0x00 : 0x80))
            #expect(data[2] == 6 && data[3] & 0x0F == 2 && data[7] == 0x02)
            #expect(String(decoding: data[8..<16], as: UTF8.self) == "NACRE   ")
            #expect(String(decoding: data[16..<32], as: UTF8.self).hasPrefix(kind == .tray ? "CD-ROM " : "DISK "))
            #expect(data.number(58..<64) == (kind == .tray ? 0x00A0_0460_04E0 : 0x00A0_0460_04C0))
        }
    }

    @Test("every allocation length cuts the data, and nothing else")
    func allocationLength() throws {
        try Bench().run { bench in
            let whole = await bench.send(.inquiry()).data
            for length in (0...300).map(UInt16.init) + [511, 512, .max] {
                let reply = await bench.send(.inquiry(page: nil, length))
                #expect(reply.isGood && reply.data == Array(whole.prefix(Int(length))))
                #expect(reply.outcome.wanted == UInt64(reply.data.count))
            }
        }
    }

    @Test("the pages of vital product data are listed in order, and each can be read", arguments: DriveKind.allCases)
    func pages(_ kind: DriveKind) throws {
        try Bench(kind: kind).run { bench in
            let list = await bench.send(.inquiry(page: 0)).data
            #expect(Array(list[4...]) == (kind == .tray ? [0, 0x80, 0x83] : [0, 0x80, 0x83, 0xB0, 0xB1, 0xB2]))
            for page in 0...255 as ClosedRange<UInt8> {
                let reply = await bench.send(.inquiry(page: page))
                guard list[4...].contains(page) else {
                    #expect(reply.sense == .invalidFieldInCDB && reply.field?.byte == 2)
                    continue
                }
                #expect(reply.isGood && reply.data[0] & 0x1F == (kind == .tray ? 5 : 0) && reply.data[1] == page)
                #expect(reply.data.count == 4 + Int(reply.data.number(2..<4)))
            }
            #expect(await bench.send([0x12, 0, 0x80, 0, 255]).sense == .invalidFieldInCDB)
            #expect(await bench.send([0x12, 0x02, 0, 0, 255]).field == .init(inCDB: true, byte: 1, bit: 1))
        }
    }

    @Test("a unit is named the same whenever it is made, and otherwise than any other")
    func identification() throws {
        func identity(_ drive: String, _ serial: String? = nil) throws -> (serial: [UInt8], naa: [UInt8], all: [UInt8])
        {
            let bench = Bench(FakeDrive(drive, medium: MemoryStorage(length: 512)))
            bench.target.attach(FakeDrive(drive + "b", medium: nil), lun: 1, serial: serial)
            let lun: UInt64 = serial == nil ? 0 : 1 << 48
            let serial = try bench.context.complete { await bench.send(.inquiry(page: 0x80), lun: lun).data }
            let page = try bench.context.complete { await bench.send(.inquiry(page: 0x83, 1024), lun: lun).data }
            return (Array(serial[4...]), Array(page[8..<16]), Array(page[4...]))
        }
        let one = try identity("one")
        #expect(try identity("one") == one)
        #expect(try identity("two").naa != one.naa && identity("two").serial != one.serial)
        #expect(one.serial.count == 16 && one.naa[0] >> 4 == 3)
        let named = try identity("one", "S\u{1F4BF}N" + String(repeating: "x", count: 300))
        #expect(named.serial.count == 64 && named.serial.prefix(2) == [UInt8(ascii: "S"), UInt8(ascii: "_")])
        // Every designator fits the page.
        var rest = one.all[...]
        var kinds: [UInt8] = []
        while rest.count >= 4 {
            kinds.append(rest[rest.startIndex + 1])
            rest = rest.dropFirst(4 + Int(rest[rest.startIndex + 3]))
        }
        #expect(rest.isEmpty && kinds == [0x03, 0x01, 0x98, 0x94, 0xA8])
        let text = String(decoding: one.all, as: UTF8.self)
        #expect(text.contains(Bench.name + ",t,0x0001\0"))
    }

    @Test("the block limits are those that are kept")
    func limits() throws {
        try Bench().run { bench in
            let page = await bench.send(.inquiry(page: 0xB0)).data
            #expect(page.count == 64 && page[4] == 0 && page[5] == 255)
            #expect(page.number(6..<8) == 8 && page.number(8..<12) == 65536 && page.number(12..<16) == 8)
            #expect(page.number(20..<24) == 1 << 20 && page.number(24..<28) == 256 && page.number(28..<32) == 1)
            #expect(page[32] == 0x80 && page.number(36..<44) == 1 << 15)
            #expect(await bench.send(.inquiry(page: 0xB1)).data.number(4..<6) == 1)
            #expect(Array(await bench.send(.inquiry(page: 0xB2)).data[4...]) == [0, 0xE4, 2, 0])
            let capacity = await bench.send(.readCapacity16()).data
            #expect(capacity.number(0..<8) == 1023 && capacity.number(8..<12) == 512)
            #expect(capacity[13] == 3 && capacity[14] == 0xC0 && capacity.count == 32)
        }
    }

    @Test("a drive that cannot give space back is not thin, and knows no UNMAP")
    func notThin() throws {
        let plain = MemoryStorage(SparseBytes(length: 1 << 20), limits: StorageLimits())
        try Bench(FakeDrive(medium: plain)).run { bench in
            #expect(await bench.send(.readCapacity16()).data[14] == 0)
            #expect(Array(await bench.send(.inquiry(page: 0xB2)).data[4...]) == [0, 0, 0, 0])
            #expect(await bench.send(.inquiry(page: 0xB0)).data.number(20..<36) == 0)
            #expect(await bench.send([0x42]).sense == .invalidOperationCode)
            #expect(
                await bench.send(.ten(0x41, 0, 1, flags: 0x08), data: [UInt8](repeating: 0, count: 512)).sense
                    == .invalidFieldInCDB)
            #expect(await bench.send([0xA3, 0x0C, 1, 0x42, 0, 0, 0, 0, 1, 0]).data == [0, 1, 0, 0])
        }
    }

    @Test("READ CAPACITY tells what fits its field, and refuses a medium without blocks")
    func capacity() throws {
        for (blocks, last) in [(1, 0), (1 << 32, 0xFFFF_FFFF), (1 << 33, 0xFFFF_FFFF)] as [(UInt64, UInt64)] {
            try Bench(blocks: blocks).run { bench in
                let short = await bench.send(.readCapacity10).data
                #expect(short.number(0..<4) == last && short.number(4..<8) == 512 && short.count == 8)
                #expect(await bench.send(.readCapacity16()).data.number(0..<8) == blocks - 1)
            }
        }
        try Bench(blocks: 0).run { bench in
            #expect(await bench.send(.readCapacity10).sense == .mediumFormatCorrupted)
            #expect(await bench.send(.readCapacity16()).sense == .mediumFormatCorrupted)
            #expect(await bench.send(.ten(0x28, 0, 0)).isGood)
            #expect(await bench.send(.ten(0x28, 0, 1)).sense == .addressOutOfRange)
        }
        try Bench().run { bench in
            #expect(await bench.send([0x25, 0, 0, 0, 0, 1]).sense == .invalidFieldInCDB)
            for length in 0...33 as ClosedRange<UInt32> {
                #expect(await bench.send(.readCapacity16(length)).data.count == min(32, Int(length)))
            }
        }
    }

    // MARK: LUNs

    @Test("a number is found in each form of its field, and in no other")
    func addressing() {
        let found: [(UInt64, UInt16)] = [
            (0, 0), (7 << 48, 7), (0x00FF << 48, 0xFF), (0x4000 << 48, 0), (0x4005 << 48, 5), (0x7FFF << 48, 0x3FFF),
            (0xD200_0000 << 32, 0), (0xD200_0005 << 32, 5), (0xD200_FFFF << 32, 0xFFFF),
        ]
        for (field, number) in found { #expect(LUN.decode(field) == number) }
        let lost: [UInt64] = [
            1, 0x0100 << 48, 0x8000 << 48, 0xC101 << 48, 0xD201_0000 << 32, 0xD200_0005 << 32 | 1, .max, 1 << 32,
            0x4005 << 48 | 1 << 40,
        ]
        for field in lost { #expect(LUN.decode(field) == nil, "\(String(field, radix: 16))") }
        for number in 0...UInt16.max { #expect(LUN.decode(LUN.encode(number)) == number) }
    }

    @Test("REPORT LUNS lists the units, and well known ones are none")
    func reportUnits() throws {
        let bench = Bench()
        for number in [1, 300, 0x4001] as [UInt16] {
            bench.target.attach(FakeDrive("d\(number)", medium: nil), lun: number)
        }
        try bench.run { bench in
            for selection in [0, 2] as [UInt8] {
                let data = await bench.send(.reportUnits(selection)).data
                #expect(data.number(0..<4) == 32 && data.count == 40)
                #expect(data.number(16..<24) == 1 << 48 && data.number(24..<32) == 0x412C << 48)
                #expect(data.number(32..<40) == 0xD200_4001 << 32)
            }
            #expect(await bench.send(.reportUnits(1)).data == [UInt8](repeating: 0, count: 8))
            #expect(await bench.send(.reportUnits(3)).field?.byte == 2)
            #expect(await bench.send(.reportUnits(0, 15)).field?.byte == 6)
            #expect(await bench.send(.reportUnits(0, 16)).data.number(0..<4) == 32)
            #expect(await bench.send(.reportUnits(0, .max)).data.count == 40)
        }
    }

    @Test("where no unit is, INQUIRY says so, REQUEST SENSE too, and all else is refused")
    func absent() throws {
        try Bench().run { bench in
            for lun in [5 << 48, 0x0100 << 48, .max] as [UInt64] {
                #expect(await bench.send(.inquiry(), lun: lun).data.first == 0x7F)
                #expect(await bench.send(.inquiry(page: 0x83), lun: lun).sense == .invalidFieldInCDB)
                let sense = await bench.send(.requestSense(), lun: lun)
                #expect(sense.isGood && SenseBytes(sense.data)?.code == .unitNotSupported)
                for cdb in [.testUnitReady, .reportUnits(), .readCapacity10, .ten(0x28, 0, 1), [0xFF]] as [CDB] {
                    #expect(await bench.send(cdb, lun: lun).sense == .unitNotSupported)
                }
            }
            await bench.target.detach(lun: 0)
            #expect(await bench.send(.reportUnits()).data == [UInt8](repeating: 0, count: 8))
            #expect(await bench.send(.testUnitReady).sense == .unitNotSupported)
            #expect(await bench.target.reset(lun: 0, by: bench.nexus) == false)
        }
    }

    // MARK: Supported commands

    @Test("the list of commands is what each is told to be alone, and what works", arguments: DriveKind.allCases)
    func supportedCommands(_ kind: DriveKind) throws {
        try Bench(kind: kind).run { bench in
            let rows = try bench.unit.operations.rows
            let list = await bench.send([0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]).data
            #expect(list.count == 4 + 8 * rows.count && list.number(0..<4) == UInt64(8 * rows.count))
            for (index, row) in rows.enumerated() {
                let entry = Array(list[(4 + 8 * index)..<(12 + 8 * index)])
                #expect(entry[0] == row.code && entry.number(2..<4) == UInt64(row.action ?? 0))
                #expect(entry[5] == (row.action == nil ? 0 : 1) && entry.number(6..<8) == UInt64(row.usage.count))
                let lengths = [6, 10, 10, 0, 16, 12, 0, 0]
                #expect(row.usage.count == lengths[Int(row.code >> 5)], "\(row.name)")
                for option in [row.action == nil ? 1 : 2, 3] as [UInt8] {
                    let action = (row.action ?? 0).bigEndianBytes
                    let one = await bench.send(CDB([0xA3, 0x0C, option, row.code] + action + [0, 0, 1, 0])).data
                    #expect(Array(one[..<2]) == [0, 3] && Array(one[4...]) == row.usage, "\(row.name)")
                    let timed = await bench.send(CDB([0xA3, 0x0C, option | 0x80, row.code] + action + [0, 0, 1, 0]))
                        .data
                    #expect(timed[1] == 0x83 && timed.count == one.count + 12)
                }
            }
            let timed = await bench.send([0xA3, 0x0C, 0x80, 0, 0, 0, 0, 0, 0xFF, 0xFF]).data
            #expect(timed.count == 4 + 20 * rows.count && timed[9] & 2 == 2 && timed.number(12..<14) == 0x0A)
        }
    }

    @Test("asked wrongly for a command it is refused, and one that is not there is told")
    func oneCommand() throws {
        try Bench().run { bench in
            func ask(_ option: UInt8, _ code: UInt8, _ action: UInt8 = 0) async -> Reply {
                await bench.send([0xA3, 0x0C, option, code, 0, action, 0, 0, 1, 0])
            }
            #expect(await ask(1, 0x9E).field?.byte == 2)
            #expect(await ask(2, 0x28).field?.byte == 2)
            for option in 4...7 as ClosedRange<UInt8> { #expect(await ask(option, 0x28).sense == .invalidFieldInCDB) }
            for (option, code) in [(1, 0x83), (2, 0x83), (3, 0x83), (3, 0xFF)] as [(UInt8, UInt8)] {
                #expect(await ask(option, code).data == [0, 1, 0, 0])
            }
            #expect(await ask(2, 0x9E, 0x1F).data == [0, 1, 0, 0])
            #expect(await ask(3, 0x28, 1).data == [0, 1, 0, 0])
            #expect(await bench.send([0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 16]).data == [0xD8, 0, 0, 0])
            #expect(await bench.send([0xA3, 0x0D, 0x80, 0, 0, 0, 0, 0, 0, 16]).data.count == 16)
            #expect(await bench.send([0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 3]).sense == .invalidFieldInCDB)
            #expect(await bench.send([0xA3, 0x01]).field == .init(inCDB: true, byte: 1, bit: 4))
        }
    }

    @Test("R64: commands that are not in the table are refused, those that copy between units among them")
    func refused() throws {
        try Bench().run { bench in
            let known = Set(try bench.unit.operations.rows.map(\.code))
            #expect(!known.contains(0x83) && !known.contains(0x84))
            for code in 0...255 as ClosedRange<UInt8> where !known.contains(code) {
                let reply = await bench.send(CDB([code] + [UInt8](repeating: 0xFF, count: 15)))
                #expect(reply.sense == .invalidOperationCode && reply.plan == .none)
            }
        }
    }

    @Test("every bit that a command does not know is refused, and pointed at", arguments: DriveKind.allCases)
    func unknownBits(_ kind: DriveKind) throws {
        try Bench(kind: kind).run { bench in
            for row in try bench.unit.operations.rows {
                for index in 1..<16 {
                    for bit in 0..<8 {
                        let used = index < row.usage.count ? row.usage[index] : 0
                        if used & 1 << UInt8(bit) != 0 || index == 1 && row.action != nil && bit < 5 { continue }
                        var cdb = CDB([row.code, UInt8(row.action ?? 0)])
                        cdb[index] |= 1 << UInt8(bit)
                        let reply = await bench.send(cdb)
                        #expect(reply.sense == .invalidFieldInCDB && reply.plan == .none, "\(row.name) \(index).\(bit)")
                        #expect(reply.field == .init(inCDB: true, byte: index, bit: bit))
                    }
                }
            }
        }
    }
}
