import BlockTestKit
import Bytes
import Foundation
import Qcow2
import Simulation
import Testing

/// Images damaged at random in their metadata, and what a repair makes of them. The long runs are `make repair`; `make check`
/// runs some with the release build.
@Suite struct RepairTests {
    @Test(
        "whatever is damaged, what could be read can be read after a repair, nothing is wrong then, and the report was right",
        arguments: 0..<2 as Range<UInt64>)
    func damage(part: UInt64) throws {
        for seed in part * 10..<(part + 1) * 10 {
            _ = try RepairExamination(DamagedImage(seed: seed, on: CrashTests.stored)).run()
        }
    }

    @Test("a repair that crashes at any point, and one of which any I/O fails, loses nothing; the next one ends it")
    func broken() throws {
        var (states, points) = (0, 0)
        for seed in 1000..<1006 as Range<UInt64> {
            var examination = RepairExamination(try DamagedImage(seed: seed, on: CrashTests.stored, small: true))
            examination.crashes = true
            examination.statesPerPoint = 4
            examination.faultsEvery = 23
            examination.disk.sectorSize = seed % 4 == 3 ? 4096 : 512
            examination.disk.stickyFlush = seed % 2 == 0
            let result = try examination.run()
            states += result.states
            points += result.points
        }
        #expect(states > 100 && points > 25, "\(states) \(points)")
    }

    @Test("qemu-img finds nothing wrong in what was repaired, and reads it as we do")
    func second() throws {
        var asked = 0
        for seed in stride(from: 0, to: 400, by: 25) as StrideTo<UInt64> {
            let examination = RepairExamination(try DamagedImage(seed: seed, on: CrashTests.stored))
            guard let outcome = try examination.repaired() else { continue }
            try Self.ask(outcome, examination.image.base)
            asked += 1
        }
        #expect(asked > 6)
    }

    private static func ask(_ outcome: RepairExamination.Outcome, _ base: SparseBytes?) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "nacre-repair-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data(outcome.image.array).write(to: folder.appending(path: "image"))
        var options = "driver=qcow2,file.filename=image"
        if let base {
            try Data(base.array).write(to: folder.appending(path: "base"))
            options += ",backing.driver=raw,backing.file.filename=base"
        }
        let check = try run(["check", "--image-opts", options], in: folder)
        #expect(check.status == 0, "\(check.text)")
        // What cannot be decompressed it does not read either.
        guard outcome.contents.active.allSatisfy({ $0 != nil }) else { return }
        let convert = try run(["convert", "--image-opts", options, "-O", "raw", "found"], in: folder)
        #expect(convert.status == 0, "\(convert.text)")
        let found = try Data(contentsOf: folder.appending(path: "found"))
        #expect(Array(found) == outcome.contents.active.flatMap { $0 ?? [] })
    }

    private static func run(_ arguments: [String], in folder: URL) throws -> (status: Int32, text: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["qemu-img"] + arguments
        process.currentDirectoryURL = folder
        (process.standardOutput, process.standardError) = (output, output)
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: text, as: UTF8.self))
    }
}
