import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("MODE SENSE and MODE SELECT")
struct ModeTests {
    static func sense6(_ page: UInt8, control: UInt8 = 0, _ length: UInt8 = 255, noDescriptor: Bool = true) -> CDB {
        [0x1A, noDescriptor ? 0x08 : 0, control << 6 | page, 0, length, 0]
    }
    static func sense10(_ page: UInt8, control: UInt8 = 0, flags: UInt8 = 0x08) -> CDB {
        [0x5A, flags, control << 6 | page, 0, 0, 0, 0, 0x04, 0, 0]
    }
    static func select6(_ data: [UInt8], flags: UInt8 = 0x10) -> CDB { [0x15, flags, 0, 0, UInt8(data.count), 0] }

    /// Page codes in the order told.
    private func codes(_ pages: [UInt8]) -> [UInt8] {
        var rest = pages[...]
        var codes: [UInt8] = []
        while rest.count >= 2 {
            codes.append(rest[rest.startIndex])
            rest = rest.dropFirst(2 + Int(rest[rest.startIndex + 1]))
        }
        return rest.isEmpty ? codes : []
    }

    @Test("all pages come in one answer or each alone, as they are, as they can be changed, and as they were made")
    func pages() throws {
        for kind in DriveKind.allCases {
            let expected: [UInt8] =
                kind == .tray ? [0x01, 0x0E, 0x1A, 0x1C, 0x1D, 0x2A] : [0x01, 0x08, 0x0A, 0x1C]
            try Bench(kind: kind).run { bench in
                for control in 0...2 as ClosedRange<UInt8> {
                    let all = await bench.send(Self.sense6(0x3F, control: control)).data
                    #expect(all.count == 1 + Int(all[0]) && codes(Array(all[4...])) == expected)
                    var each: [UInt8] = []
                    for code in expected {
                        let reply = await bench.send(Self.sense10(code, control: control))
                        #expect(reply.data.number(0..<2) == UInt64(reply.data.count - 2))
                        each += reply.data[8...]
                    }
                    #expect(each == Array(all[4...]))
                }
                for code in 0..<0x3F as Range<UInt8> where !expected.contains(code) {
                    #expect(await bench.send(Self.sense6(code)).field == .init(inCDB: true, byte: 2, bit: 5))
                }
                #expect(await bench.send(Self.sense6(0x3F, control: 3)).sense == .savingNotSupported)
                #expect(await bench.send([0x1A, 0x08, 0x3F, 0xFF, 255]).isGood)
                #expect(await bench.send([0x1A, 0x08, 0x3F, 0x01, 255]).field?.byte == 3)
                #expect(await bench.send(Self.sense6(0x3F, 4)).data.count == 4)
            }
        }
    }

    @Test("the header tells write protection and DPOFUA, the descriptor the blocks")
    func header() throws {
        try Bench().run { bench in
            let short = await bench.send(Self.sense6(0x01, noDescriptor: false)).data
            #expect(Array(short[..<12]) == [23, 0, 0x10, 8, 0, 0, 4, 0, 0, 0, 2, 0])
            let long = await bench.send(Self.sense10(0x01, flags: 0x10)).data
            #expect(long[4] == 1 && long.number(6..<8) == 16 && long.number(8..<16) == 1024)
            #expect(long.number(20..<24) == 512)
            bench.drive.isMediumReadOnly = true
            #expect(await bench.send(Self.sense6(0x01)).data[2] == 0x90)
        }
        try Bench(kind: .tray).run { bench in
            #expect(Array(await bench.send(Self.sense6(0x2A, noDescriptor: false)).data[..<4]) == [25, 0, 0, 0])
            #expect(await bench.send([0x1E, 0, 0, 0, 1]).isGood)
            #expect(await bench.send(Self.sense6(0x2A)).data[4 + 6] == 0x2B)
        }
    }

