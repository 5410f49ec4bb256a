import ArgumentParser
import BlockTestKit
import Simulation

/// Random programs with persistent bitmaps: of each eight seeds seven crash, and of one every I/O fails.
struct Bitmaps: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes programs with persistent bitmaps, and lets their I/Os fail, until enough states were judged."
    )

    @Option(help: "Judge at least this many crash states.") var states = 100_000
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let images = try stored.images()
        try Campaign(name: "bitmaps", options: options).run(until: { [states] in $0.states >= states }) {
            seed throws(Violation) in
            let scenario = Scenario(bitmaps: seed, on: images)
            guard seed % 8 == 7 else {
                return Tally(states: try CrashExamination(scenario).run().states)
            }
            var examination = FaultExamination(scenario.program, on: scenario.start)
            examination.disk.stickyFlush = seed % 16 == 7
            let result = try examination.run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }
}
