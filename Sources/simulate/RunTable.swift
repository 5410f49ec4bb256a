import Foundation
import Glibc
import Simulation

/// A table in docs/reliability.md: one row for each kind of run, or each verb, and commit.
///
/// A run takes hours, and others write to the page meanwhile: each change reads the page, changes one row and writes the
/// page, all under a lock (`flock`) on its folder, which scripts/kills and scripts/fuzz take too.
struct RunTable: Sendable {
    /// Which table: its heading, whose first three columns are a name, the commit and where the seeds end; sums follow.
    enum Kind: String, Sendable {
        case runs = "| run | commit | seeds | programs | states | failed I/Os | violations |"
        case verbs =
            "| verb | commit | seeds | programs | states | under way | failed I/Os | under way | violations |"

        /// How many sums.
        var count: Int { rawValue.split(separator: "|").count - 3 }
    }

    private struct Row {
        let name: String
        let commit: String
        /// The seed after the last one.
        var next: UInt64
        /// The sums.
        var counts: [Int]

        var text: String {
            "| \(name) | \(commit) | ..<\(next) | " + counts.map(String.init).joined(separator: " | ") + " |"
        }

        init(_ name: String, _ commit: String, _ kind: Kind) {
            (self.name, self.commit, next) = (name, commit, 0)
            counts = [Int](repeating: 0, count: kind.count)
        }

        init?(_ line: String, _ kind: Kind) {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 3 + kind.count, cells[2].hasPrefix("..<"), let next = UInt64(cells[2].dropFirst(3))
            else {
                return nil
            }
            let counts = cells[3...].compactMap { Int($0) }
            guard counts.count == kind.count else { return nil }
            (name, commit, self.next, self.counts) = (cells[0], cells[1], next, counts)
        }
    }

    private let path: String
    private let kind: Kind
    /// What was checked out when the run began.
    let commit: String

    /// The commit is found out where it is not given.
    init(path: String, _ kind: Kind = .runs, commit: String? = nil) throws {
        (self.path, self.kind) = (path, kind)
        self.commit = try commit ?? Self.checkedOut(besides: path)
        _ = try lines()
    }

    /// Where the runs of this name ended: on any commit, or only on this one.
    func nextSeed(of name: String, anyCommit: Bool = true) throws -> UInt64? {
        let (lines, rows) = try lines()
        return lines[rows].compactMap { Row($0, kind) }.filter { $0.name == name && (anyCommit || $0.commit == commit) }
            .map(\.next).max()
    }

    /// Adds to the row of this kind of run and the commit, which then ends at `next`, and leaves all else on the page as it
    /// now is.
    func add(_ tally: Tally, name: String, next: UInt64) throws {
        try add([tally.programs, tally.states, tally.points, tally.violationCount], name: name, next: next)
    }

    /// The same of sums in the order of the columns.
    func add(_ more: [Int], name: String, next: UInt64) throws {
        let folder = URL(filePath: path).deletingLastPathComponent().path()
        guard let lock = FileHandle(forReadingAtPath: folder) else {
            throw CocoaError(.fileReadNoSuchFile, userInfo: [NSFilePathErrorKey: folder])
        }
        defer { try? lock.close() }
        while flock(lock.fileDescriptor, LOCK_EX) != 0 {
            guard errno == EINTR else { throw CocoaError(.fileLocking, userInfo: [NSFilePathErrorKey: folder]) }
        }
        var (lines, rows) = try lines()
        let place = rows.first { Row(lines[$0], kind).map { $0.name == name && $0.commit == commit } ?? false }
        var row = place.flatMap { Row(lines[$0], kind) } ?? Row(name, commit, kind)
        row.next = next
        row.counts = zip(row.counts, more).map(+)
        if let place { lines[place] = row.text } else { lines.insert(row.text, at: rows.upperBound) }
        try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// The page, and which of its lines are the table's rows.
    private func lines() throws -> (lines: [String], rows: Range<Int>) {
        let lines = try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n")
        guard let header = lines.firstIndex(of: kind.rawValue), header + 2 <= lines.count else {
            throw CocoaError(
                .fileReadCorruptFile, userInfo: [NSDebugDescriptionErrorKey: "no table of runs in \(path)"])
        }
        return (lines, header + 2..<lines[(header + 2)...].prefix { $0.hasPrefix("|") }.endIndex)
    }

    /// The commit that is checked out, marked where anything but the page itself differs from it.
    private static func checkedOut(besides path: String) throws -> String {
        let (name, _) = try git("rev-parse", "--short=7", "HEAD")
        let (_, status) = try git("diff", "--quiet", "HEAD", "--", ".", ":!\(path)")
        return status == 0 ? name : name + "-dirty"
    }

    private static func git(_ arguments: String...) throws -> (output: String, status: Int32) {
        let git = Process()
        let output = Pipe()
        git.executableURL = URL(filePath: "/usr/bin/env")
        git.arguments = ["git"] + arguments
        git.standardOutput = output
        try git.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        git.waitUntilExit()
        return (
            String(decoding: text, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines), git.terminationStatus
        )
    }
}

extension VerbCount {
    /// The sums of a verb's row.
    var row: [Int] { [programs, states, statesUnderWay, points, pointsUnderWay, violations] }
}
