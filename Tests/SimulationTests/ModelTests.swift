import BlockTestKit
import FoundationEssentials
import Simulation
import Testing

/// Random programs on qcow2 over simulated disks, against a flat array of bytes. A failure prints its seed and program;
/// `NACRE_SEEDS=N` runs N seeds of the plain kind, `NACRE_SEEDS=A-B` those from A up to B. `make check` runs more of all kinds with
/// the release build (`simulate model`).
@Suite struct ModelTests {
    /// Seeds that failed once.
    static let knownSeeds: [UInt64] = []

    /// Once through all cluster sizes.
    static let defaultCount: UInt64 = 13

    static var seeds: [UInt64] {
        let asked = ProcessInfo.processInfo.environment["NACRE_SEEDS"] ?? ""
        let ends = asked.split(separator: "-").compactMap { UInt64($0) }
        switch ends.count {
        case 1: return knownSeeds + (0..<ends[0])
        case 2: return Array(ends[0]..<max(ends[0], ends[1]))
        default: return knownSeeds + (0..<defaultCount)
        }
    }

    @discardableResult
    private static func run(_ kind: ModelPrograms, _ seed: UInt64) throws -> ModelRun {
        let run = ModelRun(kind.program(seed))
        run.trace = ProcessInfo.processInfo.environment["NACRE_TRACE"] != nil
        try run.run()
        return run
    }

    @Test("R70: a program reads what it wrote, and leaves an image without errors or leaks", arguments: seeds)
    func program(seed: UInt64) throws { try Self.run(.plain, seed) }

    @Test(
        "the same where clusters have subclusters, data lies in a file of its own, or clusters are compressed",
        arguments: [.subclusters, .dataFiles, .compressed] as [ModelPrograms], 0..<4 as Range<UInt64>)
    func kinds(kind: ModelPrograms, seed: UInt64) throws { try Self.run(kind, seed) }

    @Test("a full disk refuses writes, loses nothing, and takes writes again once there is room")
    func fullDisk() throws {
        var refusals = 0
        for seed in 0..<4 as Range<UInt64> { refusals += try Self.run(.fullDisk, seed).refusals }
        #expect(refusals > 5, "the disks were full")
    }

    @Test("internal snapshots stay as they were made, whatever the active disk does")
    func internalSnapshots() throws {
        var compared = 0
        for seed in 0..<5 as Range<UInt64> { compared += try Self.run(.internalSnapshots, seed).snapshotsCompared }
        #expect(compared > 2, "most images had room for a snapshot")
    }

    @Test("the same seed gives the same program")
    func reproducible() {
        #expect(Program(seed: 7, length: 50).description == Program(seed: 7, length: 50).description)
        #expect(Program(seed: 7, length: 50).description != Program(seed: 8, length: 50).description)
    }
}
