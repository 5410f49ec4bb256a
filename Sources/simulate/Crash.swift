import ArgumentParser
import Simulation

/// Random programs, crashed at many points.
struct Crash: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes random programs until enough states were judged.")

    @Option(help: "Judge at least this many crash states.") var states = 100_000
    @Option(help: "The first seed.") var from: UInt64 = 0
    @Option(help: "How many seeds, where that ends it first.") var programs: UInt64 = .max

    func run() throws {
        var states = 0
        var leaks = 0
        var seed = from
        while states < self.states, seed - from < programs {
            let program = Program(crash: seed)
            var examination = CrashExamination(program, on: StartImage(program.shape, seed: seed))
            examination.statesPerPoint = 48
            examination.everyEvent = true
            examination.pointShare = 10
            do {
                let result = try examination.run()
                states += result.states
                leaks += result.withLeaks
            } catch {
                print("seed \(seed): \(error)")
                throw ExitCode.failure
            }
            seed += 1
        }
        print("\(states) states, \(seed - from) programs, 0 lost, \(leaks) with leaks")
    }
}
