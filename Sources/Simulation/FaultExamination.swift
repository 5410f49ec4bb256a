public import Block
public import BlockTestKit

/// Runs one program again and again, and lets another of its I/Os fail each time: the first, the second, … until a run
/// meets no failure. What is left must be what an honest report of errors allows.
public struct FaultExamination {
    /// How an I/O fails.
    public struct Mode: Sendable, CustomStringConvertible {
        public let error: BlockError
        public let forever: Bool
        public let effect: Fault.Effect

        public var description: String { "\(error)\(forever ? " from then on" : "") with \(effect) done" }

        /// A full disk cuts a change short, any other failure may leave any part of it.
        public static let all: [Mode] = [BlockError.io, .noSpace].flatMap { error in
            [false, true].flatMap { forever in
                [.nothing, .whole, error == .noSpace ? .short : .torn].map { (effect: Fault.Effect) in
                    Mode(error: error, forever: forever, effect: effect)
                }
            }
        }
    }

    public let program: Program
    public let start: StartImage
    /// Every how many I/Os one fails.
    public var every = 1
    /// Crash states that are judged after each run, besides what a killed process leaves.
    public var crashStates = 4
    public var disk = SimDisk.Options()

    public init(_ program: Program, on start: StartImage) {
        self.program = program
        self.start = start
    }

    public struct Result: Sendable {
        /// Runs in which an I/O failed.
        public var points = 0
        /// Errors that clients were told.
        public var reported = 0
        public var states = 0
        /// The same by what had begun in the program when the I/O failed.
        public var verbs: VerbCounts = [:]
    }

    public func run(_ modes: [Mode] = Mode.all) throws(Violation) -> Result {
        var result = Result()
        for mode in modes {
            var nth = 0
            while try run(mode, nth: nth, &result) { nth += every }
        }
        return result
    }

    /// Whether there was an I/O to fail.
    private func run(_ mode: Mode, nth: Int, _ result: inout Result) throws(Violation) -> Bool {
        let run = CrashRun(program, on: start, disk)
        run.mayFail = true
        run.chain.faults.add(
            Fault(Set(RequestKind.allCases), nth: nth, forever: mode.forever, error: mode.error, effect: mode.effect))
        var verbs = VerbProgress()
        run.chain.faults.onFirst = { [unowned run] in verbs = run.verbs }
        do throws(Violation) {
            try run.run()
            guard run.chain.faults.fired > 0 else {
                for verb in run.verbs.begun { result.verbs[verb, default: VerbCount()].programs = 1 }
                return false
            }
            result.points += 1
            verbs.countPoint(in: &result.verbs)
            result.reported += run.reported
            if run.reported == 0, mustBeReported(mode, run.chain.faults.firedKinds) {
                throw Violation("nobody was told of the error", .swallowed)
            }
            try judge(run, nth, &result)
        } catch {
            throw error.with(run.verbs.begun).told { "I/O \(nth) fails (\(mode)): \($0)\n\(start.name)\n\(program)" }
        }
        return true
    }

    /// Whether the failure cannot have been made up for, by another try or another way: what failed for ever still fails when
    /// the program ends with a flush, a failed flush may have lost anything, and nobody knows what became of a failed write.
    /// Where freed space stays taken, nothing is missing.
    private func mustBeReported(_ mode: Mode, _ kinds: Set<RequestKind>) -> Bool {
        mode.forever && kinds != [.discard] || kinds.contains(.flush)
            || mode.error != .noSpace && !kinds.isDisjoint(with: [.write, .resize])
    }

    private func judge(_ run: CrashRun, _ nth: Int, _ result: inout Result) throws(Violation) {
        // Where no image came about, there is nothing to lose.
        guard let point = run.end else { return }
        let states = result.states
        defer {
            point.verbs.count(states: result.states - states, ofSecondCrash: 0, in: &result.verbs)
        }
        let judge = CrashJudge(program.shape)
        var random = SeededRandom(seed: program.seed ^ UInt64(nth))
        let killed = point.killed
        do throws(Violation) { try judge.judge(killed) } catch { throw error.told(in: killed) { $0 } }
        result.states += 1
        try point.forEachState(budget: crashStates, &random) { state throws(Violation) in
            result.states += 1
            do throws(Violation) { try judge.judge(state) } catch {
                throw error.told(in: state) { "\($0)\n\(state.choice):\(point.text)" }
            }
        }
    }
}
