import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("Discs")
struct DiscTests {
    private func contents(_ format: UInt8, track: UInt8 = 0, time: Bool = false, _ length: UInt16 = 4096) -> CDB {
        CDB([0x43, time ? 2 : 0, format, 0, 0, 0, track] + length.bigEndianBytes)
    }

    @Test("blocks have 2048 bytes, and are read only")
    func blocks() throws {
        let bytes = (0..<4 * 2048).map { UInt8(truncatingIfNeeded: $0 / 13) }
        try Bench(FakeDrive(kind: .tray, medium: MemoryStorage(SparseBytes(bytes + [1, 2, 3])))).run { bench in
            #expect(await bench.send(.readCapacity10).data == [0, 0, 0, 3, 0, 0, 8, 0])
            #expect(await bench.send(.ten(0x28, 1, 2)).data == Array(bytes[2048..<3 * 2048]))
            #expect(await bench.send(.twelve(0xA8, 0, 4)).data == bytes)
            // The rest that fills no block is not there.
            #expect(await bench.send(.ten(0x28, 4, 1)).sense == .addressOutOfRange)
            for code in [0x2A, 0x8A, 0x0A, 0x41, 0x88, 0x2F] as [UInt8] {
                #expect(await bench.send(CDB([code])).sense == .invalidOperationCode)
            }
        }
    }

    @Test("the table of contents has one data track and its end, as blocks and as times")
    func tableOfContents() throws {
        try Bench(blocks: 333_000, kind: .tray).run { bench in
            let whole = await bench.send(contents(0)).data
            #expect(whole == [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 5, 0x14, 0xC8])
            #expect(await bench.send(contents(0, track: 1)).data == whole)
            #expect(await bench.send(contents(0, track: 0xAA)).data == [0, 10, 1, 1] + whole[12...])
            #expect(await bench.send(contents(0, track: 2)).field?.byte == 6)
            // 333000 + 150 frames are 74:02:00.
            let time = await bench.send(contents(0, time: true)).data
            #expect(Array(time[8..<12]) == [0, 0, 2, 0] && Array(time[16..<20]) == [0, 74, 2, 0])
            #expect(await bench.send(contents(1)).data == [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0])
            let full = await bench.send(contents(2)).data
            #expect(full.count == 4 + 4 * 11 && full.number(0..<2) == 46)
            #expect([7, 18, 29, 40].map { full[$0] } == [0xA0, 0xA1, 0xA2, 1])
            #expect(Array(full[34..<37]) == [74, 2, 0] && Array(full[45..<48]) == [0, 2, 0])
            for format in 3...15 as ClosedRange<UInt8> {
                #expect(await bench.send(contents(format)).field == .init(inCDB: true, byte: 2, bit: 3))
            }
            for length in 0...20 as ClosedRange<UInt16> {
                #expect(await bench.send(contents(0, length)).data == Array(whole.prefix(Int(length))))
            }
        }
    }

    @Test("the disc is complete, its track fills it, and nothing plays")
    func information() throws {
        try Bench(blocks: 1000, kind: .tray).run { bench in
            let disc = await bench.send([0x51, 0, 0, 0, 0, 0, 0, 0, 255]).data
            #expect(disc.count == 34 && disc.number(0..<2) == 32 && disc[2] == 0x0E)
            #expect(await bench.send([0x51, 1, 0, 0, 0, 0, 0, 0, 255]).field?.byte == 1)
            for (type, number) in [(0, 0), (0, 999), (1, 1), (2, 1)] as [(UInt8, UInt32)] {
                let track = await bench.send(CDB([0x52, type] + number.bigEndianBytes + [0, 0, 255])).data
                #expect(track.count == 36 && track.number(0..<2) == 34 && track[2] == 1 && track[3] == 1)
                #expect(track.number(24..<28) == 1000 && track.number(28..<32) == 999)
            }
            #expect(await bench.send([0x52, 0, 0, 0, 3, 0xE8, 0, 0, 255]).sense == .addressOutOfRange)
            for (type, number) in [(1, 0), (1, 2), (2, 2), (3, 1)] as [(UInt8, UInt8)] {
                #expect(await bench.send([0x52, type, 0, 0, 0, number, 0, 0, 255]).sense == .invalidFieldInCDB)
            }
            func subChannel(_ format: UInt8, _ flags: UInt8 = 0x40, track: UInt8 = 0) async -> Reply {
                await bench.send([0x42, 2, flags, format, 0, 0, track, 0, 255])
            }
            #expect(await subChannel(9, 0).data == [0, 0x15, 0, 0])
            #expect(await subChannel(1).data == [0, 0x15, 0, 12, 1, 0x14, 1, 1, 0, 0, 2, 0, 0, 0, 2, 0])
            #expect(await subChannel(2).data.count == 24)
            #expect(await subChannel(3, track: 1).data.count == 24)
            #expect(await subChannel(3, track: 2).field?.byte == 6)
            for format in [0, 4, 255] as [UInt8] { #expect(await subChannel(format).field?.byte == 3) }
            #expect(
                await bench.send([0x23, 0, 0, 0, 0, 0, 0, 0, 255]).data == [0, 0, 0, 8, 0, 0, 3, 0xE8, 2, 0, 8, 0])
        }
    }

