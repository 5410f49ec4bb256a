import Foundation

/// The table of runs in docs/reliability.md: one row for each kind of run and commit.
struct RunTable {
    private static let header = "| run | commit | seeds | programs | states | failed I/Os | violations |"

    private struct Row {
        let name: String
        let commit: String
        /// The seed after the last one.
        let next: UInt64
        let programs: Int
        let states: Int
        let points: Int
        let violations: Int

        var text: String {
            "| \(name) | \(commit) | ..<\(next) | \(programs) | \(states) | \(points) | \(violations) |"
        }

        init(_ name: String, _ commit: String, _ next: UInt64, _ numbers: [Int]) {
            (self.name, self.commit, self.next) = (name, commit, next)
            (programs, states, points, violations) = (numbers[0], numbers[1], numbers[2], numbers[3])
        }

        init?(_ line: String) {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 7, cells[2].hasPrefix("..<"), let next = UInt64(cells[2].dropFirst(3)) else {
                return nil
            }
            let numbers = cells[3...].compactMap { Int($0) }
            guard numbers.count == 4 else { return nil }
            self.init(cells[0], cells[1], next, numbers)
        }
    }

    private let path: String
    private let before: [String]
    private var rows: [Row]
    private let after: [String]

    init(path: String) throws {
        self.path = path
        let lines = try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n")
        guard let header = lines.firstIndex(of: Self.header) else {
            throw CocoaError(
                .fileReadCorruptFile, userInfo: [NSDebugDescriptionErrorKey: "no table of runs in \(path)"])
        }
        let body = lines[(header + 2)...].prefix { $0.hasPrefix("|") }
        before = Array(lines[..<(header + 2)])
        rows = body.compactMap(Row.init)
        after = Array(lines[body.endIndex...])
    }

    func nextSeed(of name: String) -> UInt64? {
        rows.filter { $0.name == name }.map(\.next).max()
    }

    /// Adds to the row of this kind of run and the commit that is checked out, and writes the page.
    mutating func add(_ tally: Tally, name: String, seeds: Range<UInt64>) throws {
        let commit = try commit()
        let index = rows.firstIndex { $0.name == name && $0.commit == commit }
        let old = index.map { rows[$0] }
        let row = Row(
            name, commit, seeds.upperBound,
            [
                tally.programs + (old?.programs ?? 0), tally.states + (old?.states ?? 0),
                tally.points + (old?.points ?? 0), tally.violationCount + (old?.violations ?? 0),
            ])
        if let index { rows[index] = row } else { rows.append(row) }
        try (before + rows.map(\.text) + after).joined(separator: "\n")
            .write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// The commit that is checked out, marked where anything but the page itself differs from it.
    private func commit() throws -> String {
        let (name, _) = try Self.git("rev-parse", "--short=7", "HEAD")
        let (_, status) = try Self.git("diff", "--quiet", "HEAD", "--", ".", ":!\(path)")
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
