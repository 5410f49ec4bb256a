import ArgumentParser
import Simulation

/// Random programs without crashes: what is read, and the order of every write.
struct Audit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs random programs and holds every write against the rules of order.")

    @Option(help: "Run so many programs.") var programs = 10_000
    @Option(help: "Which programs; each family has seeds of its own.") var family = Family.plain
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let images = try stored.images()
        try Campaign(name: family.name("audit"), options: options).run(until: { [programs] in $0.programs >= programs })
        {
            [family] seed throws(Violation) in
            let scenario = family.scenario(seed, on: images)
            try CrashRun(scenario.program, on: scenario.start).run()
            return Tally()
        }
    }
}
