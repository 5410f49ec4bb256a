import ArgumentParser
import Simulation

/// Random programs against a flat model of the disk, of each kind in turn.
struct Model: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs random programs on images of every shape, and compares what is read with a flat model.")

    @Option(help: "Run so many programs.") var programs = 1000
    @OptionGroup var options: CampaignOptions

    func run() throws {
        try Campaign(name: "model", options: options).run(until: { [programs] in $0.programs >= programs }) {
            seed throws(Violation) in
            let kinds = ModelPrograms.allCases
            let program = kinds[Int(seed % UInt64(kinds.count))].program(seed / UInt64(kinds.count))
            try ModelRun(program).run()
            return Tally()
        }
    }
}
