import ArgumentParser
import BlockTestKit
import Simulation

/// Random programs, crashed at many points.
struct Crash: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes random programs until enough states were judged.")

    @Option(help: "Judge at least this many crash states.") var states = 100_000
    @Option(help: "Show one of so many states to qemu-img too; 0 is none.") var qemuEvery = 0
    @OptionGroup var options: CampaignOptions

    func run() throws {
        try Campaign(name: "crash", options: options).run(until: { [states] in $0.states >= states }) {
            [qemuEvery] seed throws(Violation) in try Self.examine(seed, qemuEvery)
        }
    }

    private static func examine(_ seed: UInt64, _ qemuEvery: Int) throws(Violation) -> Tally {
        let program = Program(crash: seed)
        do throws(Violation) { return try judge(program, qemuEvery) } catch {
            let smaller = program.shrunk { candidate in
                do throws(Violation) { _ = try judge(candidate, 0) } catch { return true }
                return false
            }
            throw error.told { "\($0)\nA smaller program of that kind: \(smaller)" }
        }
    }

    private static func judge(_ program: Program, _ qemuEvery: Int) throws(Violation) -> Tally {
        var examination = CrashExamination(program, on: StartImage(program.shape, seed: program.seed))
        examination.statesPerPoint = 48
        examination.everyEvent = true
        examination.pointShare = 10
        examination.everySecondCrash = 200
        examination.disk.sectorSize = program.seed % 4 == 3 ? 4096 : 512
        var asked = 0
        // Which states are shown moves on with the seeds.
        var left = qemuEvery == 0 ? 0 : Int(program.seed &* 31 % UInt64(qemuEvery))
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
