import ArgumentParser
import BlockTestKit
import Simulation

/// All that an image can be told to do, in any company, with crashes and failed I/Os; each verb is counted for itself.
///
/// Of each 16 seeds eleven are programs that crash, and two programs whose I/Os fail; two are images that are damaged and
/// repaired, and one is a chain of images that is rebased or committed, with both.
struct Verbs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes programs in which an image is told all that there is, and lets their I/Os fail.")

    @Option(help: "Judge at least this many crash states.") var states = 100_000
    @Option(help: "Fail at least this many I/Os.") var points = 0
    @OptionGroup var stored: StoredImages
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let images = try stored.images()
        var campaign = Campaign(name: "verbs", options: options)
        campaign.countsVerbs = true
        try campaign.run(until: { [states, points] in $0.states >= states && $0.points >= points }) {
            seed throws(Violation) in
            switch seed % 16 {
            case 3, 11: try Self.fail(seed, images)
            case 7, 15: try Self.repair(seed / 8, images)
            case 13: try Self.move(seed / 16)
            default: try Self.crash(seed, images)
            }
        }
    }

    private static func crash(_ seed: UInt64, _ images: [StartImage]) throws(Violation) -> Tally {
        let scenario = Scenario(verbs: seed, on: images)
        do throws(Violation) { return try judge(scenario) } catch {
            let smaller = scenario.program.shrunk { candidate in
                do throws(Violation) { _ = try judge(scenario.with(candidate)) } catch { return true }
                return false
            }
            throw error.told { "\($0)\nA smaller program of that kind: \(smaller)" }
        }
    }

    private static func judge(_ scenario: Scenario) throws(Violation) -> Tally {
        var examination = CrashExamination(scenario)
        examination.creation = true
        // Many points with few states, or few with many: a program's states are all kept in memory.
        examination.shareUnderWay = examination.statesPerPoint > 100 ? 8 : 40
        let result = try examination.run()
        return Tally(states: result.states, verbs: result.verbs)
    }

    private static func fail(_ seed: UInt64, _ images: [StartImage]) throws(Violation) -> Tally {
        var examination = FaultExamination(Scenario(verbs: seed, on: images), seed: seed)
        // A part of the I/Os of many programs rather than all of few.
        (examination.every, examination.crashStates) = (3, 2)
        let result = try examination.run()
        return Tally(
            states: result.states, points: result.points, reported: result.reported, verbs: result.verbs)
    }

    /// Small images, whose repair crashes and fails.
    private static func repair(_ seed: UInt64, _ images: [StartImage]) throws(Violation) -> Tally {
        var examination = RepairExamination(try DamagedImage(seed: seed, on: images, small: true))
        (examination.crashes, examination.faultsEvery) = (true, 1 + Int(seed % 7))
        examination.disk.sectorSize = seed % 4 == 3 ? 4096 : 512
        examination.disk.stickyFlush = seed % 2 == 0
        do throws(Violation) {
            let result = try examination.run()
            return Tally(
                states: result.states, points: result.points, reported: result.reported,
                verbs: VerbCounts([.repair], states: result.states, points: result.points))
        } catch { throw error.with([.repair]) }
    }

    private static func move(_ seed: UInt64) throws(Violation) -> Tally {
        var examination = try MoveExamination(seed: seed)
        examination.faultsEvery = 7 + Int(seed % 11)
        let verb: Verb = if case .rebase = examination.move { .rebase } else { .commit }
        do throws(Violation) {
            let result = try examination.run()
            return Tally(
                states: result.states, points: result.points, reported: result.reported,
                verbs: VerbCounts([verb], states: result.states, points: result.points))
        } catch { throw error.with([verb]) }
    }
}
