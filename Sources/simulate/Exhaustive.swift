import ArgumentParser
import BlockTestKit
import Simulation

/// All short programs, crashed at every flush.
struct Exhaustive: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes every program of up to three steps on each stored image.")

    @OptionGroup var stored: StoredImages
    @Option(help: "Every how many programs one is run.") var every: UInt64 = 1
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let all = try stored.images().map { ($0, ExhaustivePrograms($0)) }
        let count = all.reduce(0) { $0 + UInt64($1.1.count) }
        let every = max(1, every)
        // Programs are numbered through, one image after the other.
        var campaign = Campaign(
            name: every == 1 ? "exhaustive" : "exhaustive, one in \(every)", options: options,
            end: (count + every - 1) / every)
        campaign.isWhole = true
        try campaign.run(until: { _ in false }) { number throws(Violation) in
            var index = Int(number * every)
            for (start, programs) in all {
                if index < programs.count {
                    var examination = CrashExamination(programs[index], on: start)
                    examination.disk.sectorSize = programs.sectorSize(at: index)
                    return Tally(states: try examination.run().states)
                }
                index -= programs.count
            }
            return Tally()
        }
    }
}
