import Block
import BlockTestKit
import Bytes
import Testing

@testable import Simulation

/// Programs in which the image makes, applies and deletes internal snapshots itself. The long runs are `simulate … --family
/// snapshots`.
@Suite("crashes around internal snapshots")
struct InternalSnapshotTests {
    @Test("O9: a crash leaves the snapshots and the disk before a change or after it, all of it", arguments: 0..<2)
    func crashes(seed: UInt64) throws {
        let scenario = Scenario(snapshots: seed, on: CrashTests.stored)
        var examination = CrashExamination(scenario.program, on: scenario.start)
        (examination.statesPerPoint, examination.pointShare, examination.everyEvent) = (8, 8, true)
        #expect(try examination.run().states > 0)
    }

    @Test("whatever I/O fails, what was there is there, and somebody was told", arguments: [1] as [UInt64])
    func faults(seed: UInt64) throws {
        var examination = FaultExamination(Scenario(snapshots: seed, on: CrashTests.stored), seed: seed)
        examination.every = 23
        #expect(try examination.run().points > 5)
    }

    @Test("a switch is one write: at no point of a program does a crash leave a leak that was not there")
    func noLeaks() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" })
        let steps: [Step] = [.snapshotCreate, .snapshotApply(0), .snapshotDelete(0)]
        var examination = CrashExamination(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        (examination.statesPerPoint, examination.everyEvent) = (64, true)
        let result = try examination.run()
        #expect(result.states > 50)
        #expect(result.withLeaks == 0)
    }

    @Test(
        "a machine's state that is saved while requests run harms no disk, and snapshots keep it, wherever a crash comes"
    )
    func vmState() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" })
        let save = { (offset: UInt64, fill: UInt64) in
            Step.vmState(ByteRange(at: offset, count: 3072), fill: fill)
        }
        let write = Step.write(ByteRange(at: 0, count: 4096), fua: false, fill: 9)
        let steps: [Step] = [
            save(0, 1), write, save(4 << 20, 2), .snapshotCreate, save(512, 3), write, .reopen, .snapshotCreate,
            .snapshotApply(0), .reopen, .snapshotDelete(0), .compare,
        ]
        var examination = CrashExamination(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        (examination.statesPerPoint, examination.everyEvent) = (8, true)
        #expect(try examination.run().states > 50)
        var faults = FaultExamination(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        faults.every = 11
        #expect(try faults.run().points > 5)
    }

    @Test("a machine's state is read back after a crash: a durable one that is another is noticed")
    func anotherVMState() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" })
        let steps: [Step] = [.vmState(ByteRange(at: 512, count: 1024), fill: 1), .flush]
        let run = CrashRun(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        try run.run()
        let end = try #require(run.end)
        let judge = CrashJudge(start.shape)
        #expect(try judge.judge(end.killed).vmState[1] == Array(start.shape.bytes(of: 1, count: 512)))
        var other = VMStateOracle()
        other.issue(1, [UInt8](repeating: 7, count: 512), at: 1024)
        other.complete(1)
        for isDurable in [false, true] {
            if isDurable { other.closed() }
            let point = CrashPoint(
                disk: end.disk, base: end.base, below: end.below, oracle: end.oracle, snapshots: end.snapshots,
                vmState: other)
            // Until it is durable the older one may be there, which this oracle does not know.
            if isDurable {
                #expect(throws: Violation.self) { try judge.judge(point.killed) }
            } else {
                try judge.judge(point.killed)
            }
        }
    }

    @Test("a state that mixes two snapshots, or the disk of one with the list of the other, is noticed")
    func mixture() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" })
        let run = CrashRun(Program(seed: 1, shape: start.shape, steps: [.snapshotCreate]), on: start)
        var during: [CrashPoint] = []
        run.isPoint = { _ in true }
        run.onPoint = { point in if point.other != nil { during.append(point) } }
        try run.run()
        let point = try #require(during.last)
        let judge = CrashJudge(start.shape)
        _ = try judge.judge(point.killed)
        var other = point
        // Where the snapshot that is being made is not expected, its being there is a violation, and the other way round.
        other.other = nil
        #expect(throws: Violation.self) { _ = try judge.judge(other.killed) }
        var swapped = try #require(during.first)
        swapped.other = nil
        _ = try judge.judge(swapped.killed)
        let end = try #require(run.end)
        #expect(end.snapshots.map(\.id) == ["1"])
    }

    @Test("the seeds of the other runs mean what they meant", arguments: [0, 7, 1625] as [UInt64])
    func seeds(seed: UInt64) {
        for program in [Program(crash: seed), Scenario(seed: seed, on: CrashTests.stored).program] {
            for step in program.steps {
                switch step {
                case .snapshotCreate, .snapshotApply, .snapshotDelete, .vmState, .amend, .refit: Issue.record("\(step)")
                default: break
                }
            }
        }
    }
}
