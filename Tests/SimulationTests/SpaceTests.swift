import Simulation
import Testing

/// How much of its file an image takes; the long run is `make space`.
@Suite struct SpaceTests {
    @Test(
        "R88: after thousands of random changes, snapshots and new sizes the file takes what is live, 5 % and 1 MiB more",
        arguments: 0..<3 as Range<UInt64>)
    func churn(seed: UInt64) throws {
        let churn = try Churn(seed: seed)
        for round in 0..<5 {
            let usage = try churn.run(changes: 1000)
            #expect(usage.live > 0 && usage.taken <= usage.allowed, "round \(round): \(usage)")
        }
    }
}
