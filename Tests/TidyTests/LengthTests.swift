import Testing

@Suite("Lengths")
struct LengthTests {
    static let swift = Checkout.files(suffix: ".swift")

    @Test("no Swift file passes 700 lines, and the median stays within 200")
    func files() throws {
        var counts: [Int] = []
        for path in Self.swift {
            let count = try Checkout.text(path).split(separator: "\n", omittingEmptySubsequences: false).count - 1
            #expect(count <= 700, "\(path) has \(count) lines")
            counts.append(count)
        }
        counts.sort()
        #expect(counts.count > 20)
        #expect(counts[counts.count / 2] <= 200)
    }

    @Test("no function passes 70 lines")
    func functions() throws {
        var seen = 0
        for path in Self.swift {
            for function in SourceText(try Checkout.text(path), keeping: .code).functions() {
                seen += 1
                #expect(function.count <= 70, "\(path):\(function.line) is \(function.count) lines long")
            }
        }
        #expect(seen > 20)
    }

    @Test("lengths are measured: braces in strings and comments do not count, nested bodies do")
    func theMeasureWorks() {
        let text = """
            func a() {
                let s = "}" // }
                if true { /* } */ b("\\(c["}"])") }
            }
            protocol P { func q() }
            init(x: Int = { 1 }()) {
            }
            """
        let found = SourceText(text, keeping: .code).functions().map { "\($0.line):\($0.count)" }
        #expect(found == ["1:4", "6:2"])
    }
}
