import Block
import BlockTestKit
import Bytes
import Simulation
import Testing

/// Programs about where an image's bytes lie: in a file for data alone, in places that were reserved, in a file that is cut. The
/// long runs are `simulate … --family data-files`, `sizes` and `mixed`.
@Suite("crashes around data files, sizes and all that beside each other")
struct StorageFamilyTests {
    private static func scenario(_ family: String, _ seed: UInt64) -> Scenario {
        switch family {
        case "data files": Scenario(dataFiles: seed)
        case "sizes": Scenario(sizes: seed, on: CrashTests.stored)
        default: Scenario(mixed: seed, on: CrashTests.stored)
        }
    }

    private static let families = ["data files", "sizes", "mixed"]

    @Test("no crash loses what was flushed, or shows what nobody wrote", arguments: families, 0..<2 as Range<UInt64>)
    func crashes(family: String, seed: UInt64) throws {
        var examination = CrashExamination(Self.scenario(family, seed))
        (examination.statesPerPoint, examination.pointShare, examination.everySecondCrash) = (8, 8, 20)
        #expect(try examination.run().states > 0)
    }

    @Test("a failed I/O is reported, corrupts nothing and loses nothing that was flushed", arguments: families)
    func faults(family: String) throws {
        var examination = FaultExamination(Self.scenario(family, 3), seed: 3)
        (examination.every, examination.crashStates) = (29, 2)
        #expect(try examination.run().points > 5)
    }

    @Test("the seeds stand for all that they are to stand for")
    func seeds() {
        var seen: Set<String> = []
        for seed in 0..<300 as Range<UInt64> {
            for family in Self.families {
                let program = Self.scenario(family, seed).program
                seen.insert("\(family): \(program.shape.dataFile.rawValue) data")
                seen.insert("\(family): preallocation \(program.shape.preallocation)")
                for step in program.steps {
                    switch step {
                    case .refit(let size, let mode):
                        seen.insert("\(family): \(size < program.shape.size ? "shorter" : "longer \(mode)")")
                    case .amend: seen.insert("\(family): amend")
                    case .bitmap: seen.insert("\(family): bitmap")
                    case .snapshotCreate: seen.insert("\(family): snapshot")
                    default: break
                    }
                }
            }
        }
        let modes = Preallocation.allCases
        let wanted: [String] =
            ["plain data", "raw data", "amend", "shorter"].map { "data files: \($0)" }
            + ["none data", "shorter"].map { "sizes: \($0)" } + ["amend", "bitmap", "snapshot"].map { "mixed: \($0)" }
            + modes.flatMap {
                ["sizes: longer \($0)", "sizes: preallocation \($0)", "data files: preallocation \($0)"]
            }
        #expect(seen.isSuperset(of: wanted), "\(Set(wanted).subtracting(seen))")
    }

    @Test("a file for data of which a flush does nothing is found out")
    func lostFlushes() throws {
        var found: Set<Violation.Kind> = []
        for seed in 0..<4 as Range<UInt64> {
            var examination = CrashExamination(Scenario(dataFiles: seed))
            (examination.statesPerPoint, examination.pointShare) = (8, 20)
            examination.disk.lostFlushes = Set(0..<1000)
            do throws(Violation) { _ = try examination.run() } catch { found.insert(error.kind) }
        }
        #expect(!found.isDisjoint(with: [.lost, .corrupt, .thirdValue, .unordered]), "\(found)")
    }

    @Test("a raw file for data that reads as something else than the disk is found out")
    func rawByItself() throws {
        var shape = Program(crash: 1).shape
        (shape.version, shape.dataFile, shape.backing, shape.size) = (3, .raw, .none, 65536)
        let steps: [Step] = [.write(ByteRange(at: 0, count: 4096), fua: true, fill: 1)]
        let run = CrashRun(Program(seed: 1, shape: shape, steps: steps), on: StartImage(shape, seed: 1))
        var points: [CrashPoint] = []
        run.isPoint = { _ in true }
        run.onPoint = { points.append($0) }
        try run.run()
        let killed = try #require(points.last).killed
        try CrashJudge(shape).judge(killed)
        var data = try #require(killed.data)
        data.write([0xEE].rawBytes, at: 40_000)
        let changed = CrashState(image: killed.image, data: data, point: killed.point, choice: "")
        #expect(throws: Violation.self) { try CrashJudge(shape).judge(changed) }
    }
}