    @Test("WCE, D_SENSE and SWP are changed, told to the others, and gone after a reset")
    func select() throws {
        try Bench().run { bench in
            let other = try bench.join("b")
            var caching = Array(await bench.send(Self.sense6(0x08)).data[4...])
            caching[2] = 0
            var control = Array(await bench.send(Self.sense6(0x0A)).data[4...])
            control[2] |= 0x04
            control[4] |= 0x08
            let data = [0, 0, 0, 0] + caching + control
            #expect(await bench.send(Self.select6(data), data: data).isGood)
            #expect(await bench.send(.testUnitReady, by: other).sense == .modeParametersChanged)
            #expect(await bench.send(.testUnitReady).isGood)
            #expect(Array(await bench.send(Self.sense6(0x08)).data[4...]) == caching)
            #expect(Array(await bench.send(Self.sense6(0x0A)).data[4...]) == control)
            let protected = await bench.send(.ten(0x2A, 0, 1), data: [UInt8](repeating: 0, count: 512))
            #expect(protected.sense == .softwareWriteProtected && protected.outcome.sense.first == 0x72)
            #expect(await bench.send(.ten(0x28, 0, 1)).isGood)
            // The same again changes nothing, and nobody is told.
            #expect(await bench.send(Self.select6(data), data: data).isGood)
            #expect(await bench.send(.testUnitReady, by: other).isGood)
            #expect(await bench.target.reset(lun: 0, by: bench.nexus))
            #expect(try bench.unit.mode == ModeParameters())
        }
    }

    @Test("a list that is wrong in one place changes nothing, and the place is pointed at")
    func refused() throws {
        try Bench().run { bench in
            var caching = Array(await bench.send(Self.sense6(0x08)).data[4...])
            caching[2] = 0
            func refuse(_ data: [UInt8], _ sense: SenseCode, at byte: Int? = nil, flags: UInt8 = 0x10) async throws {
                let reply = await bench.send(Self.select6(data, flags: flags), data: data)
                #expect(reply.sense == sense && reply.field?.byte == byte)
                #expect(try bench.unit.mode == ModeParameters())
            }
            let header: [UInt8] = [0, 0, 0, 0]
            try await refuse(header + caching, .invalidFieldInCDB, at: 1, flags: 0x11)
            try await refuse(header + caching, .invalidFieldInCDB, at: 1, flags: 0x00)
            try await refuse([0, 0, 0], .parameterListLength)
            try await refuse([0, 1, 0, 0], .invalidFieldInParameterList, at: 1)
            try await refuse(header + caching.dropLast(), .parameterListLength)
            try await refuse(header + caching + [0x0A], .parameterListLength)
            var wrong = caching
            wrong[3] = 1
            try await refuse(header + caching + wrong, .invalidFieldInParameterList, at: 4 + 20 + 3)
            wrong = caching
            wrong[1] = 0x0A
            try await refuse(header + wrong, .invalidFieldInParameterList, at: 5)
            try await refuse(header + caching + [0x02, 0x0E], .invalidFieldInParameterList, at: 24)
            try await refuse(header + [0x48] + caching.dropFirst(), .invalidFieldInParameterList, at: 4)
            try await refuse([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0] + caching, .invalidFieldInParameterList, at: 8)
            try await refuse([0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 2, 0] + caching, .invalidFieldInParameterList, at: 4)
            try await refuse([0, 0, 0, 7, 0, 0, 0], .invalidFieldInParameterList, at: 3)
            try await refuse([0, 0, 0, 8, 0, 0, 0], .parameterListLength)
            #expect(await bench.send(Self.select6([]), data: []).isGood)
            let whole = [0, 0, 0, 8, 0, 0, 4, 0, 0, 0, 2, 0] + caching
            #expect(await bench.send(Self.select6(whole), data: whole).isGood)
            #expect(try !bench.unit.mode.hasWriteCache)
            // The ten-byte form, with a long descriptor.
            let long =
                [0, 0, 0, 0, 1, 0, 0, 16] + [UInt8](repeating: 0xFF, count: 8) + [0, 0, 0, 0, 0, 0, 2, 0] + caching
            #expect(await bench.send(CDB([0x55, 0x10, 0, 0, 0, 0, 0, 0, UInt8(long.count), 0]), data: long).isGood)
        }
    }
}
