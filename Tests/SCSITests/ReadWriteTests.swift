import Block
import BlockTestKit
import Bytes

@testable import SCSI
import Testing

@Suite("READ and WRITE")
struct ReadWriteTests {
    /// A command of each length: its read and its write code.
    struct Form: Sendable, CustomTestStringConvertible {
        let read: UInt8
        let write: UInt8
        let bytes: Int
        var testDescription: String { "\(bytes)" }

        func cdb(_ code: UInt8, _ address: UInt64, _ count: UInt32, flags: UInt8 = 0) -> CDB {
            switch bytes {
            case 6: .six(code, UInt32(address), UInt8(truncatingIfNeeded: count))
            case 10: .ten(code, UInt32(address), UInt16(count), flags: flags)
            case 12: .twelve(code, UInt32(address), count, flags: flags)
            default: .sixteen(code, address, count, flags: flags)
            }
        }
    }

    static let forms = [
        Form(read: 0x08, write: 0x0A, bytes: 6), Form(read: 0x28, write: 0x2A, bytes: 10),
        Form(read: 0xA8, write: 0xAA, bytes: 12), Form(read: 0x88, write: 0x8A, bytes: 16),
    ]

    @Test("what is written is read back, at the start and up to the last block", arguments: forms)
    func roundTrip(_ form: Form) throws {
        try Bench(blocks: 1024).run { bench in
            for (address, count) in [(0, 1), (3, 5), (1023, 1), (1000, 24), (0, 256)] as [(UInt64, UInt32)] {
                let data = (0..<Int(count) * 512).map { UInt8(truncatingIfNeeded: $0 / 7 + Int(address)) }
                let write = await bench.send(form.cdb(form.write, address, count), data: data)
                #expect(write.isGood && write.outcome.wanted == UInt64(data.count))
                let read = await bench.send(form.cdb(form.read, address, count))
                #expect(read.isGood && read.data == data && read.outcome.wanted == UInt64(data.count))
            }
        }
    }

    @Test("beyond the last block nothing is read or written, not even no blocks", arguments: forms)
    func beyondTheEnd(_ form: Form) throws {
        try Bench(blocks: 1024).run { bench in
            var places: [(UInt64, UInt32)] = [(1024, 1), (1023, 2), (1025, 1)]
            if form.bytes > 6 { places += [(1025, 0), (0xFFFF_FFFF, 0), (0x8000_0000, 1), (0xFFFF_FFFF, 2)] }
            if form.bytes == 16 { places += [(1 << 63, 0), (.max, 0), (.max, 1), (.max, 16), (1 << 55, 1)] }
            for (address, count) in places {
                let data = [UInt8](repeating: 1, count: Int(count) * 512)
                #expect(await bench.send(form.cdb(form.read, address, count)).sense == .addressOutOfRange)
                #expect(await bench.send(form.cdb(form.write, address, count), data: data).sense == .addressOutOfRange)
            }
        }
    }

