import ArgumentParser
import Dispatch
import Foundation
import Simulation
import Synchronization

/// Many programs, by their seeds, on several threads.
struct Campaign: Sendable {
    /// The name that its sums are kept under.
    let name: String
    let options: CampaignOptions
    /// Where the seeds end by themselves.
    var end = UInt64.max
    /// Whether the seeds begin anew on each commit, since together they are a whole.
    var isWhole = false
    /// Another engine is looked at: what is found wrong is counted, and no failure of ours.
    var isAboutAnother = false
    /// Whether what was counted of each verb is told, and kept in a table of its own.
    var countsVerbs = false

    /// How often sums are kept meanwhile.
    private static let recordSeconds = 180.0

    /// Runs programs until `isEnough`, or for the time that the options give instead, prints one line, and keeps the sums
    /// where the options ask for it: now and then, at the end, and when SIGINT or SIGTERM ends the run. Prints what
    /// violates a promise, and exits with failure then.
    func run(
        until isEnough: @escaping @Sendable (Tally) -> Bool,
        _ body: @escaping @Sendable (UInt64) throws(Violation) -> Tally
    ) throws {
        let table = try options.record.map { try RunTable(path: $0) }
        let verbs = try countsVerbs ? options.record.map { try RunTable(path: $0, .verbs) } : nil
        let first = try options.from ?? table?.nextSeed(of: name, anyCommit: !isWhole) ?? 0
        guard first < end else { return print("\(name): all \(end) programs have run on this commit") }
        let ledger = Ledger(name: name, first: first, table: table, verbs: verbs)
        let signals = signals(ledger)
        let deadline = options.seconds.map { Date.now + Double($0) }
        DispatchQueue.concurrentPerform(iterations: max(1, options.jobs)) { _ in
            var kept = Date.now
            while true {
                let seed = ledger.take { next, tally in
                    next < end && (isAboutAnother || tally.violationCount < 10)
                        && (deadline.map { Date.now < $0 } ?? !isEnough(tally))
                }
                guard let seed else { return }
                ledger.finish(seed, examine(seed, ledger, body))
                guard kept.distance(to: .now) > Self.recordSeconds else { continue }
                kept = .now
                // What cannot be kept now stays with the ledger, and is told at the end.
                try? ledger.keep()
            }
        }
        print(ledger.text)
        if countsVerbs { print(ledger.verbs) }
        try ledger.keep()
        withExtendedLifetime(signals) {}
        if ledger.tally.violationCount > 0, !isAboutAnother { throw ExitCode.failure }
    }

    private func examine(_ seed: UInt64, _ ledger: Ledger, _ body: (UInt64) throws(Violation) -> Tally) -> Tally {
        var tally = Tally()
        do throws(Violation) { tally = try body(seed) } catch {
            tally.violations = [error.kind: 1]
            for verb in error.verbs { tally.verbs[verb, default: VerbCount()].violations = 1 }
            let opinion = error.state.map { "\nqemu-img says: \(SecondOpinion.text($0))" } ?? ""
            ledger.print("\(name) \(seed): \(error.kind.rawValue): \(error)\(opinion)")
        }
        tally.programs = 1
        return tally
    }

    /// What a signal does: the sums of what has ended are told and kept.
    private func signals(_ ledger: Ledger) -> [any DispatchSourceSignal] {
        let queue = DispatchQueue(label: "signals")
        return [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler {
                print(ledger.text)
                do { try ledger.keep() } catch { print("\(error)") }
                exit(128 + number)
            }
            source.activate()
            return source
        }
    }
}

struct CampaignOptions: ParsableArguments {
    @Option(help: "The first seed; by default where the recorded runs ended, or 0.") var from: UInt64?
    @Option(help: "Threads.") var jobs = 2
    @Option(help: "Run for so many seconds, whatever else says when it is enough.") var seconds: Int?
    @Option(help: "The page whose table of runs goes on and is added to.") var record: String?
}
