import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("Unit attentions")
struct AttentionTests {
    @Test("a nexus meets power on first, once, and at its first command")
    func powerOn() throws {
        try Bench().run { bench in
            let nexus = bench.begin("b")
            #expect(await bench.send(.inquiry(), by: nexus).isGood)
            #expect(await bench.send(.reportUnits(), by: nexus).isGood)
            #expect(await bench.send(.testUnitReady, by: nexus).sense == .powerOn)
            #expect(await bench.send(.testUnitReady, by: nexus).isGood)
            #expect(await bench.send(.testUnitReady).isGood)
        }
    }

    @Test("REQUEST SENSE tells it as data, in the format asked for, and so clears it")
    func requestSense() throws {
        try Bench().run { bench in
            for descriptors in [false, true] {
                let nexus = bench.begin(descriptors ? "b" : "c")
                let reply = await bench.send(.requestSense(descriptors: descriptors), by: nexus)
                #expect(reply.isGood && SenseBytes(reply.data)?.code == .powerOn)
                #expect(reply.data.first == (descriptors ? 0x72 : 0x70))
                #expect(SenseBytes(await bench.send(.requestSense(), by: nexus).data)?.code == .nothing)
                #expect(await bench.send(.testUnitReady, by: nexus).isGood)
            }
            bench.drive.insert(nil)
            #expect(SenseBytes(await bench.send(.requestSense()).data)?.code == .mediumNotPresent)
        }
    }

    @Test("conditions queue in their order, each once, and a reset drops what came before it")
    func queue() throws {
        try Bench().run { bench in
            bench.drive.resized()
            bench.drive.insert(MemoryStorage(length: 4096))
            bench.drive.resized()
            bench.target.attach(FakeDrive("more", medium: nil), lun: 1)
            for expected in [SenseCode.capacityChanged, .mediumMayHaveChanged, .reportedUnitsChanged] {
                #expect(await bench.send(.testUnitReady).sense == expected)
            }
            #expect(await bench.send(.testUnitReady).isGood)
            bench.drive.resized()
            #expect(await bench.target.reset(lun: 0, by: bench.nexus))
            bench.drive.resized()
            #expect(await bench.send(.testUnitReady).sense == .busDeviceReset)
            #expect(await bench.send(.testUnitReady).sense == .capacityChanged)
            #expect(await bench.send(.testUnitReady).isGood)
        }
    }

    @Test("REPORT LUNS clears what points at it, on every unit and for its nexus alone")
    func inventory() throws {
        try Bench().run { bench in
            let other = try bench.join("b")
            bench.target.attach(FakeDrive("more", medium: nil), lun: 1)
            #expect(await bench.send(.reportUnits()).isGood)
            #expect(await bench.send(.testUnitReady).isGood)
            #expect(await bench.send(.testUnitReady, by: other).sense == .reportedUnitsChanged)
            // The new unit was powered on.
            #expect(await bench.send(.testUnitReady, lun: 1 << 48).sense == .powerOn)
            await bench.target.detach(lun: 1)
            #expect(await bench.send(.testUnitReady).sense == .reportedUnitsChanged)
        }
    }

    @Test("an unknown command meets the condition first; a reservation is told after it")
    func precedence() throws {
        try Bench().run { bench in
            #expect(await bench.send([0x16]).isGood)
            let other = bench.begin("b")
            #expect(await bench.send([0xFF], by: other).sense == .powerOn)
            #expect(await bench.send([0xFF], by: other).sense == .invalidOperationCode)
            #expect(await bench.send(.testUnitReady, by: other).outcome.status == .reservationConflict)
        }
    }

    @Test("a removable disk asks its initiator for the medium by a unit attention, a disc by an event")
    func ejectRequest() throws {
        try Bench(kind: .removable).run { bench in
            bench.drive.wantEject()
            #expect(await bench.send(.testUnitReady).sense == .operatorRemovalRequest)
        }
        try Bench(kind: .tray).run { bench in
            bench.drive.wantEject()
            #expect(await bench.send(.testUnitReady).isGood)
        }
    }

    @Test("a command without a medium is NOT READY by what the tray shows")
    func notReady() throws {
        for kind in DriveKind.allCases {
            try Bench(FakeDrive(kind: kind, medium: nil)).run { bench in
                let closed: SenseCode = kind == .tray ? .mediumNotPresentTrayClosed : .mediumNotPresent
                for row in try bench.unit.operations.rows where row.traits.contains(.needsMedium) {
                    if row.traits.contains(.needsProvisioning) { continue }
                    let reply = await bench.send(CDB([row.code, UInt8(row.action ?? 0)]))
                    #expect(reply.sense == closed, "\(row.name)")
                }
                if kind == .tray {
                    #expect(bench.drive.moveTray(open: true))
                    #expect(await bench.send(.testUnitReady).sense == .mediumNotPresentTrayOpen)
                }
                #expect(await bench.send(.inquiry()).isGood)
            }
        }
    }

    @Test("an ACA task attribute has nothing to belong to")
    func aca() throws {
        try Bench().run { bench in
            #expect(await bench.send(.testUnitReady, .aca).sense == .invalidMessage)
        }
    }
}
