import BlockTestKit
import Bytes
import Simulation
import Testing

/// What the seeds of the long runs stand for.
@Suite struct ScenarioTests {
    static let stored = CrashTests.stored

    @Test("half of the seeds start on stored images, on every one of them, with overlays and internal snapshots")
    func starts() {
        var names: [String: Int] = [:]
        var (overlays, snapshots, deep) = (0, 0, 0)
        for seed in 0..<600 as Range<UInt64> {
            let scenario = Scenario(seed: seed, on: Self.stored)
            names[scenario.start.name, default: 0] += 1
            let steps = scenario.program.steps
            if steps.contains(where: { if case .snapshot = $0 { true } else { false } }) { overlays += 1 }
            if steps.contains(where: { if case .internalSnapshot = $0 { true } else { false } }) { snapshots += 1 }
            if CrashExamination(scenario).statesPerPoint == 1024 { deep += 1 }
        }
        let fromQEMU = StartImage.storedNames.map { names[$0] ?? 0 }
        #expect(fromQEMU.allSatisfy { $0 > 20 } && (240...360).contains(fromQEMU.reduce(0, +)), "\(names)")
        #expect(names["new", default: 0] > 200 && names["crowded", default: 0] > 5, "\(names)")
        #expect(overlays > 100 && snapshots > 100 && (240...360).contains(deep))
    }

    @Test(
        "R83: crashes on stored images, chains and images with internal snapshots lose nothing",
        arguments: stored.indices)
    func crashes(index: Int) throws {
        let start = Self.stored[index]
        let seeds = (0..<100 as Range<UInt64>).lazy.map { Scenario(seed: $0, on: [start]) }
        for scenario in seeds.filter({ $0.start.name == start.name }).prefix(1) {
            var examination = CrashExamination(scenario)
            (examination.statesPerPoint, examination.pointShare, examination.everySecondCrash) = (8, 10, 20)
            #expect(try examination.run().states > 0)
        }
    }

    @Test(
        "an internal snapshot made by hand keeps what the image held, compressed clusters too",
        arguments: stored.indices)
    func forged(index: Int) throws {
        let start = Self.stored[index]
        let image = try #require(start.image)
        // Where refcounts are behind, so are those that a snapshot adds to.
        guard start.snapshots.isEmpty, MiniCheck(image).isClean else { return }
        let forged = try #require(SnapshotForge.adding(to: image))
        #expect(MiniCheck(forged).isClean, "\(MiniCheck(forged).errors)")
        #expect(SnapshotForge.kept(in: forged) == MiniCheck(image).stored)
        #expect(start.name == "empty" || SnapshotForge.kept(in: forged).count > 60)
    }

    @Test(
        "D5: a byte of an internal snapshot that changes is found, compressed or not",
        arguments: ["compressed", "shared"])
    func changedSnapshot(name: String) throws {
        let start = try #require(Self.stored.first { $0.name == name })
        let image = try #require(start.image)
        var changed = start.snapshots.isEmpty ? try #require(SnapshotForge.adding(to: image)) : image
        let snapshot = SnapshotForge.kept(in: changed)
        let check = MiniCheck(SnapshotForge.reverting(changed))
        let place = try #require(check.compressed.values.map(\.start).min() ?? check.mapped.values.min())
        changed.write([~changed.bytes(ByteRange(at: place, count: 1))[0]].rawBytes, at: place)
        #expect(SnapshotForge.kept(in: changed) != snapshot)
    }

    @Test("the stored snapshot of QEMU's reads as the disk did when it was made")
    func storedSnapshot() throws {
        let start = try #require(Self.stored.first { $0.name == "shared" })
        let image = try #require(start.image)
        #expect(MiniCheck(SnapshotForge.reverting(image)).contents().array == start.contents)
    }
}
