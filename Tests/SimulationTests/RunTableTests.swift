import Foundation
import Simulation
import Testing

@testable import simulate

/// The page on which runs add up.
@Suite struct RunTableTests {
    private static let page = """
        # Heading

        | run | commit | seeds | programs | states | failed I/Os | violations |
        |---|---|---|---|---|---|---|
        | crash | aaaaaaa | ..<100 | 100 | 5000 | 0 | 0 |
        | a row that nobody can read | x |
        | faults | aaaaaaa | ..<7 | 7 | 40 | 30 | 1 |

        ## After

        """

    /// A page in a folder of its own.
    private func withPage(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "nacre-runs-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "page.md").path()
        try Self.page.write(toFile: path, atomically: true, encoding: .utf8)
        try body(path)
        // Neither a lock nor a half-written page stays behind.
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path()) == ["page.md"])
    }

    private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    @Test("what others write to the page during a run stays: a row, a heading, what cannot be read")
    func changedMeanwhile() throws {
        try withPage { path in
            let table = try RunTable(path: path, commit: "aaaaaaa")
            let edited = Self.page.replacing("# Heading", with: "# Another heading").replacing(
                "..<7 | 7 |", with: "..<9 | 9 |")
            try edited.write(toFile: path, atomically: true, encoding: .utf8)
            try table.add(Tally(programs: 2, states: 11), name: "crash", next: 102)
            #expect(try text(path) == edited.replacing("..<100 | 100 | 5000", with: "..<102 | 102 | 5011"))
        }
    }

    @Test("a run on another commit gets a row of its own, at the table's end")
    func otherCommit() throws {
        try withPage { path in
            let table = try RunTable(path: path, commit: "bbbbbbb")
            #expect(try table.nextSeed(of: "crash") == 100)
            #expect(try table.nextSeed(of: "crash", anyCommit: false) == nil)
            try table.add(Tally(programs: 5, points: 3, violations: [.lost: 1]), name: "crash", next: 105)
            let last = "| faults | aaaaaaa | ..<7 | 7 | 40 | 30 | 1 |\n"
            #expect(
                try text(path)
                    == Self.page.replacing(last, with: last + "| crash | bbbbbbb | ..<105 | 5 | 0 | 3 | 1 |\n"))
            #expect(try table.nextSeed(of: "crash", anyCommit: false) == 105)
        }
    }

    @Test("two that add at once lose nothing")
    func atOnce() throws {
        try withPage { path in
            let table = try RunTable(path: path, commit: "aaaaaaa")
            DispatchQueue.concurrentPerform(iterations: 40) { _ in
                try? table.add(Tally(programs: 1, states: 2), name: "crash", next: 100)
            }
            #expect(try text(path).contains("| crash | aaaaaaa | ..<100 | 140 | 5080 | 0 | 0 |"))
        }
    }

    @Test("a page without the table is refused before the run begins")
    func noTable() throws {
        try withPage { path in
            try "# Heading\n".write(toFile: path, atomically: true, encoding: .utf8)
            #expect(throws: (any Error).self) { try RunTable(path: path, commit: "aaaaaaa") }
        }
    }

    @Test("what is kept of a run that goes on ends before the lowest seed that has not ended, and counts once")
    func ledger() throws {
        try withPage { path in
            let table = try RunTable(path: path, commit: "aaaaaaa")
            let ledger = Ledger(name: "crash", first: 100, table: table)
            for seed in 100..<105 as Range<UInt64> { #expect(ledger.take { _, _ in true } == seed) }
            for seed in [100, 101, 103] as [UInt64] { ledger.finish(seed, Tally(programs: 1, states: 10)) }
            for _ in 0..<2 { try ledger.keep() }
            #expect(try text(path).contains("| crash | aaaaaaa | ..<102 | 102 | 5020 | 0 | 0 |"))
            ledger.finish(102, Tally(programs: 1, states: 10))
            try ledger.keep()
            #expect(try text(path).contains("| crash | aaaaaaa | ..<104 | 104 | 5040 | 0 | 0 |"))
        }
    }

    @Test("a run that SIGINT or SIGTERM ends leaves its sum", arguments: [SIGINT, SIGTERM])
    func interrupted(signal: Int32) throws {
        // It lies beside the program that runs the tests.
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let program = URL(filePath: tests).deletingLastPathComponent().appending(path: "simulate").path()
        try #require(FileManager.default.isExecutableFile(atPath: program), "\(program)")
        let fixtures = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fixtures/start").path()
        try withPage { path in
            let run = Process()
            let output = Pipe()
            run.executableURL = URL(filePath: program)
            run.currentDirectoryURL = URL(filePath: fixtures)
            run.arguments = [
                "audit", "--programs", "1000000", "--from", "3", "--record", path, "--fixtures", fixtures,
            ]
            run.standardOutput = output
            try run.run()
            Thread.sleep(forTimeInterval: 3)
            kill(run.processIdentifier, signal)
            let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            run.waitUntilExit()
            #expect(run.terminationStatus == 128 + signal && said.contains("audit: 0 states"), "\(said)")
            let row = try #require(try text(path).split(separator: "\n").first { $0.hasPrefix("| audit |") })
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let (next, programs) = (Int(cells[2].dropFirst(3)), Int(cells[3]))
            #expect(programs != nil && programs != 0 && next == programs.map { $0 + 3 }, "\(row)")
        }
    }
}
