import ArgumentParser
import Simulation

/// Programs of which every I/O fails once.
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lets every I/O of random and of short programs fail, in every way.")

    @Option(help: "Fail at least this many I/Os.") var points = 20_000
    @Option(help: "Which programs; each family has seeds of its own.") var family = Family.plain
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let starts = try stored.images()
        try Campaign(name: family.name("faults"), options: options).run(until: { [points] in $0.points >= points }) {
            [family] seed throws(Violation) in
            let result = try family.faults(seed, on: starts).run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }
}
