import ArgumentParser
import Simulation

/// Programs of which every I/O fails once.
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lets every I/O of random and of short programs fail, in every way.")

    @Option(help: "Fail at least this many I/Os.") var points = 20_000
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let starts = try stored.images()
        try Campaign(name: "faults", options: options).run(until: { [points] in $0.points >= points }) {
            seed throws(Violation) in
            let result = try Self.examination(seed, starts).run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }

    /// Even seeds are the scenarios of the crash runs, odd ones short programs on a stored image.
    private static func examination(_ seed: UInt64, _ starts: [StartImage]) -> FaultExamination {
        if seed % 2 == 0 {
            let scenario = Scenario(seed: seed, on: starts)
            return FaultExamination(scenario.program, on: scenario.start)
        }
        let start = starts[Int(seed / 2 % UInt64(starts.count))]
        let all = ExhaustivePrograms(start)
        return FaultExamination(all[Int(seed &* 7919 % UInt64(all.count))], on: start)
    }
}
