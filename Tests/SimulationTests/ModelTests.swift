import BlockTestKit
import FoundationEssentials
import Simulation
import Testing

/// Random programs on qcow2 over simulated disks, against a flat array of bytes. A failure prints its seed and program;
/// `NACRE_SEEDS=N` runs N seeds, `NACRE_SEEDS=A-B` those from A up to B.
@Suite struct ModelTests {
    /// Seeds that failed once.
    static let knownSeeds: [UInt64] = []

    /// Once through all cluster sizes with all refcount widths.
    static let defaultCount: UInt64 = 91

    static var seeds: [UInt64] {
        let asked = ProcessInfo.processInfo.environment["NACRE_SEEDS"] ?? ""
        let ends = asked.split(separator: "-").compactMap { UInt64($0) }
        switch ends.count {
        case 1: return knownSeeds + (0..<ends[0])
        case 2: return Array(ends[0]..<max(ends[0], ends[1]))
        default: return knownSeeds + (0..<defaultCount)
        }
    }

    @Test("R70: a program reads what it wrote, and leaves an image without errors or leaks", arguments: seeds)
    func program(seed: UInt64) throws {
        let program = Program(seed: seed, length: 80)
        let run = ModelRun(program)
        run.trace = ProcessInfo.processInfo.environment["NACRE_TRACE"] != nil
        do { try run.run() } catch { Issue.record("\(error)") }
    }

    @Test(
        "the same where clusters have subclusters, of every size that they can have", arguments: 0..<24 as Range<UInt64>
    )
    func subclusters(seed: UInt64) throws {
        // Every third seed gets an internal snapshot early, so that clusters with subclusters are shared.
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: 5 + seed % 8 + 13 * (seed / 8), &random)
        shape.refcountBits = 16 << (seed % 3)
        shape.divide()
        var steps = Program(seed: 3000 + seed, shape: shape, length: 70).steps
        if seed % 3 == 0 { steps.insert(.internalSnapshot, at: 20) }
        let run = ModelRun(Program(seed: 3000 + seed, shape: shape, steps: steps))
        run.trace = ProcessInfo.processInfo.environment["NACRE_TRACE"] != nil
        do { try run.run() } catch { Issue.record("\(error)") }
    }

    @Test(
        "the same where data lies in a file of its own, plain and raw, with subclusters and without",
        arguments: 0..<16 as Range<UInt64>)
    func dataFiles(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: seed % 8 + 13 * (seed % 7), &random)
        shape.version = 3
        shape.dataFile = seed % 2 == 0 ? .raw : .plain
        if seed % 4 > 1 { shape.divide() }
        if seed % 2 == 0 { shape.backing = .none }
        let run = ModelRun(Program(seed: 4000 + seed, shape: shape, length: 70))
        run.trace = ProcessInfo.processInfo.environment["NACRE_TRACE"] != nil
        do { try run.run() } catch { Issue.record("\(error)") }
    }

    @Test(
        "the same where whole clusters are written compressed, over and under others, of every size and refcount width",
        arguments: 0..<24 as Range<UInt64>)
    func compressed(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: 1 + seed % 8 + 13 * (seed % 7), &random)
        shape.compresses = true
        if seed % 8 == 7 { shape.divide() }
        if seed % 6 == 5 { shape.room = 10 + seed }
        var steps = Program(seed: 4000 + seed, shape: shape, length: 70).steps
        if seed % 3 == 0, shape.refcountBits > 2 { steps.insert(.internalSnapshot, at: 20) }
        let run = ModelRun(Program(seed: 4000 + seed, shape: shape, steps: steps))
        run.trace = ProcessInfo.processInfo.environment["NACRE_TRACE"] != nil
        do { try run.run() } catch { Issue.record("\(error)") }
    }

    @Test("a full disk refuses writes, loses nothing, and takes writes again once there is room")
    func fullDisk() throws {
        var refusals = 0
        for seed in 1000..<1012 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            var shape = Shape(seed: seed % 7, &random)
            shape.room = 3
            let program = Program(seed: seed, shape: shape, steps: Program(seed: seed % 7, length: 60).steps)
            let run = ModelRun(program)
            do { try run.run() } catch { Issue.record("\(error)") }
            refusals += run.refusals
        }
        #expect(refusals > 20, "the disks were full")
    }

    @Test("internal snapshots stay as they were made, whatever the active disk does")
    func internalSnapshots() throws {
        var compared = 0
        for seed in 2000..<2021 as Range<UInt64> {
            // Small clusters, widths that can count a second reference.
            var random = SeededRandom(seed: seed)
            var shape = Shape(seed: seed % 6 + 13 * (1 + seed % 6), &random)
            shape.room = nil
            var writer = Program(seed: seed, shape: shape, length: 70).steps
            writer.insert(.internalSnapshot, at: 20)
            let run = ModelRun(Program(seed: seed, shape: shape, steps: writer))
            do { try run.run() } catch { Issue.record("\(error)") }
            compared += run.snapshotsCompared
        }
        #expect(compared > 10, "most images had room for a snapshot")
    }

    @Test("the same seed gives the same program")
    func reproducible() {
        #expect(Program(seed: 7, length: 50).description == Program(seed: 7, length: 50).description)
        #expect(Program(seed: 7, length: 50).description != Program(seed: 8, length: 50).description)
    }
}
