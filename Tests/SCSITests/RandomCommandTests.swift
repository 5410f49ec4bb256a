import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

@Suite("Random commands")
struct RandomCommandTests {
    /// A command of any operation code with any bytes. Most bits are zero, so that many commands pass the first checks.
    private func command(_ random: inout SeededRandom, _ table: OperationTable) -> CDB {
        var bytes = (0..<16).map { _ in UInt8(truncatingIfNeeded: random.next() & random.next()) }
        bytes[0] = UInt8(random.below(256))
        if random.chance(70) {
            let row = table.rows[random.below(table.rows.count)]
            let density = random.below(4)
            for index in bytes.indices {
                var mask = index < row.usage.count ? row.usage[index] : 0
                for _ in 0..<density { mask &= UInt8(truncatingIfNeeded: random.next()) }
                bytes[index] = mask
            }
            bytes[0] = row.code
            if let action = row.action { bytes[1] = bytes[1] & 0xE0 | UInt8(action) }
        }
        return CDB(bytes)
    }

    /// Runs a seed's commands; answers what the initiator saw. The room holds `poison` before each.
    private func play(seed: UInt64, kind: DriveKind, poison: UInt8) throws -> [Reply] {
        let bench = Bench(blocks: 300, kind: kind)
        bench.poison = poison
        var replies: [Reply] = []
        try bench.run { bench in
            var random = SeededRandom(seed: seed)
            let nexuses = [bench.nexus, bench.begin("b"), bench.begin("c")]
            let table = try bench.unit.operations
            for _ in 0..<300 {
                let cdb = command(&random, table)
                let lun: UInt64 = random.chance(95) ? 0 : random.next()
                var data = random.bytes(random.below(600))
                let nexus = random.pick(nexuses)
                let probe = SCSICommand(
                    nexus: nexus, lun: lun, cdb: cdb, attribute: .simple, expectedLength: UInt64(data.count))
                if case .fromInitiator(let count) = bench.target.plan(probe), random.chance(80) {
                    data = [UInt8](repeating: 0, count: count)
                    for _ in 0..<8 where count > 0 { data[random.below(count)] = UInt8(random.below(256)) }
                }
                let attribute = random.pick(
                    [.untagged, .simple, .ordered, .headOfQueue, .aca] as [SCSICommand.Attribute])
                replies.append(await bench.send(cdb, data: data, lun: lun, by: nexus, attribute))
                if random.chance(2) { bench.drive.wantEject() }
                if random.chance(2) { bench.drive.resized() }
                if random.chance(1) { _ = await bench.target.reset(lun: 0, by: nexus) }
            }
        }
        return replies
    }

    @Test(
        "whatever an initiator sends never traps, ends with well-formed sense, and returns no more than was planned",
        arguments: DriveKind.allCases, 0..<6 as Range<UInt64>)
    func neverTraps(_ kind: DriveKind, _ seed: UInt64) throws {
        let replies = try play(seed: seed, kind: kind, poison: 0xA5)
        #expect(replies.contains { $0.isGood } && replies.contains { !$0.isGood })
        for reply in replies {
            #expect(reply.outcome.dataInCount <= reply.plan.dataInLimit)
            #expect(reply.outcome.sense.isEmpty == (reply.outcome.status != .checkCondition))
            if reply.outcome.status == .checkCondition {
                #expect(reply.sense != nil && reply.outcome.dataInCount == 0)
                #expect(reply.outcome.sense.count <= 252)
            }
        }
    }

    @Test(
        "R67: no answer tells what its room held before, whatever the command", arguments: DriveKind.allCases,
        0..<3 as Range<UInt64>)
    func nothingLeaks(_ kind: DriveKind, _ seed: UInt64) throws {
        let first = try play(seed: seed, kind: kind, poison: 0xA5)
        let second = try play(seed: seed, kind: kind, poison: 0x5A)
        #expect(first.count == second.count)
        for (one, other) in zip(first, second) {
            #expect(one.data == other.data && one.outcome == other.outcome)
        }
    }
}
