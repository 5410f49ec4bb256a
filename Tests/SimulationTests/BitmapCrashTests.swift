import Block
import BlockTestKit
import Bytes
import Simulation
import Testing

/// D6: persistent bitmaps over crashes and failed I/Os. The long runs are `make bitmaps`; `make check` runs some with the release
/// build.
@Suite("Bitmaps after a crash") struct BitmapCrashTests {
    private static func examination(_ seed: UInt64) -> CrashExamination {
        let scenario = Scenario(bitmaps: seed, on: CrashTests.stored)
        var examination = CrashExamination(scenario.program, on: scenario.start)
        examination.statesPerPoint = 16
        examination.everyEvent = true
        examination.pointShare = 12
        examination.everySecondCrash = 40
        examination.disk.sectorSize = seed % 4 == 3 ? 4096 : 512
        return examination
    }

    @Test("R81: one that is consistent has every change since it was cleared", arguments: 0..<3)
    func randomPrograms(seed: UInt64) throws {
        #expect(try Self.examination(seed).run().states > 0)
    }

    @Test("any one I/O fails: what is consistent then has every change, and somebody was told", arguments: 0..<1)
    func failures(seed: UInt64) throws {
        let scenario = Scenario(bitmaps: seed, on: CrashTests.stored)
        var examination = FaultExamination(scenario.program, on: scenario.start)
        examination.every = 31
        examination.disk.stickyFlush = seed % 2 == 0
        #expect(try examination.run().points > 0)
    }

    @Test("a bitmap that was kept before, and one that is new, are stored by an orderly end and not by a crash")
    func stored() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "bitmap" })
        let steps: [Step] = [
            .bitmap(.add("new", granularityBits: 9, isEnabled: true)),
            .write(ByteRange(at: 5000, count: 3000), fua: true, fill: 1), .reopen,
            .write(ByteRange(at: 20000, count: 1), fua: true, fill: 2),
        ]
        var (consistent, inUse, both) = (0, 0, 0)
        var examination = CrashExamination(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        examination.everyEvent = true
        examination.onSound = { (state, found) throws(Violation) in
            if found.bitmaps.allSatisfy({ !$0.isInUse }) { consistent += 1 } else { inUse += 1 }
            if found.bitmaps.count == 2 { both += 1 }
        }
        _ = try examination.run()
        #expect(consistent > 0 && inUse > 0 && both > 0)
    }

    @Test(
        "a disk of which a flush does nothing is found out by a bitmap that lacks changes, or a directory that is not there"
    )
    func lostFlushes() throws {
        var found: [String] = []
        for seed in 0..<4 as Range<UInt64> {
            var examination = Self.examination(seed)
            examination.pointShare = 30
            examination.disk.lostFlushes = Set(0..<1000)
            do throws(Violation) { _ = try examination.run() } catch { found.append("\(error)") }
        }
        #expect(found.contains { $0.contains("D6") || $0.contains("O10") }, "\(found)")
    }
}