    @Test("no blocks are moved where the count is 0, but for the six-byte form where it means 256", arguments: forms)
    func noBlocks(_ form: Form) throws {
        try Bench(blocks: 1024).run { bench in
            let read = await bench.send(form.cdb(form.read, 1024 - 256, 0))
            #expect(read.isGood && read.data.count == (form.bytes == 6 ? 256 * 512 : 0))
            if form.bytes > 6 { #expect(await bench.send(form.cdb(form.read, 1024, 0)).isGood) }
        }
    }

    @Test("a transfer of more than 32 MiB is refused before anything is moved")
    func longest() throws {
        try Bench(blocks: 1 << 20).run { bench in
            for (read, write) in [(0xA8, 0xAA), (0x88, 0x8A)] as [(UInt8, UInt8)] {
                for (count, fits) in [(65536, true), (65537, false), (.max, false)] as [(UInt32, Bool)] {
                    let cdb = read == 0xA8 ? CDB.twelve(read, 0, count) : .sixteen(read, 0, count)
                    let reply = await bench.send(cdb)
                    #expect(reply.isGood == fits && (fits || reply.plan == .none))
                    if !fits { #expect(reply.sense == .invalidFieldInCDB) }
                    var out = cdb
                    out[0] = write
                    if !fits { #expect(await bench.send(out, data: [1]).sense == .invalidFieldInCDB) }
                }
            }
        }
    }

    @Test("protection information is refused, and the field is pointed at", arguments: forms.dropFirst())
    func protection(_ form: Form) throws {
        try Bench().run { bench in
            for protect in 1...7 as ClosedRange<UInt8> {
                for code in [form.read, form.write] {
                    let reply = await bench.send(form.cdb(code, 0, 1, flags: protect << 5), data: [])
                    #expect(reply.sense == .invalidFieldInCDB && reply.plan == .none)
                    #expect(reply.field?.inCDB == true && reply.field?.byte == 1)
                }
            }
        }
    }

    @Test("FUA makes a write durable, DPO changes nothing, and without a write cache every write is durable")
    func forced() throws {
        try Bench().run { bench in
            let data = [UInt8](repeating: 7, count: 512)
            for form in Self.forms.dropFirst() {
                for (flags, fua) in [(0, false), (0x10, false), (0x08, true), (0x18, true)] as [(UInt8, Bool)] {
                    #expect(await bench.send(form.cdb(form.write, 0, 1, flags: flags), data: data).isGood)
                    #expect(bench.drive.writes.last == (fua ? .fua : []))
                    let flushes = bench.drive.flushes
                    #expect(await bench.send(form.cdb(form.read, 0, 1, flags: flags)).isGood)
                    #expect(bench.drive.flushes - flushes == (fua ? 1 : 0))
                }
            }
            // The FUA bit's place is part of the address in the six-byte form.
            #expect(await bench.send(.six(0x0A, 0, 1), data: data).isGood)
            #expect(bench.drive.writes.last == [])
            try bench.unit.mode.hasWriteCache = false
            #expect(await bench.send(.ten(0x2A, 0, 1), data: data).isGood)
            #expect(bench.drive.writes.last == .fua)
        }
    }

    @Test("a write whose data did not all come stores the whole blocks that did, and tells how much it wanted")
    func shortData() throws {
        try Bench().run { bench in
            for count in [0, 200, 512, 1023] {
                let writes = bench.drive.writes.count
                let data = [UInt8](repeating: 9, count: count)
                let reply = await bench.send(.ten(0x2A, 0, 2), data: data)
                #expect(reply.isGood && reply.outcome.wanted == 1024)
                #expect(bench.drive.writes.count == writes + (count < 512 ? 0 : 1))
            }
            // More than it wants is left alone.
            let more = await bench.send(.ten(0x2A, 0, 1), data: [UInt8](repeating: 9, count: 10000))
            #expect(more.isGood && more.outcome.wanted == 512)
        }
    }

    @Test("a medium that cannot be written is DATA PROTECT")
    func writeProtected() throws {
        try Bench().run { bench in
            bench.drive.isMediumReadOnly = true
            let data = [UInt8](repeating: 9, count: 512)
            for form in Self.forms {
                #expect(await bench.send(form.cdb(form.write, 0, 1), data: data).sense == .writeProtected)
                #expect(await bench.send(form.cdb(form.read, 0, 1)).isGood)
            }
        }
    }

    @Test("each failure of the drive has its sense")
    func failures() throws {
        let expected: [(BlockError, SenseCode, SenseCode)] = [
            (.io, .unrecoveredRead, .writeFailed), (.noSpace, .spaceAllocationFailed, .spaceAllocationFailed),
            (.readOnly, .writeProtected, .writeProtected), (.outOfRange, .addressOutOfRange, .addressOutOfRange),
            (.noMedium, .mediumNotPresent, .mediumNotPresent), (.fenced, .unrecoveredRead, .writeFailed),
            (.corrupt, .unrecoveredRead, .writeFailed), (.system(61), .unrecoveredRead, .writeFailed),
            (.closed, .unitCommunicationFailure, .unitCommunicationFailure), (.busy, .notReady, .notReady),
            (.limit, .insufficientResources, .insufficientResources), (.permission, .accessDenied, .accessDenied),
            (.invalid, .internalTargetFailure, .internalTargetFailure),
            (.unsupported, .internalTargetFailure, .internalTargetFailure),
        ]
        for (error, read, write) in expected {
            let storage = FaultyStorage(MemoryStorage(length: 1 << 20))
            storage.plan.add(Fault([.read, .write], forever: true, error: error))
            try Bench(FakeDrive(medium: storage)).run { bench in
                let reply = await bench.send(.ten(0x28, 0, 1))
                #expect(reply.sense == read && reply.outcome.dataInCount == 0)
                #expect(await bench.send(.ten(0x2A, 0, 1), data: [UInt8](repeating: 1, count: 512)).sense == write)
            }
        }
    }
}
