import ArgumentParser
import Simulation

/// Random programs without crashes: what is read, and the order of every write.
struct Audit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs random programs and holds every write against the rules of order.")

    @Option(help: "Run so many programs.") var programs = 10_000
    @OptionGroup var options: CampaignOptions

    func run() throws {
        try Campaign(name: "audit", options: options).run(until: { [programs] in $0.programs >= programs }) {
            seed throws(Violation) in
            let program = Program(crash: seed)
            try CrashRun(program, on: StartImage(program.shape, seed: seed)).run()
            return Tally()
        }
    }
}
