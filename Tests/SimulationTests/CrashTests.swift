import Block
import BlockTestKit
import Bytes
import Foundation
import Simulation
import Testing

/// Crash states of programs over simulated disks. The long runs are `make crash` and its like; here are a few programs,
/// the seeds that found something once, and proofs that something is found where it is wrong.
@Suite struct CrashTests {
    /// Seeds that a bug was found with: the program, and what was wrong.
    static let knownSeeds: [UInt64] = [39, 1625]

    static let stored: [StartImage] = {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fixtures/start/")
        return
            (try? StartImage.storedNames.map { name in
                try StartImage.stored(name) { try Array(Data(contentsOf: folder.appending(path: $0))) }
            }) ?? []
    }()

    static func examination(_ seed: UInt64) -> CrashExamination {
        let program = Program(crash: seed)
        var examination = CrashExamination(program, on: StartImage(program.shape, seed: seed))
        examination.statesPerPoint = 8
        examination.everyEvent = true
        examination.pointShare = 10
        examination.everySecondCrash = 20
        examination.disk.sectorSize = seed % 4 == 3 ? 4096 : 512
        return examination
    }

    @Test("R73: no crash loses what was flushed, or shows what nobody wrote", arguments: knownSeeds + (0..<1))
    func randomPrograms(seed: UInt64) throws {
        let result = try Self.examination(seed).run()
        #expect(result.states > 0)
    }

    @Test("a disk that grew and shrank again before a commit shows nothing of what lies past the old end")
    func growthTakenBack() throws {
        let start = try #require(Self.stored.first { $0.name == "backed" })
        let size = start.shape.size
        let steps: [Step] = [
            .resize(size + 2560), .resize(size + 512), .write(ByteRange(at: 0, count: 512), fua: false, fill: 1),
        ]
        _ = try CrashExamination(Program(seed: 1, shape: start.shape, steps: steps + [.flush]), on: start).run()
    }

    @Test("a machine that crashes again while it starts, with a repair or without, loses nothing either")
    func secondCrash() throws {
        var second = 0
        for seed in 0..<3 as Range<UInt64> {
            var examination = Self.examination(seed)
            examination.everySecondCrash = 4
            second += try examination.run().ofSecondCrash
        }
        #expect(second > 20)
    }

    @Test(
        "R82: opening repairs a dirty image whose refcounts are behind; a crash inside the repair, and in the next, loses nothing"
    )
    func dirtyImage() throws {
        let start = try #require(Self.stored.first { $0.name == "dirty" })
        let check = MiniCheck(try #require(start.image))
        #expect(check.isDirty && check.errors.count >= 50)
        var (dirty, behind, repaired) = (0, 0, 0)
        for seed in 1...4 as ClosedRange<UInt64> {
            var examination = CrashExamination(
                Program(seed: seed, shape: start.shape, steps: [.flush, .reopen]), on: start)
            examination.everyEvent = true
            examination.everySecondCrash = 1
            examination.onSound = { (state, found) throws(Violation) in
                let check = MiniCheck(state.image)
                if check.isDirty { dirty += 1 } else { repaired += 1 }
                if !check.errors.isEmpty { behind += 1 }
            }
            let result = try examination.run()
            #expect(result.ofSecondCrash > 0)
        }
        #expect(dirty > 0 && behind > 0 && repaired > 0, "\(dirty) \(behind) \(repaired)")
    }

    @Test("short programs on images of QEMU's tools crash at every flush and lose nothing", arguments: stored.indices)
    func storedImages(index: Int) throws {
        let start = Self.stored[index]
        let programs = ExhaustivePrograms(start)
        for position in stride(from: index * 7, to: programs.count, by: 1931) {
            _ = try CrashExamination(programs[position], on: start).run()
        }
    }

    @Test("a disk of which a flush does nothing is found out")
    func lostFlushes() throws {
        var found: Set<Violation.Kind> = []
        for seed in 0..<4 as Range<UInt64> {
            for lost in 0..<4 {
                var examination = Self.examination(seed)
                examination.pointShare = 20
                examination.disk.lostFlushes = [lost]
                do throws(Violation) { _ = try examination.run() } catch { found.insert(error.kind) }
            }
        }
        // An overwrite in place touches no metadata: what is lost is the guest's own.
        let full = try #require(Self.stored.first { $0.name == "full" })
        let overwrite = Program(
            seed: 1, shape: full.shape,
            steps: [.write(ByteRange(at: 4096, count: 1024), fua: false, fill: 1), .pause(ms: 1), .flush])
        var examination = CrashExamination(overwrite, on: full)
        examination.everyEvent = true
        examination.disk.lostFlushes = Set(0..<100)
        do throws(Violation) { _ = try examination.run() } catch { found.insert(error.kind) }
        #expect(found.isSuperset(of: [.lost, .corrupt]), "\(found)")
    }

    @Test("a failing program shrinks to one that still fails, and is told with its crash state")
    func shrinks() throws {
        func fails(_ program: Program) -> Violation? {
            var examination = CrashExamination(program, on: StartImage(program.shape, seed: program.seed))
            examination.disk.lostFlushes = Set(0..<1000)
            do throws(Violation) { _ = try examination.run() } catch { return error }
            return nil
        }
        let program = try #require((0..<20).lazy.map { Program(crash: $0) }.first { fails($0) != nil })
        let small = program.shrunk { fails($0) != nil }
        let violation = try #require(fails(small))
        #expect(violation.state != nil)
        #expect(small.steps.count <= 3, "\(small)")
    }
}

/// Which states a point has.
@Suite struct CrashPointTests {
    private static func point(writes: Int) throws -> CrashPoint {
        let context = SimulatedContext(seed: 1, order: .fifo)
        let disk = SimDisk(context, contents: SparseBytes(length: 65536))
        try context.complete {
            for index in 0..<writes {
                let bytes = [UInt8](repeating: UInt8(index + 1), count: 1024)
                try await disk.write(at: UInt64(index) * 1024, from: bytes.rawBytes, flags: [])
            }
        }
        return CrashPoint(
            disk: disk.snapshot, base: nil, below: [], oracle: SectorOracle([UInt8](repeating: 0, count: 512)),
            snapshots: [])
    }

