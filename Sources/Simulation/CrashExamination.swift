import BlockTestKit

/// Runs one program and judges the crash states of its points, each once.
public struct CrashExamination {
    public let program: Program
    public let start: StartImage
    /// Crash states that one point may have.
    public var statesPerPoint = 1024
    /// How many of the points are looked at, out of 100.
    public var pointShare: UInt64 = 100
    public var sectorSize: UInt64 = 512
    /// At which events of the disk a crash is looked at besides the ends of flushes.
    public var everyEvent = false
    /// Shown every state that was judged sound; for a second opinion on a sample.
    public var onSound: ((CrashState, CrashJudge.Found) throws -> Void)?

    public init(_ program: Program, on start: StartImage) {
        self.program = program
        self.start = start
    }

    public struct Result: Sendable {
        /// Different states that were judged.
        public var states = 0
        /// States in which clusters were lost to nothing.
        public var withLeaks = 0
    }

    /// Judges until something is wrong, which it throws.
    public func run() throws -> Result {
        var result = Result()
        var known: [UInt64: [UInt8]] = [:]
        var random = SeededRandom(seed: program.seed ^ 0xC2A5)
        var violation: Violation?
        let judge = CrashJudge(program.shape)
        let run = CrashRun(program, on: start, .init(sectorSize: sectorSize))
        if everyEvent { run.isPoint = { _ in true } }
        run.onPoint = { point in
            guard violation == nil, random.chance(pointShare) else { return }
            do {
                try point.forEachState(budget: statesPerPoint, &random) { state in
                    let fingerprint = state.image.fingerprint &+ UInt64(point.below.count)
                    do {
                        if let contents = known[fingerprint] {
                            if let wrong = point.oracle.judge(afterCrash: contents) { throw Violation(wrong) }
                            return
                        }
                        let found = try judge.judge(state)
                        known[fingerprint] = found.contents
                        result.states += 1
                        if found.leaks > 0 { result.withLeaks += 1 }
                        try onSound?(state, found)
                    } catch {
                        throw Violation(
                            "\(error)\n\(state.choice) at \(result.states): \(point.disk.text)\n\(start.name)\n\(program)"
                        )
                    }
                }
            } catch { violation = error as? Violation ?? Violation("\(error)") }
        }
        try run.run()
        if let violation { throw violation }
        return result
    }
}
