import FoundationEssentials
import Testing

/// libiscsi's conformance tests against the daemon on a qcow2 image, and against tgt on a raw file in the same run, which
/// `scripts/iscsi-suite` starts and ends. Both are tested at once, which takes half a minute.
@Suite(
    "iscsi-test-cu", .paced, .onlyNacre, .needs("iscsi-test-cu", "tgtd", "tgtadm", "qemu-img", "python3"))
struct ISCSISuiteTests {
    /// The cells of every row of the tables in a page, headings left out.
    private static func rows(_ page: String) -> [[String]] {
        page.split(separator: "\n").filter { $0.hasPrefix("| ") && $0.hasSuffix(" |") }.map { line in
            line.dropFirst(2).dropLast(2).split(separator: " | ").map(String.init)
        }
    }

    /// Each test's outcome with ours, of the rows `| Suite.Test | ours | tgt's |`.
    private static func outcomes(_ rows: [[String]]) -> [String: String] {
        let tests = rows.filter {
            $0.count == 3 && ["passed", "skipped", "failed"].contains($0[1]) && $0[0].contains(".")
        }
        return Dictionary(tests.map { ($0[0], $0[1]) }, uniquingKeysWith: { first, _ in first })
    }

    /// How many tests passed, of the rows `| target, family | passed | skipped | failed |`.
    private static func passed(_ rows: [[String]], _ name: String) throws -> Int {
        let row = rows.first { $0.count == 4 && $0[0] == name }
        return try #require(row.flatMap { Int($0[1]) }, "nothing is told of \(name)")
    }

    @Test(
        "as many tests pass as with tgt, each that fails has its reason, and docs/iscsi.md tells the outcome of every one"
    )
    func suite() async throws {
        try await Scratch.use { scratch in
            let outcome = try await scratch.run(
                [
                    "python3", "\(Tool.package)/scripts/iscsi-suite", "--nacre", Subject.released, "--keep",
                    scratch.path,
                ],
                seconds: 400)
            guard outcome.status == 0 else { throw Trouble("\(outcome.command): \(outcome.out) \(outcome.err)") }
            let found = Self.rows(outcome.out)
            for family in ["SCSI", "iSCSI"] {
                let (ours, theirs) = (
                    try Self.passed(found, "Nacre, \(family)"), try Self.passed(found, "tgt, \(family)")
                )
                #expect(ours >= theirs && ours > 0, "\(family): \(ours) pass with ours, \(theirs) with tgt")
            }
            let page = Self.rows(
                try String(contentsOf: URL(filePath: "\(Tool.package)/docs/iscsi.md"), encoding: .utf8))
            let explained = page.drop { $0 != ["fails", "why"] }.dropFirst().prefix { $0.count == 2 }.map { $0[0] }
            let (outcomes, told) = (Self.outcomes(found), Self.outcomes(page))
            for (test, result) in outcomes where result == "failed" {
                #expect(explained.contains(test), "\(test) fails, and docs/iscsi.md has no reason")
            }
            for test in Set(outcomes.keys).union(told.keys).sorted() {
                #expect(
                    outcomes[test] == told[test],
                    "\(test): scripts/iscsi-suite --record docs/iscsi.md brings it up to date")
            }
        }
    }
}
