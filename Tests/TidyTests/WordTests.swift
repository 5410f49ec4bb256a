import Testing

@Suite("Words")
struct WordTests {
    static let sources = Checkout.files(in: "Sources", suffix: ".swift")

    /// Where unsafe code may stand: the wrappers of the kernel, of memory and of the C libraries, and the two gateways.
    static let unsafePlaces = [
        "Sources/CLinux/", "Sources/HostIO/", "Sources/HostStorage/", "Sources/Bytes/", "Sources/Codecs/",
        "Sources/Block/Suspension.swift", "Sources/Block/IOContext.swift",
        "Sources/BlockTestKit/",
    ]

    private func expectNone(_ pattern: Regex<Substring>, in paths: [String]) throws {
        for path in paths {
            for line in SourceText(try Checkout.text(path), keeping: .code).matches(pattern) {
                Issue.record("\(path):\(line)")
            }
        }
    }

    @Test("unsafe code stands only where it must")
    func unsafeCode() throws {
        let others = Self.sources.filter { path in !Self.unsafePlaces.contains { path.hasPrefix($0) } }
        try expectNone(/\bunsafe\b|@unchecked|@preconcurrency/, in: others)
    }

    @Test("every file with unsafe code says why it is sound")
    func unsafeCodeIsProven() throws {
        for path in Self.sources {
            let text = try Checkout.text(path)
            guard !SourceText(text, keeping: .code).matches(/\bunsafe\b/).isEmpty else { continue }
            #expect(text.firstMatch(of: /\/\/.*[Pp]roof/) != nil, "\(path) has no proof")
        }
    }

    @Test("no type is a Manager, a Helper or a Util")
    func typeNames() throws {
        let pattern = /\b(class|struct|enum|protocol|typealias|actor)\s+\w*(Manager|Helper|Util)\w*/
        for path in Self.sources {
            for (index, line) in SourceText(try Checkout.text(path), keeping: .code).lines.enumerated() {
                #expect(line.firstMatch(of: pattern) == nil, "\(path):\(index + 1)")
            }
        }
    }

    @Test("no bare task and no actor below the daemon")
    func tasks() throws {
        let above = ["Sources/Daemon/", "Sources/nacre/", "Sources/qapigen/"]
        let below = Self.sources.filter { path in !above.contains { path.hasPrefix($0) } }
        try expectNone(/\bTask\s*\{|\bTask\.detached|\bTask\.init\b/, in: below)
        for path in below {
            for (index, line) in SourceText(try Checkout.text(path), keeping: .code).lines.enumerated() {
                #expect(line.firstMatch(of: /^\s*(public |final |package )*actor\s/) == nil, "\(path):\(index + 1)")
            }
        }
    }

    @Test("nothing ends the process for want of code or care")
    func endings() throws {
        try expectNone(/\bfatalError\(|\btry!|\bas!/, in: Self.sources)
    }

    @Test("nothing is left to be done")
    func reminders() throws {
        // In pieces, so that this file does not find itself.
        let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "not implemented " + "yet"]
        for path in Checkout.files(suffix: ".swift") {
            for (index, line) in SourceText(try Checkout.text(path), keeping: .codeAndComments).lines.enumerated() {
                for word in words where line.contains(word) { Issue.record("\(path):\(index + 1) \(word)") }
            }
        }
    }

    @Test("no file names a place of one machine")
    func places() throws {
        let banned = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/tmp/" + "brief"]
        // A path begins where no letter, digit, dollar or slash stands before it.
        let before = ["\n", " ", "\"", "'", "`", "=", "(", ":"]
        for path in Checkout.files() {
            guard let text = try? Checkout.text(path) else { continue }
            for word in banned {
                let isNamed = before.contains { text.contains($0 + word) }
                #expect(!isNamed, "\(path) names \(word)")
            }
        }
    }
}
