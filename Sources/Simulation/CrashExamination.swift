public import BlockTestKit

/// Runs one program and judges the crash states of its points, each once.
public struct CrashExamination {
    public let program: Program
    public let start: StartImage
    /// Crash states that one point may have.
    public var statesPerPoint = 1024
    /// How many of the points are looked at, out of 100.
    public var pointShare: UInt64 = 100
    /// The same of the points at which something is under way that has a name (`Verb`); nil is no difference.
    public var shareUnderWay: UInt64?
    public var disk = SimDisk.Options()
    /// At which events of the disk a crash is looked at besides the ends of flushes.
    public var everyEvent = false
    /// Whether crashes are looked at while an image is made.
    public var creation = false
    /// After every how many states one is started again and crashes a second time; 0 is never.
    public var everySecondCrash = 0
    /// Shown every state that was judged sound; for a second opinion on a sample.
    public var onSound: ((CrashState, CrashJudge.Found) throws(Violation) -> Void)?

    public init(_ program: Program, on start: StartImage) {
        self.program = program
        self.start = start
    }

    public struct Result: Sendable {
        /// Different states that were judged.
        public var states = 0
        /// States in which clusters were lost to nothing.
        public var withLeaks = 0
        /// States that come of a second crash.
        public var ofSecondCrash = 0
        /// The same by what had begun in the program.
        public var verbs: VerbCounts = [:]
    }

    /// Judges until something is wrong, which it throws.
    public func run() throws(Violation) -> Result {
        var result = Result()
        var known: [UInt64: CrashJudge.Found] = [:]
        var random = SeededRandom(seed: program.seed ^ 0xC2A5)
        var violation: Violation?
        let judge = CrashJudge(program.shape)
        let run = CrashRun(program, on: start, disk)
        if everyEvent { run.isPoint = { _ in true } }
        run.crashesCreation = creation
        run.onPoint = { point in
            let share = point.verbs.underWay.isEmpty ? pointShare : shareUnderWay ?? pointShare
            guard violation == nil, random.chance(share) else { return }
            let (states, second) = (result.states, result.ofSecondCrash)
            defer {
                point.verbs.count(
                    states: result.states - states, ofSecondCrash: result.ofSecondCrash - second, in: &result.verbs)
            }
            do throws(Violation) {
                try point.forEachState(budget: statesPerPoint, &random) { state throws(Violation) in
                    do throws(Violation) { try self.judge(judge, state, &known, &result) } catch {
                        throw error.told(in: state) {
                            "\($0)\n\(state.choice) at \(result.states): \(point.text)\n\(start.name)\n\(program)"
                        }
                    }
                }
            } catch { violation = error }
        }
        do throws(Violation) { try run.run() } catch { throw error.with(run.verbs.begun) }
        if let violation { throw violation.with(run.verbs.begun) }
        for verb in run.verbs.begun { result.verbs[verb, default: VerbCount()].programs = 1 }
        return result
    }

    private func judge(
        _ judge: CrashJudge, _ state: CrashState, _ known: inout [UInt64: CrashJudge.Found], _ result: inout Result
    ) throws(Violation) {
        let data = state.data.map { $0.fingerprint &* 31 &+ 1 } ?? 0
        let fingerprint = state.image.fingerprint &+ UInt64(state.point.below.count) &+ data
        if let found = known[fingerprint] {
            // What is found depends on the bytes; what may be found on the moment.
            return try judge.compare(found, state.point)
        }
        let found = try judge.judge(state)
        known[fingerprint] = found
        result.states += 1
        if found.leaks > 0 { result.withLeaks += 1 }
        if everySecondCrash > 0, result.states % everySecondCrash == 0 { try crashAgain(state, found, &result) }
        try onSound?(state, found)
    }

    /// Starts on what the crash left, with a repair where that is due, goes on writing, and crashes again.
    private func crashAgain(_ state: CrashState, _ found: CrashJudge.Found, _ result: inout Result) throws(Violation) {
        guard !found.isNone, !found.contents.isEmpty else { return }
        var shape = program.shape
        shape.size = UInt64(found.contents.count)
        let again = Program(seed: program.seed &+ UInt64(result.states), shape: shape, length: 3)
        let start = StartImage(
            name: "after a crash", image: state.image, data: state.data, base: state.point.base,
            below: state.point.below, contents: found.contents, snapshots: found.snapshots)
        var examination = CrashExamination(again, on: start)
        examination.statesPerPoint = 8
        examination.everyEvent = true
        examination.pointShare = 30
        let second = try examination.run()
        result.states += second.states
        result.ofSecondCrash += second.states
        result.withLeaks += second.withLeaks
    }
}
