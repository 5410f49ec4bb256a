import ArgumentParser
import Foundation
import Simulation

/// Programs of which every I/O fails once.
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lets every I/O of random and of short programs fail, in every way.")

    @Option(help: "Fail at least this many I/Os.") var points = 20_000
    @Option(help: "The first seed.") var from: UInt64 = 0
    @Option(help: "The folder of the stored images.") var fixtures = "Tests/Fixtures/start"

    func run() throws {
        let starts = try StartImage.storedNames.map { name in
            try StartImage.stored(name) { try Array(Data(contentsOf: URL(filePath: "\(fixtures)/\($0)"))) }
        }
        var (points, states, reported, seed) = (0, 0, 0, from)
        while points < self.points {
            let examination: FaultExamination
            if seed % 2 == 0 {
                let program = Program(crash: seed)
                examination = FaultExamination(program, on: StartImage(program.shape, seed: seed))
            } else {
                let start = starts[Int(seed / 2 % UInt64(starts.count))]
                let all = ExhaustivePrograms(start)
                examination = FaultExamination(all[Int(seed &* 7919 % UInt64(all.count))], on: start)
            }
            do {
                let result = try examination.run()
                points += result.points
                states += result.states
                reported += result.reported
            } catch {
                print("seed \(seed): \(error)")
                throw ExitCode.failure
            }
            seed += 1
        }
        print("\(points) failed I/Os, \(reported) errors reported, \(states) states, 0 lost, up to seed \(seed)")
    }
}
