import Simulation
import Testing

/// Rebases and commits of random chains. The long runs are `make moves`.
@Suite("Images that are rebased and committed")
struct MoveTests {
    @Test(
        "R42, O16: a rebase or a commit that crashes at any point, or of which any I/O fails, leaves the disk as it was; the next one ends it",
        arguments: 0..<6 as Range<UInt64>)
    func broken(part: UInt64) throws {
        var (states, points) = (0, 0)
        for seed in part * 6..<(part + 1) * 6 {
            var examination = try MoveExamination(seed: seed)
            examination.statesPerPoint = 4
            examination.faultsEvery = 29
            let result = try examination.run()
            states += result.states
            points += result.points
        }
        #expect(states > 100 && points > 20, "\(states) \(points)")
    }
}
