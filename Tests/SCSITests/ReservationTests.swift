import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("Reservations")
struct ReservationTests {
    typealias Kind = PersistentReservations.Kind
    typealias Action = LogicalUnit.ReserveAction

    static func list(_ key: UInt64, _ other: UInt64 = 0, flags: UInt8 = 0) -> [UInt8] {
        key.bigEndianBytes + other.bigEndianBytes + [0, 0, 0, 0, flags, 0, 0, 0]
    }

    private func out(
        _ bench: Bench, _ action: Action, _ key: UInt64, _ other: UInt64 = 0, _ kind: UInt8 = 0,
        by nexus: SCSINexus? = nil,
        flags: UInt8 = 0
    ) async -> Reply {
        let cdb = CDB([0x5F, action.rawValue, kind, 0, 0, 0, 0, 0, 24])
        return await bench.send(cdb, data: Self.list(key, other, flags: flags), by: nexus)
    }

    private func read(_ bench: Bench, _ action: UInt8, _ length: UInt16 = 4096, by nexus: SCSINexus? = nil) async
        -> Reply
    {
        await bench.send(CDB([0x5E, action, 0, 0, 0, 0, 0] + length.bigEndianBytes), by: nexus)
    }

    private func keys(_ bench: Bench) async -> [UInt64] {
        let data = await read(bench, 0).data
        return stride(from: 8, to: data.count, by: 8).map { data.number($0..<$0 + 8) }
    }

    private func isWritten(_ bench: Bench, by nexus: SCSINexus) async -> Bool {
        await bench.send(.ten(0x2A, 0, 1), data: [UInt8](repeating: 1, count: 512), by: nexus).isGood
    }

    // MARK: RESERVE and RELEASE

    @Test("RESERVE keeps all others out until its nexus releases it, ends, or the unit is reset")
    func reserve() throws {
        for (reserve, release) in [(0x16, 0x17), (0x56, 0x57)] as [(UInt8, UInt8)] {
            try Bench().run { bench in
                let other = try bench.join("b")
                #expect(await bench.send([reserve]).isGood)
                #expect(await bench.send([reserve]).isGood)
                for cdb in [.testUnitReady, .ten(0x28, 0, 1), ModeTests.sense6(0x3F), [reserve]] as [CDB] {
                    #expect(await bench.send(cdb, by: other).outcome.status == .reservationConflict)
                    #expect(await bench.send(cdb).isGood)
                }
                for cdb in [.inquiry(), .reportUnits(), .requestSense(), [0x1E], [release]] as [CDB] {
                    #expect(await bench.send(cdb, by: other).isGood)
                }
                #expect(await bench.send(.testUnitReady, by: other).outcome.status == .reservationConflict)
                // Persistent reservations are out of reach meanwhile, for the holder as well.
                #expect(await read(bench, 0).outcome.status == .reservationConflict)
                #expect(await out(bench, .register, 0, 1).outcome.status == .reservationConflict)
                #expect(await bench.send([release]).isGood)
                #expect(await bench.send([reserve], by: other).isGood)
                bench.target.end(other)
                #expect(await bench.send([reserve]).isGood)
                let third = try bench.join("c")
                #expect(await bench.target.reset(lun: 0, by: third))
                #expect(await bench.send(.testUnitReady, by: third).sense == .busDeviceReset)
                #expect(await bench.send([reserve], by: third).isGood)
                #expect(await bench.send([0x16, 0x10]).sense == .busDeviceReset)
            }
        }
    }

    // MARK: Registration