    private static func images(_ point: CrashPoint, budget: Int) -> [SparseBytes] {
        var random = SeededRandom(seed: 1)
        var images: [SparseBytes] = []
        point.forEachState(budget: budget, &random) { images.append($0.image) }
        return images
    }

    @Test("few pending writes: every subset of them, and each with its last one torn")
    func allSubsets() throws {
        let images = Self.images(try Self.point(writes: 3), budget: 1024)
        for mask in 0..<8 {
            let isThere = images.contains { image in
                (0..<3).allSatisfy { write in
                    let expected = mask >> write & 1 == 1 ? UInt8(write + 1) : 0
                    return image.bytes(ByteRange(at: UInt64(write) * 1024, count: 1024)).allSatisfy { $0 == expected }
                }
            }
            #expect(isThere, "subset \(mask)")
        }
        #expect(images.count == 8 + 7)
    }

    @Test("ten pending writes: every subset of them")
    func allSubsetsOfTen() throws {
        let images = Self.images(try Self.point(writes: 10), budget: 1024)
        var masks: Set<Int> = []
        for image in images {
            let found = (0..<10).map { image.bytes(ByteRange(at: UInt64($0) * 1024, count: 1024)) }
            // Torn ones hold a write in part.
            guard found.allSatisfy({ Set($0).count == 1 }) else { continue }
            masks.insert(found.indices.reduce(0) { $0 | (found[$1][0] == 0 ? 0 : 1 << $1) })
        }
        #expect(masks.count == 1024 && images.count == 1024 + 1023)
    }

    @Test("many pending writes: none, all and as many between as the budget says")
    func budget() throws {
        let images = Self.images(try Self.point(writes: 14), budget: 40)
        #expect(images.count >= 40 && images.count <= 80)
        #expect(images.contains { $0.array.allSatisfy { $0 == 0 } })
        #expect(images.contains { image in (0..<14).allSatisfy { image.array[$0 * 1024 + 1023] == UInt8($0 + 1) } })
    }

    @Test("what was flushed is in every state")
    func flushed() throws {
        let context = SimulatedContext(seed: 1, order: .fifo)
        let disk = SimDisk(context, contents: SparseBytes(length: 4096))
        try context.complete {
            try await disk.write(at: 0, from: [UInt8](repeating: 1, count: 512).rawBytes, flags: [])
            try await disk.flush()
            try await disk.write(at: 512, from: [UInt8](repeating: 2, count: 512).rawBytes, flags: [])
        }
        let point = CrashPoint(disk: disk.snapshot, base: nil, below: [], oracle: SectorOracle([]), snapshots: [])
        let images = Self.images(point, budget: 16)
        #expect(images.count == 2 && images.allSatisfy { $0.array[0] == 1 })
    }
}
