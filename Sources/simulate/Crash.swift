import ArgumentParser
import BlockTestKit
import Simulation

/// Random programs, crashed at many points.
struct Crash: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes random programs until enough states were judged.")

    @Option(help: "Judge at least this many crash states.") var states = 100_000
    @Option(help: "Show one of so many states to qemu-img too; 0 is none.") var qemuEvery = 0
    @Option(help: "Which programs; each family has seeds of its own.") var family = Family.plain
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let images = try stored.images()
        try Campaign(name: family.name("crash"), options: options).run(until: { [states] in $0.states >= states }) {
            [qemuEvery, family] seed throws(Violation) in
            try Self.examine(family.scenario(seed, on: images), qemuEvery)
        }
    }

    private static func examine(_ scenario: Scenario, _ qemuEvery: Int) throws(Violation) -> Tally {
        do throws(Violation) { return try judge(scenario, qemuEvery) } catch {
            let smaller = scenario.program.shrunk { candidate in
                do throws(Violation) { _ = try judge(scenario.with(candidate), 0) } catch { return true }
                return false
            }
            throw error.told { "\($0)\nA smaller program of that kind: \(smaller)" }
        }
    }

    private static func judge(_ scenario: Scenario, _ qemuEvery: Int) throws(Violation) -> Tally {
        var examination = CrashExamination(scenario)
        var asked = 0
        // Which states are shown moves on with the seeds.
        var left = qemuEvery == 0 ? 0 : Int(scenario.program.seed &* 31 % UInt64(qemuEvery))
        examination.onSound = { state, found throws(Violation) in
            left -= 1
            guard qemuEvery > 0, left < 0 else { return }
            left = qemuEvery - 1
            asked += 1
            try SecondOpinion.ask(state, found)
        }
        let result = try examination.run()
        return Tally(states: result.states, asked: asked)
    }
}