    /// The codes of the features that GET CONFIGURATION tells, after its profile.
    private func features(_ bench: Bench, _ type: UInt8, _ start: UInt16 = 0) async -> [UInt64] {
        let data = await bench.send(CDB([0x46, type] + start.bigEndianBytes + [0, 0, 0, 4, 0])).data
        #expect(data.number(0..<4) == UInt64(data.count - 4))
        var codes = [data.number(6..<8)]
        var place = 8
        while place + 4 <= data.count {
            codes.append(data.number(place..<place + 2))
            place += 4 + Int(data[place + 3])
        }
        #expect(place == data.count)
        return codes
    }

    @Test("what is longer than a CD is a DVD")
    func profiles() throws {
        try Bench(blocks: 360_000, kind: .tray).run { bench in
            #expect(await features(bench, 0) == [8, 0, 1, 3, 0x10, 0x1E, 0x1F, 0x100, 0x105])
            #expect(await features(bench, 1) == [8, 0, 1, 3, 0x10, 0x1E, 0x100, 0x105])
            #expect(await features(bench, 0, 0x1F) == [8, 0x1F, 0x100, 0x105])
            #expect(await features(bench, 2, 3) == [8, 3])
            #expect(await features(bench, 2, 4) == [8])
            #expect(await bench.send([0x46, 3, 0, 0, 0, 0, 0, 1, 0]).field == .init(inCDB: true, byte: 1, bit: 1))
        }
        try Bench(blocks: 360_001, kind: .tray).run { bench in
            #expect(await features(bench, 1) == [0x10, 0, 1, 3, 0x10, 0x1F, 0x100, 0x105])
        }
    }

    private func structure(_ bench: Bench, _ format: UInt8, type: UInt8 = 0, layer: UInt8 = 0) async -> Reply {
        await bench.send([0xAD, type, 0, 0, 0, 0, layer, format, 0xFF, 0xFF])
    }

    @Test("the structures of a DVD are told, and a CD has none")
    func structures() throws {
        try Bench(blocks: 360_000, kind: .tray).run { bench in
            #expect(await structure(bench, 0).sense == .cannotReadMedium)
        }
        try Bench(blocks: 360_001, kind: .tray).run { bench in
            let physical = await structure(bench, 0).data
            #expect(physical.count == 2052 && physical.number(0..<2) == 2050)
            #expect(physical.number(8..<12) == 0x03_0000 && physical.number(12..<16) == 0x03_0000 + 360_000)
            #expect(await structure(bench, 1).data == [0, 6, 0, 0, 0, 0, 0, 0])
            #expect(await structure(bench, 4).data.count == 2052)
            #expect(await structure(bench, 0xFF).data.count == 16)
            #expect(await structure(bench, 2).field?.byte == 7)
            #expect(await structure(bench, 0, type: 1).field?.byte == 1)
            #expect(await structure(bench, 0, layer: 1).field?.byte == 6)
        }
    }

    // MARK: READ CD

    private func readCD(_ address: UInt32, _ count: UInt8, type: UInt8 = 0, parts: UInt8, sub: UInt8 = 0) -> CDB {
        CDB([0xBE, type << 2] + address.bigEndianBytes + [0, 0, count, parts, sub])
    }

