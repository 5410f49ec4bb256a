import Block
import BlockTestKit
import Bytes
import Qcow2
import Simulation
import Testing

/// All that an image can be told to do, under crashes and failed I/Os. The long runs are `make verbs`.
@Suite struct VerbTests {
    private static func examination(_ seed: UInt64) -> CrashExamination {
        var examination = CrashExamination(Scenario(verbs: seed, on: CrashTests.stored))
        examination.creation = true
        (examination.statesPerPoint, examination.pointShare, examination.everySecondCrash) = (8, 8, 20)
        return examination
    }

    @Test("no crash loses what was flushed, or shows what nobody wrote", arguments: 0..<6 as Range<UInt64>)
    func crashes(seed: UInt64) throws {
        let result = try Self.examination(seed).run()
        #expect(result.states > 0 && result.verbs.values.allSatisfy { $0.states <= result.states })
    }

    @Test(
        "a failed I/O is reported, corrupts nothing and loses nothing that was flushed", arguments: [3, 11] as [UInt64])
    func faults(seed: UInt64) throws {
        var examination = FaultExamination(Scenario(verbs: seed, on: CrashTests.stored), seed: seed)
        (examination.every, examination.crashStates) = (29, 2)
        let result = try examination.run()
        #expect(result.points > 5 && result.verbs.values.allSatisfy { $0.points <= result.points })
    }

    @Test("the seeds stand for all verbs, and each is met under way that reads or writes anything")
    func seeds() throws {
        var counts: VerbCounts = [:]
        for seed in 0..<120 as Range<UInt64> {
            var examination = Self.examination(seed)
            (examination.statesPerPoint, examination.pointShare, examination.everySecondCrash) = (2, 100, 0)
            counts += try examination.run().verbs
        }
        // These have examinations of their own.
        let others: [Verb] = [.repair, .rebase, .commit]
        // These change memory alone, or nothing.
        let silent: [Verb] = [.bitmapAdd, .bitmapEnable, .bitmapDisable, .bitmapMerge, .bitmapClear, .amendBacking]
        for verb in Verb.allCases where !others.contains(verb) {
            let count = counts[verb] ?? VerbCount()
            #expect(count.programs > 0 && count.states > 0, "\(verb)")
            #expect(count.statesUnderWay > 0 || silent.contains(verb), "\(verb)")
        }
    }

    @Test("an image that is being made is none until its header is there, and then all of it")
    func creation() throws {
        var shape = Program(crash: 1).shape
        (shape.version, shape.clusterBits, shape.size, shape.backing) = (3, 9, 65536, .none)
        (shape.preallocation, shape.refcountBits, shape.lazyRefcounts, shape.compresses) = (.metadata, 16, false, false)
        let run = CrashRun(Program(seed: 1, shape: shape, steps: []), on: StartImage(shape, seed: 1))
        (run.isPoint, run.crashesCreation) = ({ _ in true }, true)
        var points: [CrashPoint] = []
        run.onPoint = { if $0.isMaking { points.append($0) } }
        try run.run()
        var (none, whole) = (0, 0)
        let judge = CrashJudge(shape)
        for point in points {
            var random = SeededRandom(seed: 1)
            try point.forEachState(budget: 64, &random) { state throws(Violation) in
                if try judge.judge(state).isNone { none += 1 } else { whole += 1 }
            }
        }
        #expect(none > 0 && whole > 0, "\(none) \(whole)")
        // Where there was an image, having none is a loss.
        let last = try #require(points.first).killed
        let later = CrashPoint(
            disk: last.point.disk, base: nil, below: [], oracle: last.point.oracle, snapshots: [])
        let gone = CrashState(image: last.image, point: later, choice: "")
        #expect(throws: Violation.self) { try judge.judge(gone) }
    }

    @Test("a header that calls the file for data what it was never called is found out")
    func dataName() throws {
        var shape = Program(crash: 1).shape
        (shape.version, shape.dataFile, shape.backing, shape.size) = (3, .plain, .none, 65536)
        (shape.compresses, shape.crowd) = (false, nil)
        let steps: [Step] = [.change(.dataFile("other")), .flush]
        let run = CrashRun(Program(seed: 1, shape: shape, steps: steps), on: StartImage(shape, seed: 1))
        try run.run()
        let end = try #require(run.end)
        let found = try CrashJudge(shape).judge(end.killed)
        #expect(found.dataName == "other" && end.dataNames == ["other"])
        let stale = CrashPoint(
            disk: end.disk, data: end.data, base: nil, below: [], oracle: end.oracle, snapshots: [], dataNames: ["data"]
        )
        #expect(throws: Violation.self) { try CrashJudge(shape).judge(stale.killed) }
    }

    @Test("of a bitmap that was merged each granule counts that either had marked")
    func merged() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "empty" })
        let steps: [Step] = [
            .bitmap(.add("a", granularityBits: 9, isEnabled: false)),
            .bitmap(.add("b", granularityBits: 12, isEnabled: true)),
            .write(ByteRange(at: 5000, count: 10), fua: true, fill: 1), .bitmap(.merge("a", from: "b")), .reopen,
        ]
        let run = CrashRun(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        try run.run()
        let image = MiniCheck(try #require(run.end).killed.image)
        #expect(image.bitmaps.first { $0.name == "a" }?.dirty == Set(8..<16))
    }
}
