import ArgumentParser
import Simulation

/// Programs of which every I/O fails once.
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lets every I/O of random and of short programs fail, in every way.")

    @Option(help: "Fail at least this many I/Os.") var points = 20_000
    @Option(help: "The folder of the stored images.") var fixtures = "Tests/Fixtures/start"
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let starts = try StartImage.stored(in: fixtures)
        try Campaign(name: "faults", options: options).run(until: { [points] in $0.points >= points }) {
            seed throws(Violation) in
            let result = try Self.examination(seed, starts).run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }

    /// Even seeds are random programs, odd ones short programs on a stored image.
    private static func examination(_ seed: UInt64, _ starts: [StartImage]) -> FaultExamination {
        if seed % 2 == 0 {
            let program = Program(crash: seed)
            return FaultExamination(program, on: StartImage(program.shape, seed: seed))
        }
        let start = starts[Int(seed / 2 % UInt64(starts.count))]
        let all = ExhaustivePrograms(start)
        return FaultExamination(all[Int(seed &* 7919 % UInt64(all.count))], on: start)
    }
}
