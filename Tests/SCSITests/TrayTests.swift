import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("The tray")
struct TrayTests {
    static let eject: CDB = [0x1B, 0, 0, 0, 0x02]
    static let load: CDB = [0x1B, 0, 0, 0, 0x03]
    static let prevent: CDB = [0x1E, 0, 0, 0, 1]
    static let allow: CDB = [0x1E, 0, 0, 0, 0]
    static func events(_ classes: UInt8 = 0x10, _ length: UInt16 = 8) -> CDB {
        CDB([0x4A, 1, 0, 0, classes, 0, 0] + length.bigEndianBytes)
    }

    @Test("START STOP UNIT ejects and loads; all are told of another medium")
    func ejects() throws {
        try Bench(kind: .tray).run { bench in
            let other = try bench.join("b")
            #expect(await bench.send(Self.eject).isGood)
            #expect(bench.drive.isTrayOpen)
            #expect(await bench.send(.testUnitReady).sense == .mediumNotPresentTrayOpen)
            #expect(await bench.send(Self.eject).isGood)
            #expect(await bench.send(Self.load).isGood)
            for nexus in [bench.nexus, other] {
                #expect(await bench.send(.testUnitReady, by: nexus).sense == .mediumMayHaveChanged)
                #expect(await bench.send(.testUnitReady, by: nexus).isGood)
            }
            // Without LOEJ the tray stays, and so it does for a power condition.
            for options in [0x00, 0x01, 0x04, 0x05] + (1...15).map({ $0 << 4 | 0x02 }) as [UInt8] {
                #expect(await bench.send([0x1B, 0x01, 0, 0, options]).isGood)
                #expect(await bench.send(.testUnitReady).isGood)
            }
        }
    }

    @Test("what has no tray cannot eject, and flushes when it is stopped", arguments: [DriveKind.fixed, .removable])
    func noTray(_ kind: DriveKind) throws {
        try Bench(kind: kind).run { bench in
            if kind == .fixed {
                #expect(await bench.send(Self.eject).field == .init(inCDB: true, byte: 4, bit: 1))
                #expect(await bench.send(Self.load).field?.bit == 1)
            } else {
                #expect(await bench.send(Self.eject).sense == .mediumRemovalPrevented)
                #expect(await bench.send(Self.load).isGood)
            }
            let flushes = bench.drive.flushes
            // NO_FLUSH.
            #expect(await bench.send([0x1B, 0, 0, 0, 0x04]).isGood && bench.drive.flushes == flushes)
            #expect(await bench.send([0x1B, 0, 0, 0, 0x00]).isGood && bench.drive.flushes == flushes + 1)
            #expect(await bench.send(.testUnitReady).isGood)
        }
    }

    @Test("the medium is kept in as long as one nexus asks for it; a lock ends with its nexus or a reset")
    func prevents() throws {
        try Bench(kind: .tray).run { bench in
            let other = try bench.join("b")
            #expect(await bench.send(Self.prevent).isGood && bench.drive.isLocked)
            #expect(await bench.send(Self.prevent).isGood)
            #expect(await bench.send(Self.prevent, by: other).isGood)
            for nexus in [bench.nexus, other] {
                #expect(await bench.send(Self.eject, by: nexus).sense == .mediumRemovalPrevented)
            }
            #expect(await bench.send(Self.load).isGood)
            #expect(await bench.send(Self.allow).isGood && bench.drive.isLocked)
            #expect(await bench.send(Self.allow).isGood && bench.drive.isLocked)
            bench.target.end(other)
            #expect(!bench.drive.isLocked)
            #expect(await bench.send(Self.prevent).isGood)
            #expect(await bench.target.reset(lun: 0, by: bench.nexus) && !bench.drive.isLocked)
            #expect(await bench.send(.testUnitReady).sense == .busDeviceReset)
            #expect(await bench.send(Self.prevent).isGood && bench.drive.isLocked)
            await bench.target.detach(lun: 0)
            #expect(!bench.drive.isLocked)
        }
        try Bench(kind: .tray).run { bench in
            for value in [2, 3] as [UInt8] {
                #expect(await bench.send([0x1E, 0, 0, 0, value]).field == .init(inCDB: true, byte: 4, bit: 1))
            }
        }
    }

    @Test("media events are told to each nexus once, the last change only, and wait for a medium that comes")
    func mediaEvents() throws {
        try Bench(kind: .tray).run { bench in
            let other = try bench.join("b")
            func poll(_ nexus: SCSINexus) async -> [UInt8] { await bench.send(Self.events(), by: nexus).data }
            #expect(await poll(bench.nexus) == [0, 6, 4, 0x10, 0, 2, 0, 0])
            bench.drive.wantEject()
            bench.drive.wantEject()
            for nexus in [bench.nexus, other] {
                #expect(await poll(nexus) == [0, 6, 4, 0x10, 1, 2, 0, 0])
                #expect(await poll(nexus)[4] == 0)
            }
            #expect(bench.drive.moveTray(open: true))
            #expect(await poll(bench.nexus) == [0, 6, 4, 0x10, 3, 1, 0, 0])
            #expect(bench.drive.moveTray(open: false))
            #expect(await poll(bench.nexus) == [0, 6, 4, 0x10, 2, 2, 0, 0])
            // The other sees what there is now; polling leaves the unit attention.
            #expect(await poll(other)[4] == 2)
            #expect(await poll(other)[4] == 0)
            #expect(await bench.send(.testUnitReady, by: other).sense == .mediumMayHaveChanged)
            // What there is no room for is told later.
            bench.drive.wantEject()
            for length in 0...7 as ClosedRange<UInt16> {
                #expect(await bench.send(Self.events(0x10, length)).data.count == Int(length))
            }
            #expect(await poll(bench.nexus)[4] == 1)
            #expect(await bench.send(Self.events(0xEF)).data == [0, 2, 0x80, 0x10])
            #expect(await bench.send([0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8]).field == .init(inCDB: true, byte: 1, bit: 0))
        }
    }

    @Test("commands that look at the drive work without a medium, and while a unit attention is pending")
    func withoutMedium() throws {
        try Bench(FakeDrive(kind: .tray, medium: nil)).run { bench in
            let fresh = bench.begin("b")
            #expect(await bench.send(Self.events(), by: fresh).data[5] == 0)
            let configuration = await bench.send([0x46, 0, 0, 0, 0, 0, 0, 1, 0], by: fresh)
            #expect(configuration.isGood && configuration.data.number(6..<8) == 0)
            #expect(await bench.send(.testUnitReady, by: fresh).sense == .powerOn)
            #expect(await bench.send([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]).data == [0, 0, 0, 0, 0, 0, 0, 0])
            #expect(bench.drive.moveTray(open: true))
            #expect(await bench.send([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]).data[1] == 0x10)
            #expect(await bench.send(Self.events()).data[5] == 1)
            let capacities = await bench.send([0x23, 0, 0, 0, 0, 0, 0, 0, 255]).data
            #expect(capacities == [0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF, 3, 0, 8, 0])
        }
    }
}
