import ArgumentParser
import Foundation
import Simulation

/// Random changes of one image, and how much of its file it takes.
struct Space: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Changes one image at random, and looks how much of its file it takes meanwhile.")

    @Option(help: "Make so many changes.") var changes = 1_000_000
    @Option(help: "The image and its changes.") var seed: UInt64 = 1

    /// Changes between two looks at the file.
    private static let round = 20_000

    func run() throws {
        let churn = try Churn(seed: seed)
        var done = 0
        // How far over what is live, in bytes, and the longest file.
        var (most, longest): (UInt64, UInt64) = (0, 0)
        do throws(Violation) {
            while done < changes {
                let usage = try churn.run(changes: min(Self.round, changes - done))
                done += min(Self.round, changes - done)
                most = max(most, usage.taken - min(usage.live, usage.taken))
                longest = max(longest, usage.length)
            }
        } catch {
            print("space: \(error)")
            throw ExitCode.failure
        }
        print(
            "space: \(done) changes, at most \(most) bytes more than what is live, the file at most \(longest) bytes long"
        )
    }
}