    @Test("READ CD gives the parts of a sector that are asked for")
    func readParts() throws {
        let bytes = (0..<8 * 2048).map { UInt8(truncatingIfNeeded: $0 / 11 + 3) }
        try Bench(FakeDrive(kind: .tray, medium: MemoryStorage(SparseBytes(bytes)))).run { bench in
            #expect(await bench.send(readCD(2, 3, parts: 0x10)).data == Array(bytes[2 * 2048..<5 * 2048]))
            let whole = await bench.send(readCD(2, 2, type: 2, parts: 0xF8)).data
            #expect(whole.count == 2 * 2352)
            let second = Array(whole[2352...])
            #expect(Array(second[..<16]) == [0] + [UInt8](repeating: 0xFF, count: 10) + [0, 0x00, 0x02, 0x03, 0x01])
            #expect(Array(second[16..<2064]) == Array(bytes[3 * 2048..<4 * 2048]))
            #expect(await bench.send(readCD(3, 1, parts: 0xB8)).data == second)
            #expect(await bench.send(readCD(3, 1, parts: 0x30)).data == Array(second[12..<2064]))
            #expect(await bench.send(readCD(3, 1, parts: 0x20)).data == Array(second[12..<16]))
            #expect(await bench.send(readCD(3, 1, parts: 0x08)).data == Array(second[2064...]))
            #expect(await bench.send(readCD(3, 1, parts: 0x00)).data == [])
            #expect(await bench.send(readCD(3, 0, parts: 0xF8)).data == [])
            #expect(await bench.send(readCD(7, 2, parts: 0x10)).sense == .addressOutOfRange)
            for type in [1, 3, 4, 5] as [UInt8] {
                #expect(await bench.send(readCD(0, 1, type: type, parts: 0x10)).sense == .illegalModeForTrack)
            }
            #expect(await bench.send(readCD(0, 1, type: 6, parts: 0x10)).field?.byte == 1)
            #expect(await bench.send(readCD(0, 1, parts: 0x12)).field == .init(inCDB: true, byte: 9, bit: 2))
            #expect(await bench.send(readCD(0, 1, parts: 0x10, sub: 1)).field == .init(inCDB: true, byte: 10, bit: 2))
        }
    }

    /// The product of two elements of GF(2^8) by the polynomial of ECMA-130.
    private func product(_ left: UInt8, _ right: UInt8) -> UInt8 {
        var left = left
        var result: UInt8 = 0
        for bit in 0..<8 {
            if right >> UInt8(bit) & 1 == 1 { result ^= left }
            left = left << 1 ^ (left & 0x80 != 0 ? 0x1D : 0)
        }
        return result
    }

    /// Whether both syndromes of a code word vanish: its sum, and its sum weighted by powers of 2, the last byte by 1.
    private func isCodeWord(_ word: [UInt8]) -> Bool {
        var sum: UInt8 = 0
        var weighted: UInt8 = 0
        for byte in word {
            sum ^= byte
            weighted = product(weighted, 2) ^ byte
        }
        return sum == 0 && weighted == 0
    }

    private func remainder(_ bytes: [UInt8]) -> UInt32 { CDSector.errorDetection(bytes.byteSpan) }

    @Test("the codes of a raw sector are those of ECMA-130: EDC, and P and Q parity whose syndromes vanish")
    func codes() throws {
        var random = SeededRandom(seed: 11)
        let bytes = random.bytes(2048)
        try Bench(FakeDrive(kind: .tray, medium: MemoryStorage(SparseBytes(bytes)))).run { bench in
            let sector = await bench.send(readCD(0, 1, parts: 0xF8)).data
            // A sector with its EDC leaves no remainder.
            #expect(remainder(Array(sector[..<2068])) == 0)
            #expect(Array(sector[2068..<2076]) == [UInt8](repeating: 0, count: 8))
            let body = Array(sector[12...])
            for plane in 0..<2 {
                for column in 0..<43 {
                    let word = (0..<26).map { body[2 * (column + 43 * $0) + plane] }
                    #expect(isCodeWord(word), "P \(column).\(plane)")
                }
                for diagonal in 0..<26 {
                    var word = (0..<43).map { body[2 * ((44 * $0 + 43 * diagonal) % 1118) + plane] }
                    word += [body[2 * (1118 + diagonal) + plane], body[2 * (1144 + diagonal) + plane]]
                    #expect(isCodeWord(word), "Q \(diagonal).\(plane)")
                }
            }
        }
    }
}
