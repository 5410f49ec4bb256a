import ArgumentParser
import Simulation

/// Images that are rebased and committed, with crashes and failed I/Os meanwhile.
struct Moves: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Rebases and commits images of random chains, with crashes and failed I/Os at every point.")

    @Option(help: "Move at least this many images.") var images = 1000
    @OptionGroup var options: CampaignOptions

    func run() throws {
        try Campaign(name: "rebase and commit", options: options).run(until: { [images] in $0.programs >= images }) {
            seed throws(Violation) in
            var examination = try MoveExamination(seed: seed)
            // Every third image with all I/Os failing, the others with some of them.
            examination.faultsEvery = seed % 3 == 0 ? 1 : 7 + Int(seed % 11)
            let result = try examination.run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }
}
