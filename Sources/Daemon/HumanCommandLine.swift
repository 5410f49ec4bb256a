/// The words behind a command of the monitor for people, taken by what the command expects: flags first, then texts,
/// which may be quoted.
struct HumanCommandLine {
    enum Parameter {
        /// `-x`.
        case flag(Character)
        /// A text; the second says what it is, for who leaves it out.
        case required(String, String)
        case optional(String)
    }

    struct Mistake: Error {
        let message: String
        init(_ message: String) { self.message = message }
    }

    private(set) var flags: Set<Character> = []
    private var texts: [String: String] = [:]

    /// A required text is always there.
    subscript(name: String) -> String { texts[name] ?? "" }
    func optional(_ name: String) -> String? { texts[name] }

    init(_ words: inout Scanner, _ parameters: [Parameter]) throws(Mistake) {
        var open: [Character] = []
        for parameter in parameters { if case .flag(let letter) = parameter { open.append(letter) } }
        for parameter in parameters {
            switch parameter {
            case .flag:
                while let letter = words.flag() {
                    guard open.contains(letter) else { throw Mistake("unsupported option -\(letter)") }
                    flags.insert(letter)
                }
            case .required(let name, let kind):
                guard let text = try words.text() else { throw Mistake("\(kind) expected") }
                texts[name] = text
            case .optional(let name): texts[name] = try words.text()
            }
        }
        guard words.isAtEnd else { throw Mistake("extraneous characters at the end of line") }
    }

    /// Cuts a line into words.
    struct Scanner {
        private var rest: Substring

        init(_ line: String) { rest = line[...] }

        private mutating func skipBlanks() { rest = rest.drop { $0.isWhitespace } }

        var isAtEnd: Bool { rest.allSatisfy { $0.isWhitespace } }

        /// A word as it stands; nil at the end.
        mutating func bareWord() -> String? {
            skipBlanks()
            let word = rest.prefix { !$0.isWhitespace }
            rest = rest.dropFirst(word.count)
            return word.isEmpty ? nil : String(word)
        }

        /// The letter of a flag, where one comes next.
        mutating func flag() -> Character? {
            skipBlanks()
            guard rest.first == "-", let letter = rest.dropFirst().first, !letter.isWhitespace else { return nil }
            rest = rest.dropFirst(2)
            return letter
        }

        /// A word, or a text in double quotes in which a backslash goes before quotes, itself, `n` and `r`.
        mutating func text() throws(Mistake) -> String? {
            skipBlanks()
            guard rest.first == "\"" else { return bareWord() }
            rest.removeFirst()
            var text = ""
            while let character = rest.popFirst() {
                if character == "\"" { return text }
                guard character == "\\" else {
                    text.append(character)
                    continue
                }
                guard let escaped = rest.popFirst() else { break }
                switch escaped {
                case "n": text.append("\n")
                case "r": text.append("\r")
                case "\\", "'", "\"": text.append(escaped)
                default: throw Mistake("unsupported escape code: '\\\(escaped)'")
                }
            }
            throw Mistake("unterminated string")
        }
    }
}
