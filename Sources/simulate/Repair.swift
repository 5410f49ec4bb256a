import ArgumentParser
import BlockTestKit
import Simulation

/// Images that are damaged at random, repaired, and crash meanwhile.
struct Repair: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Repairs images damaged at random, with crashes and failed I/Os at every point of the repair.")

    @Option(help: "Repair at least this many images.") var images = 10_000
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let starts = try stored.images()
        try Campaign(name: "repair", options: options).run(until: { [images] in $0.programs >= images }) {
            seed throws(Violation) in
            // Every fourth image is small, and its repair crashes and fails at every point.
            let isSmall = seed % 4 == 0
            var examination = RepairExamination(try DamagedImage(seed: seed, on: starts, small: isSmall))
            examination.crashes = isSmall
            examination.faultsEvery = isSmall ? 1 + Int(seed / 4 % 7) : 0
            examination.disk.sectorSize = seed % 16 == 12 ? 4096 : 512
            examination.disk.stickyFlush = seed % 8 == 0
            let result = try examination.run()
            return Tally(states: result.states, points: result.points, reported: result.reported)
        }
    }
}
