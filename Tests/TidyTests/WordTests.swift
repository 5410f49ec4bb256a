import Testing

@Suite("Words")
struct WordTests {
    /// Where unsafe code may stand: the wrappers of the kernel, of memory and of the C libraries, and the two gateways.
    static let unsafePlaces = [
        "Sources/CLinux/", "Sources/HostIO/", "Sources/HostStorage/", "Sources/Bytes/", "Sources/Codecs/",
        "Sources/Digests/", "Sources/TLS/",
        "Sources/Block/Suspension.swift", "Sources/Block/IOContext.swift",
        "Sources/BlockTestKit/", "Sources/fuzz/",
    ]

    private func expectNone(_ pattern: Regex<Substring>, butIn places: [String] = []) {
        #expect(SourceText.sources.count > 20)
        for (path, code) in SourceText.sources where !places.contains(where: { path.hasPrefix($0) }) {
            for line in code.matches(pattern) { Issue.record("\(path):\(line)") }
        }
    }

    @Test("unsafe code stands only where it must")
    func unsafeCode() {
        expectNone(/\bunsafe\b|@unchecked|@preconcurrency/, butIn: Self.unsafePlaces)
    }

    @Test("every file with unsafe code says why it is sound")
    func unsafeCodeIsProven() throws {
        for (path, code) in SourceText.sources where !code.matches(/(?:^|[^@\w])unsafe\b/).isEmpty {
            let text = try Checkout.text(path)
            #expect(text.firstMatch(of: /\/\/.*[Pp]roof/) != nil, "\(path) has no proof")
        }
    }

    @Test("no type is a Manager, a Helper or a Util")
    func typeNames() {
        let keywords = ["class", "struct", "enum", "protocol", "typealias", "actor"]
        for (path, code) in SourceText.sources {
            for (index, line) in code.lines.enumerated() {
                let words = line.split { !$0.isLetter && !$0.isNumber }.map(String.init)
                for (keyword, name) in zip(words, words.dropFirst()) where keywords.contains(keyword) {
                    let isVague = ["Manager", "Helper", "Util"].contains { name.contains($0) }
                    #expect(!isVague, "\(path):\(index + 1)")
                }
            }
        }
    }

    @Test("no bare task and no actor below the daemon")
    func tasks() {
        let above = ["Sources/Daemon/", "Sources/nacre/", "Sources/qapigen/"]
        expectNone(/\bTask\s*\{|\bTask\.detached|\bTask\.init\b/, butIn: above)
        expectNone(/^\s*(?:public |final |package )*actor\s/, butIn: above)
    }

    @Test("R75: no request on a disk depends on a file's offset, which others could move")
    func offsets() throws {
        // Each names its place: what has none is for pipes, sockets and wake-ups, and for small texts read in one go.
        expectNone(
            /(?:\bGlibc\.|\bunsafe\s+)(?:read|write)\(/,
            butIn: [
                "Sources/HostIO/Socket.swift", "Sources/HostIO/HostPipe.swift", "Sources/HostIO/IOThread.swift",
                "Sources/HostStorage/HostText.swift",
            ])
        expectNone(/\b(?:readv|writev|fread|fwrite|fseeko?|ftello?|sendfile|splice|copy_file_range)\(/)
        // These ask where data and the end are; the offset that they leave behind, nobody uses.
        let asking = ["Sources/HostStorage/FileStorage.swift", "Sources/HostStorage/OpenedFile.swift"]
        expectNone(/\blseek/, butIn: asking)
        for (path, code) in SourceText.sources where asking.contains(path) {
            #expect(
                code.matches(/\blseek/)
                    == code.matches(/\blseek\(.*(?:nacre_seek_data\(\)|nacre_seek_hole\(\)|SEEK_END)\)/),
                "\(path)")
        }
        // A signal comes over a descriptor that has no offset.
        let code = SourceText(try Checkout.text("Sources/CLinux/CLinux.c"), keeping: .code)
        #expect(code.matches(/\b(?:read|write|readv|writev|lseek)\((?!fd, &info, sizeof)/).isEmpty)
    }

    @Test("nothing ends the process for want of code or care")
    func endings() { expectNone(/\bfatalError\(|\btry!|\bas!/) }

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

    @Test("no merge is left half done")
    func merges() throws {
        let texts = [".md", ".swift", ".json", ".toml", "Makefile", ".py"].flatMap { Checkout.files(suffix: $0) }
        for path in texts + Checkout.files(in: "scripts") {
            for line in try Checkout.text(path).split(separator: "\n") {
                let isMark = ["<<<<" + "<<< ", ">>>>" + ">>> "].contains { line.hasPrefix($0) }
                #expect(!isMark, "\(path): \(line)")
            }
        }
    }
}