    @Test("a key is registered, changed with the key before, or whatever it was, and taken back with zero")
    func register() throws {
        try Bench().run { bench in
            #expect(await out(bench, .register, 5, 1).outcome.status == .reservationConflict)
            #expect(await out(bench, .register, 0, 0x1234).isGood)
            #expect(await keys(bench) == [0x1234])
            #expect(await out(bench, .register, 5, 6).outcome.status == .reservationConflict)
            #expect(await out(bench, .register, 0x1234, 6).isGood)
            #expect(await out(bench, .registerAndIgnore, 99, 7).isGood)
            #expect(await keys(bench) == [7])
            #expect(await read(bench, 0).data.number(0..<4) == 3)
            #expect(await out(bench, .register, 7, 0).isGood)
            #expect(await keys(bench) == [])
            #expect(await out(bench, .registerAndIgnore, 0, 0).isGood)
            // RESERVE is out of reach as long as someone is registered.
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await bench.send([0x16]).outcome.status == .reservationConflict)
            #expect(await bench.send([0x17]).outcome.status == .reservationConflict)
        }
    }

    @Test("what is not offered is refused: other ports, all target ports, persistence through power loss")
    func refused() throws {
        try Bench().run { bench in
            for (flags, bit) in [(0x08, 3), (0x04, 2), (0x01, 0), (0x0D, 3)] as [(UInt8, Int)] {
                for action in [Action.register, .registerAndIgnore] {
                    let reply = await out(bench, action, 0, 1, flags: flags)
                    #expect(reply.field == .init(inCDB: false, byte: 20, bit: bit))
                }
            }
            #expect(await keys(bench) == [])
            for count in [0, 8, 23, 25] {
                let data = [UInt8](repeating: 0, count: count)
                #expect(
                    await bench.send([0x5F, 0, 0, 0, 0, 0, 0, 0, UInt8(count)], data: data).sense
                        == .parameterListLength)
            }
            #expect(await out(bench, .register, 0, 1).isGood)
            for kind in [0, 2, 4, 9, 15, 0x11, 0x21] as [UInt8] {
                #expect(await out(bench, .reserve, 1, 0, kind).field?.byte == 2)
            }
            for action in 8...31 as ClosedRange<UInt8> {
                let reply = await bench.send([0x5F, action, 0, 0, 0, 0, 0, 0, 24], data: Self.list(0))
                #expect(reply.field == .init(inCDB: true, byte: 1, bit: 4))
            }
            for action in 4...31 as ClosedRange<UInt8> {
                #expect(await read(bench, action).sense == .invalidFieldInCDB)
            }
            #expect(await read(bench, 2).data == [0, 8, 0, 0x80, 0xEA, 0x01, 0, 0])
        }
    }

    @Test("registrations have a limit, and each is told in full")
    func limit() throws {
        try Bench().run { bench in
            let limit = PersistentReservations.registrantLimit
            for index in 0..<limit {
                let nexus = try bench.join("n\(index)")
                #expect(await out(bench, .register, 0, UInt64(index) + 1, by: nexus).isGood)
            }
            #expect(await out(bench, .register, 0, 1).sense == .insufficientRegistrationResources)
            #expect(await keys(bench).count == limit)
            // Cut, the length tells what there is.
            #expect(await read(bench, 0, 8).data.number(4..<8) == UInt64(8 * limit))
            let full = await read(bench, 3, .max).data
            #expect(full.number(4..<8) == UInt64(full.count - 8))
            #expect(full.number(8..<16) == 1 && full.number(26..<28) == 1)
            let first = Bench.makeNexus("n0").transportID
            #expect(Array(full[32..<32 + first.count]) == first)
        }
    }

    // MARK: Reservation

    @Test("each type lets in whom it says", arguments: Kind.allCases)
    func access(_ kind: Kind) throws {
        try Bench().run { bench in
            let registered = try bench.join("b")
            let stranger = try bench.join("c")
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .register, 0, 2, by: registered).isGood)
            #expect(await out(bench, .reserve, 1, 0, kind.rawValue).isGood)
            let holder = await read(bench, 1).data
            #expect(holder.count == 24 && holder[21] == kind.rawValue)
            #expect(holder.number(8..<16) == (kind.isHeldByAll ? 0 : 1))
            let canRead = !kind.isExclusiveAccess
            #expect(await bench.send(.ten(0x28, 0, 1)).isGood)
            #expect(await isWritten(bench, by: bench.nexus))
            #expect(await bench.send(.ten(0x28, 0, 1), by: registered).isGood == (canRead || kind.admitsRegistrants))
            #expect(await isWritten(bench, by: registered) == kind.admitsRegistrants)
            #expect(await bench.send(.ten(0x28, 0, 1), by: stranger).isGood == canRead)
            #expect(await isWritten(bench, by: stranger) == false)
            for cdb in [.testUnitReady, .inquiry(), .readCapacity10, .reportUnits()] as [CDB] {
                #expect(await bench.send(cdb, by: stranger).isGood)
            }
            // It is the same for whoever takes the port again.
            bench.target.end(bench.nexus)
            let again = try bench.join("a")
            #expect(await isWritten(bench, by: again))
            #expect(await out(bench, .release, 1, 0, kind.rawValue, by: again).isGood)
            #expect(await isWritten(bench, by: stranger))
        }
    }

    @Test("only a registrant reserves, only the holder releases, and only what it holds")
    func holders() throws {
        try Bench().run { bench in
            let other = try bench.join("b")
            #expect(await out(bench, .reserve, 1, 0, 1).outcome.status == .reservationConflict)
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .register, 0, 2, by: other).isGood)
            #expect(await out(bench, .reserve, 9, 0, 1).outcome.status == .reservationConflict)
            #expect(await out(bench, .reserve, 1, 0, 5).isGood)
            #expect(await out(bench, .reserve, 1, 0, 5).isGood)
            #expect(await out(bench, .reserve, 1, 0, 6).outcome.status == .reservationConflict)
            #expect(await out(bench, .reserve, 2, 0, 5, by: other).outcome.status == .reservationConflict)
            #expect(await out(bench, .release, 2, 0, 5, by: other).isGood)
            #expect(await read(bench, 1).data.count == 24)
            #expect(await out(bench, .release, 1, 0, 6).sense == .invalidReleaseOfReservation)
            #expect(await out(bench, .release, 1, 0, 5).isGood)
            #expect(await bench.send(.testUnitReady, by: other).sense == .reservationsReleased)
            #expect(await out(bench, .release, 1, 0, 5).isGood)
            // A holder that takes its key back holds nothing.
            #expect(await out(bench, .reserve, 1, 0, 5).isGood)
            #expect(await out(bench, .register, 1, 0).isGood)
            #expect(await read(bench, 1).data.count == 8)
            #expect(await bench.send(.testUnitReady, by: other).sense == .reservationsReleased)
        }
    }

    @Test("all registrants hold until the last is gone")
    func allRegistrants() throws {
        try Bench().run { bench in
            let other = try bench.join("b")
            let stranger = try bench.join("c")
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .register, 0, 2, by: other).isGood)
            #expect(await out(bench, .reserve, 1, 0, 8).isGood)
            #expect(await out(bench, .register, 1, 0).isGood)
            #expect(await bench.send(.ten(0x28, 0, 1), by: stranger).outcome.status == .reservationConflict)
            #expect(await out(bench, .register, 2, 0, by: other).isGood)
            #expect(await bench.send(.ten(0x28, 0, 1), by: stranger).isGood)
        }
    }

    @Test("CLEAR ends all and tells the others")
    func clear() throws {
        try Bench().run { bench in
            let other = try bench.join("b")
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .register, 0, 2, by: other).isGood)
            #expect(await out(bench, .reserve, 1, 0, 3).isGood)
            #expect(await out(bench, .clear, 1, by: other).outcome.status == .reservationConflict)
            #expect(await out(bench, .clear, 2, by: other).isGood)
            #expect(await bench.send(.testUnitReady).sense == .reservationsPreempted)
            #expect(await keys(bench) == [])
            #expect(await bench.send(.testUnitReady, by: other).isGood)
        }
    }

    @Test("PREEMPT takes the reservation or ends registrations, and tells those it hits", arguments: [false, true])
    func preempt(aborts: Bool) throws {
        let action: Action = aborts ? .preemptAndAbort : .preempt
        try Bench().run { bench in
            let other = try bench.join("b")
            let third = try bench.join("c")
            for (nexus, key) in [(bench.nexus, 1), (other, 2), (third, 3)] as [(SCSINexus, UInt64)] {
                #expect(await out(bench, .register, 0, key, by: nexus).isGood)
            }
            #expect(await out(bench, .reserve, 1, 0, 5).isGood)
            #expect(await out(bench, action, 2, 9, 5, by: other).outcome.status == .reservationConflict)
            #expect(await out(bench, action, 2, 0, 5, by: other).field == .init(inCDB: false, byte: 8, bit: nil))
            // A registrant that holds nothing.
            #expect(await out(bench, action, 2, 3, 5, by: other).isGood)
            #expect(await keys(bench) == [1, 2])
            #expect(await bench.send(.testUnitReady, by: third).sense == .registrationsPreempted)
            #expect(await read(bench, 1).data.number(8..<16) == 1)
            // The holder.
            #expect(await out(bench, action, 2, 1, 3, by: other).isGood)
            #expect(await bench.send(.testUnitReady).sense == .registrationsPreempted)
            #expect(await keys(bench) == [2])
            let held = await read(bench, 1).data
            #expect(held.number(8..<16) == 2 && held[21] == 3)
            #expect(await isWritten(bench, by: bench.nexus) == false)
        }
        try Bench().run { bench in
            let other = try bench.join("b")
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .register, 0, 2, by: other).isGood)
            #expect(await out(bench, .reserve, 1, 0, 7).isGood)
            // Held by all: zero means all of the others.
            #expect(await out(bench, action, 2, 0, 1, by: other).isGood)
            #expect(await bench.send(.testUnitReady).sense == .registrationsPreempted)
            #expect(await keys(bench) == [2])
            #expect(await read(bench, 1).data.number(8..<16) == 2)
        }
    }

    @Test("REGISTER AND MOVE hands the reservation on, however the port's name is padded")
    func move() throws {
        func move(
            _ bench: Bench, to port: [UInt8], key: UInt64 = 1, newKey: UInt64 = 4, flags: UInt8 = 0, target: UInt8 = 1
        )
            async -> Reply
        {
            let data =
                key.bigEndianBytes + newKey.bigEndianBytes + [0, flags, 0, target]
                + UInt32(port.count).bigEndianBytes + port
            return await bench.send(
                CDB([0x5F, 7, 0, 0, 0, 0, 0, UInt8(data.count >> 8), UInt8(data.count & 0xFF)]), data: data)
        }
        try Bench().run { bench in
            let other = try bench.join("b")
            var padded = other.transportID
            padded[3] += 4
            padded += [0, 0, 0, 0]
            #expect(await move(bench, to: padded).outcome.status == .reservationConflict)
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await move(bench, to: padded).outcome.status == .reservationConflict)
            #expect(await out(bench, .reserve, 1, 0, 3).isGood)
            #expect(await move(bench, to: padded, newKey: 0).field?.byte == 8)
            #expect(await move(bench, to: bench.nexus.transportID).field?.byte == 24)
            #expect(await move(bench, to: padded, flags: 1).field?.byte == 17)
            #expect(await move(bench, to: padded, target: 2).field?.byte == 18)
            #expect(await move(bench, to: [1, 2, 3, 4]).field?.byte == 20)
            // As long as no port's name is: it would be kept as long as the registration.
            #expect(await move(bench, to: padded + [UInt8](repeating: 0, count: 220)).field?.byte == 20)
            #expect(
                await bench.send([0x5F, 7, 0, 0, 0, 0, 0, 0, 20], data: [UInt8](repeating: 0, count: 20)).sense
                    == .parameterListLength)
            #expect(await move(bench, to: padded, flags: 2).isGood)
            #expect(await keys(bench) == [4])
            #expect(await isWritten(bench, by: other))
            #expect(await isWritten(bench, by: bench.nexus) == false)
            #expect(await out(bench, .release, 4, 0, 3, by: other).isGood)
        }
    }

    @Test("what takes the medium from others needs the right to write")
    func tray() throws {
        try Bench(kind: .tray).run { bench in
            let other = try bench.join("b")
            #expect(await out(bench, .register, 0, 1).isGood)
            #expect(await out(bench, .reserve, 1, 0, 1).isGood)
            #expect(await bench.send([0x1E, 0, 0, 0, 1], by: other).outcome.status == .reservationConflict)
            #expect(await bench.send([0x1E, 0, 0, 0, 0], by: other).isGood)
            #expect(await bench.send([0x1B, 0, 0, 0, 2], by: other).outcome.status == .reservationConflict)
            #expect(await bench.send([0x1B, 0, 0, 0, 3], by: other).isGood)
            #expect(await bench.send([0x1B, 0, 0, 0, 2]).isGood)
        }
    }
}
