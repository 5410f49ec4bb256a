import ArgumentParser
import Foundation
import Simulation

/// All short programs, crashed at every flush.
struct Exhaustive: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Crashes every program of up to three steps on each stored image.")

    @Option(help: "The folder of the stored images.") var fixtures = "Tests/Fixtures/start"
    @Option(help: "Only this image.") var image: String?
    @Option(help: "The first program.") var from = 0
    @Option(help: "How many programs of each image.") var programs = Int.max
    @Option(help: "Every how many programs one is run.") var every = 1

    func run() throws {
        var (states, count, leaks) = (0, 0, 0)
        for name in StartImage.storedNames where image == nil || image == name {
            let start = try StartImage.stored(name) { try Array(Data(contentsOf: URL(filePath: "\(fixtures)/\($0)"))) }
            let all = ExhaustivePrograms(start)
            for index in stride(from: from, to: min(all.count, programs.addingReportingOverflow(from).overflow ? all.count : from + programs), by: every) {
                do {
                    let result = try CrashExamination(all[index], on: start).run()
                    states += result.states
                    leaks += result.withLeaks
                    count += 1
                } catch {
                    print("\(name) \(index): \(error)")
                    throw ExitCode.failure
                }
            }
            print("\(name): \(states) states, \(count) programs so far")
        }
        print("\(states) states, \(count) programs, 0 lost, \(leaks) with leaks")
    }
}
