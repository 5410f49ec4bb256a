import Testing

/// The bugs that others had, class by class, and what holds each of them off here.
@Suite("Historic bugs")
struct HistoryTests {
    /// The classes of docs/reliability.md; the numbers between are not used.
    static let classes: [Int] = [1...17, 20...27, 30...43, 50...58, 60...67, 70...90].flatMap { Array($0) }

    /// A row of the table: a class, what went wrong, the tests, the mutant.
    struct Row {
        let text: String
        /// `GraphTests/BackingTests` and its like.
        let files: Set<String>
        let hasMutant: Bool
    }

    static func rows() throws -> [Int: Row] {
        var rows: [Int: Row] = [:]
        for line in try Checkout.text("docs/reliability.md").split(separator: "\n") {
            guard let match = line.firstMatch(of: /^\| R(\d\d) \| ([^|]+) \| ([^|]+) \| ([^|]*) \|$/),
                let number = Int(match.1)
            else { continue }
            #expect(rows[number] == nil, "R\(number) has two rows")
            let files = match.3.matches(of: /`(\w+\/\w+)`/).map { String($0.1) }
            rows[number] = Row(text: String(match.3), files: Set(files), hasMutant: match.4.contains("yes"))
        }
        return rows
    }

    /// The classes that a name begins with: `R14, R20 to R27, O16: …`.
    static func classes(named name: Substring) -> Set<Int> {
        guard let label = name.prefixMatch(of: /(?:[RDO]\d+(?: to [RDO]\d+)?(?:, )?)+(?=:)/) else { return [] }
        var found: Set<Int> = []
        for match in label.0.matches(of: /R(\d\d)(?: to R(\d\d))?/) {
            guard let first = Int(match.1) else { continue }
            found.formUnion(first...(match.2.flatMap { Int($0) } ?? first))
        }
        return found
    }

    @Test("every class has a row in docs/reliability.md: tests that are named after it, or why it touches nothing here")
    func everyClass() throws {
        var named: [Int: Set<String>] = [:]
        for path in Checkout.files(in: "Tests", suffix: "Tests.swift") {
            let file = String(path.dropFirst("Tests/".count).dropLast(".swift".count))
            for match in try Checkout.text(path).matches(of: /"([RDO]\d[^"]*)"/) {
                for number in Self.classes(named: match.1) { named[number, default: []].insert(file) }
            }
        }
        let rows = try Self.rows()
        #expect(rows.keys.sorted() == Self.classes)
        for (number, row) in rows {
            let tests = named[number] ?? []
            let others = row.files.subtracting(tests)
            #expect(others.isEmpty, "R\(number): no test of \(others.sorted()) is named after it")
            #expect(row.files.isEmpty == tests.isEmpty, "R\(number) is held by \(tests.sorted())")
            #expect(!row.files.isEmpty || row.text.count > 5, "R\(number) has neither test nor reason")
        }
    }

    @Test("every class that has tests has a mutant that takes its guard out, and the table says so")
    func everyMutant() throws {
        var mutants: Set<Int> = []
        for path in Checkout.files(in: "Tests/Mutants", suffix: ".toml") {
            for match in try Checkout.text(path).matches(of: /(?m)^name = "([^"]*)"/) {
                mutants.formUnion(Self.classes(named: match.1))
            }
        }
        #expect(mutants.count > 40)
        for (number, row) in try Self.rows() {
            #expect(row.hasMutant == mutants.contains(number), "R\(number)")
            #expect(row.hasMutant == !row.files.isEmpty, "R\(number) has no mutant")
        }
    }
}
