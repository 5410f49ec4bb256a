import ArgumentParser
import Dispatch
import Simulation
import Synchronization

/// What was counted in some runs.
struct Tally: Sendable {
    var programs = 0
    var states = 0
    var points = 0
    /// States that qemu-img was asked about.
    var asked = 0
    /// Violations of another engine that its own tools show too.
    var confirmed = 0
    var reported = 0
    var violations: [Violation.Kind: Int] = [:]

    static func += (sum: inout Tally, more: Tally) {
        sum.programs += more.programs
        sum.states += more.states
        sum.points += more.points
        sum.asked += more.asked
        sum.confirmed += more.confirmed
        sum.reported += more.reported
        sum.violations.merge(more.violations, uniquingKeysWith: +)
    }

    var violationCount: Int { violations.values.reduce(0, +) }

    var text: String {
        let found = Violation.Kind.allCases.filter { $0 != .unexpected || violations[$0] != nil }
        return "\(states) states, \(programs) programs, "
            + (points > 0 ? "\(points) failed I/Os, \(reported) errors reported, " : "")
            + (asked > 0 ? "\(asked) shown to qemu-img, " : "")
            + found.map { "\(violations[$0, default: 0]) \($0.rawValue)" }.joined(separator: ", ")
            + (confirmed > 0 ? ", \(confirmed) of these confirmed" : "")
    }
}

/// Many programs, by their seeds, on several threads.
struct Campaign {
    /// The name that its sums are kept under.
    let name: String
    let options: CampaignOptions
    /// Where the seeds end by themselves.
    var end = UInt64.max
    /// Another engine is looked at: what is found wrong is counted, and no failure of ours.
    var isAboutAnother = false

    /// Runs programs until `isEnough`, prints one line, and keeps the sums where the options ask for it. Prints what
    /// violates a promise, and exits with failure then.
    func run(until isEnough: @Sendable (Tally) -> Bool, _ body: @Sendable (UInt64) throws(Violation) -> Tally) throws {
        var record = try options.record.map { try RunTable(path: $0) }
        let first = options.from ?? record?.nextSeed(of: name) ?? 0
        let state = Mutex((next: first, tally: Tally()))
        DispatchQueue.concurrentPerform(iterations: max(1, options.jobs)) { _ in
            while true {
                let seed = state.withLock { state -> UInt64? in
                    guard state.next < end, isAboutAnother || state.tally.violationCount < 10, !isEnough(state.tally)
                    else {
                        return nil
                    }
                    state.next += 1
                    return state.next - 1
                }
                guard let seed else { return }
                var tally = Tally()
                do throws(Violation) { tally = try body(seed) } catch {
                    tally.violations = [error.kind: 1]
                    let opinion = error.state.map { "\nqemu-img says: \(SecondOpinion.text($0))" } ?? ""
                    state.withLock { _ in print("\(name) \(seed): \(error.kind.rawValue): \(error)\(opinion)") }
                }
                tally.programs = 1
                state.withLock { $0.tally += tally }
            }
        }
        let (next, tally) = state.withLock { ($0.next, $0.tally) }
        print("\(name): \(tally.text); seeds \(first)..<\(next)")
        try record?.add(tally, name: name, seeds: first..<next)
        if tally.violationCount > 0, !isAboutAnother { throw ExitCode.failure }
    }
}

struct CampaignOptions: ParsableArguments {
    @Option(help: "The first seed; by default where the recorded runs ended, or 0.") var from: UInt64?
    @Option(help: "Threads.") var jobs = 2
    @Option(help: "The page whose table of runs goes on and is added to.") var record: String?
}
