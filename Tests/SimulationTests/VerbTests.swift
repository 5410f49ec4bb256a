import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

@testable import Simulation

/// All that an image can be told to do, under crashes and failed I/Os. The long runs are `make verbs`.
@Suite struct VerbTests {
    private static func examination(_ seed: UInt64) -> CrashExamination {
        var examination = CrashExamination(Scenario(verbs: seed, on: CrashTests.stored))
        examination.creation = true
        (examination.statesPerPoint, examination.pointShare, examination.everySecondCrash) = (8, 8, 20)
        return examination
    }

    /// The last one had what an image writes to its own file taken for guest data, which lay apart.
    @Test("no crash loses what was flushed, or shows what nobody wrote", arguments: [0, 1, 2, 4, 5, 49] as [UInt64])
    func crashes(seed: UInt64) throws {
        let result = try Self.examination(seed).run()
        #expect(result.states > 0 && result.verbs.values.allSatisfy { $0.states <= result.states })
    }

    /// 1227 merges bitmaps on an image that a failed write has fenced while they were stored. In 1691 a new name is there, and
    /// what comes after it finds no room. In 1787 a write to a raw file for data fails and is there nonetheless, which the disk
    /// read as zeros and the file by itself did not.
    @Test(
        "a failed I/O is reported, corrupts nothing and loses nothing that was flushed",
        arguments: [(3, 29), (11, 29), (1227, 48), (1691, 141), (1787, 39)] as [(UInt64, Int)])
    func faults(seed: UInt64, every: Int) throws {
        var examination = FaultExamination(Scenario(verbs: seed, on: CrashTests.stored), seed: seed)
        (examination.every, examination.crashStates) = (every, 2)
        let result = try examination.run()
        #expect(result.points > 5 && result.verbs.values.allSatisfy { $0.points <= result.points })
    }

    @Test("the seeds stand for all verbs, and each is met under way that reads or writes anything")
    func seeds() throws {
        // These have examinations of their own.
        let others: Set<Verb> = [.repair, .rebase, .commit]
        // These change memory alone, or nothing.
        let silent: Set<Verb> = [
            .bitmapAdd, .bitmapEnable, .bitmapDisable, .bitmapMerge, .bitmapClear, .amendBacking,
        ]
        let all = Set(Verb.allCases).subtracting(others)
        var (begun, underWay): (Set<Verb>, Set<Verb>) = ([], [])
        var seed: UInt64 = 0
        while seed < 400, begun != all || underWay != all.subtracting(silent) {
            let scenario = Scenario(verbs: seed, on: CrashTests.stored)
            let run = CrashRun(scenario.program, on: scenario.start)
            (run.isPoint, run.crashesCreation) = ({ _ in true }, true)
            run.onPoint = { underWay.formUnion($0.verbs.underWay) }
            try run.run()
            begun.formUnion(run.verbs.begun)
            seed += 1
        }
        #expect(begun == all, "\(all.subtracting(begun))")
        #expect(underWay == all.subtracting(silent), "\(underWay.symmetricDifference(all.subtracting(silent)))")
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

    @Test("while an image is made on another that one is what a crash leaves, and judged")
    func beneath() throws {
        var shape = Program(crash: 1).shape
        (shape.version, shape.clusterBits, shape.size, shape.backing) = (3, 9, 65536, .none)
        (shape.refcountBits, shape.lazyRefcounts, shape.compresses, shape.crowd) = (16, false, false, nil)
        let write = Step.write(ByteRange(at: 4096, count: 512), fua: true, fill: 1)
        let run = CrashRun(
            Program(seed: 1, shape: shape, steps: [write, .snapshot(65536)]), on: StartImage(shape, seed: 1))
        (run.isPoint, run.crashesCreation) = ({ _ in true }, true)
        var point: CrashPoint?
        run.onPoint = { if $0.isMaking, !$0.below.isEmpty { point = point ?? $0 } }
        try run.run()
        let sound = try #require(point)
        let judge = CrashJudge(shape)
        #expect(try judge.judge(sound.killed).isNone)
        // One whose data is another, and one that is none.
        var other = try #require(sound.below.first)
        let place = try #require(MiniCheck(other).mapped[8])
        other.write([1, 2, 3].rawBytes, at: place)
        for below in [other, SparseBytes(length: 4096)] {
            let harmed = CrashPoint(
                disk: sound.disk, base: nil, below: [below], oracle: sound.oracle, snapshots: [], isMaking: true,
                beneath: sound.beneath)
            #expect(throws: Violation.self) { try judge.judge(harmed.killed) }
        }
    }

    @Test("O17: beside a check of a live image every reader is held but the check")
    func readersBesideCheck() throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" }?.image)
        let place = try #require(MiniCheck(start).mapped.values.min())
        for looksAgain in [true, false] {
            let context = SimulatedContext(seed: 1, order: .fifo)
            let disk = SimDisk(context, contents: start)
            let audit = OrderAudit(disk)
            disk.onEvent = { audit.observe($0) }
            var running = 2
            try context.complete {
                context.spawn {
                    await OrderAudit.$looksAgain.withValue(looksAgain) {
                        _ = try? await disk.bytes(at: place, count: 512)
                    }
                    running -= 1
                }
                context.spawn {
                    try? await disk.write([UInt8](repeating: 1, count: 512), at: place)
                    running -= 1
                }
                while running > 0 { await context.sleep(ms: 1) }
            }
            #expect((audit.broken?.hasPrefix("O17") ?? false) == !looksAgain, "\(audit.broken ?? "")")
        }
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

    @Test("O10: guest data apart from its image may not change in place while a bitmap is not marked as in use")
    func dataInPlace() throws {
        var shape = Program(crash: 1).shape
        (shape.version, shape.dataFile, shape.backing, shape.size) = (3, .plain, .none, 65536)
        (shape.compresses, shape.crowd) = (false, nil)
        let steps: [Step] = [
            .write(ByteRange(at: 0, count: 4096), fua: true, fill: 1),
            .bitmap(.add("a", granularityBits: 9, isEnabled: true)),
        ]
        let run = CrashRun(Program(seed: 1, shape: shape, steps: steps + [.reopen]), on: StartImage(shape, seed: 1))
        var stored: CrashState?
        run.isPoint = { _ in true }
        // The image is closed and consistent just before it is opened again.
        run.onPoint = { point in
            let image = MiniCheck(point.killed.image)
            if let bitmap = image.bitmaps.first, !bitmap.isInUse { stored = point.killed }
        }
        try run.run()
        let state = try #require(stored)
        let context = SimulatedContext(seed: 1, order: .fifo)
        let (tables, data) = (
            SimDisk(context, contents: state.image), SimDisk(context, contents: try #require(state.data))
        )
        let audit = OrderAudit(tables, data: data)
        try context.complete { try await data.write([UInt8](repeating: 7, count: 512), at: 512) }
        #expect(audit.broken?.hasPrefix("O10") == true)
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
