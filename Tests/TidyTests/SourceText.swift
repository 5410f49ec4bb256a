/// Swift source with its strings, or its strings and comments, blanked out: same lines, same columns.
struct SourceText: Sendable {
    let lines: [String]

    /// Every file of Sources without strings and comments, read once.
    static let sources: [(path: String, code: SourceText)] = Checkout.files(in: "Sources", suffix: ".swift").compactMap
    {
        guard let text = try? Checkout.text($0) else { return nil }
        return ($0, SourceText(text, keeping: .code))
    }

    enum Kept { case code, codeAndComments }

    init(_ text: String, keeping kept: Kept) {
        var lexer = Lexer(text)
        lines = lexer.blanked(keepsComments: kept == .codeAndComments)
    }

    /// Numbers (from 1) and texts of the lines that match.
    func matches(_ pattern: Regex<Substring>) -> [Int] {
        lines.indices.filter { lines[$0].firstMatch(of: pattern) != nil }.map { $0 + 1 }
    }

    /// The functions, initialisers and accessors: first line (from 1), how many lines.
    func functions() -> [(line: Int, count: Int)] {
        let head = /\b(func\s+\S+|init[?!]?\s*[(<]|deinit\b|subscript\s*[(<])/
        var result: [(Int, Int)] = []
        for start in lines.indices {
            guard let match = lines[start].firstMatch(of: head) else { continue }
            if let end = endOfBody(from: start, at: match.range.lowerBound) {
                result.append((start + 1, end - start + 1))
            }
        }
        return result
    }

    /// The line of the brace that closes the first one opened at or after `start`, outside parentheses; nil for a
    /// requirement without a body.
    private func endOfBody(from start: Int, at column: String.Index) -> Int? {
        var parentheses = 0
        var braces = 0
        for index in start..<lines.count {
            let line = index == start ? String(lines[index][column...]) : lines[index]
            if index > start, braces == 0, parentheses == 0, beginsDeclaration(line) { return nil }
            for character in line {
                switch character {
                case "(": parentheses += 1
                case ")":
                    parentheses -= 1
                    if parentheses < 0 { return nil }
                case "{" where parentheses == 0 || braces > 0: braces += 1
                case "}" where braces > 0:
                    braces -= 1
                    if braces == 0 { return index }
                case "}" where parentheses == 0: return nil
                default: break
                }
            }
        }
        return nil
    }

    private func beginsDeclaration(_ line: String) -> Bool {
        line.firstMatch(
            of:
                /^\s*(public |private |internal |static |final |mutating |@\w+ )*(func|init|var|let|struct|class|enum|protocol|extension|deinit|case)\b/
        )
            != nil
    }
}

/// As much of Swift's lexical structure as blanking needs: line and nested block comments, strings with any number of
/// `#`, multi-line strings, interpolations. Works on bytes; a blanked character leaves a space for each of its bytes.
private struct Lexer {
    private let source: [UInt8]
    private var index = 0
    private var output: [UInt8] = []
    private var keepsComments = false

    private static let newline = UInt8(ascii: "\n")
    private static let quote = UInt8(ascii: "\"")
    private static let hash = UInt8(ascii: "#")
    private static let slash = UInt8(ascii: "/")
    private static let star = UInt8(ascii: "*")
    private static let backslash = UInt8(ascii: "\\")
    private static let open = UInt8(ascii: "(")
    private static let close = UInt8(ascii: ")")

    init(_ text: String) { source = Array(text.utf8) }

    mutating func blanked(keepsComments: Bool) -> [String] {
        self.keepsComments = keepsComments
        output.reserveCapacity(source.count)
        while index < source.count { code() }
        return output.split(separator: Self.newline, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    private func has(_ first: UInt8, _ second: UInt8) -> Bool {
        index + 1 < source.count && source[index] == first && source[index + 1] == second
    }

    /// Whether `count` bytes of a kind stand at `place`.
    private func stands(_ byte: UInt8, _ count: Int, at place: Int) -> Bool {
        guard place + count <= source.count else { return false }
        for offset in 0..<count where source[place + offset] != byte { return false }
        return true
    }

    private mutating func take(blank: Bool) {
        let byte = source[index]
        output.append(blank && byte != Self.newline ? UInt8(ascii: " ") : byte)
        index += 1
    }

    private mutating func code() {
        let byte = source[index]
        if byte == Self.slash, has(Self.slash, Self.slash) {
            while index < source.count, source[index] != Self.newline { take(blank: !keepsComments) }
        } else if byte == Self.slash, has(Self.slash, Self.star) {
            blockComment()
        } else if byte == Self.quote || (byte == Self.hash && isRawString()) {
            string()
        } else {
            take(blank: false)
        }
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            if has(Self.slash, Self.star) {
                depth += 1
                take(blank: !keepsComments)
            } else if has(Self.star, Self.slash) {
                depth -= 1
                take(blank: !keepsComments)
            }
            take(blank: !keepsComments)
        } while depth > 0 && index < source.count
    }

    private func isRawString() -> Bool {
        var ahead = index
        while ahead < source.count, source[ahead] == Self.hash { ahead += 1 }
        return ahead < source.count && source[ahead] == Self.quote
    }

    private mutating func string() {
        var hashes = 0
        while source[index] == Self.hash {
            hashes += 1
            take(blank: true)
        }
        let quotes = stands(Self.quote, 3, at: index) ? 3 : 1
        for _ in 0..<quotes { take(blank: true) }
        while index < source.count {
            if stands(Self.quote, quotes, at: index), stands(Self.hash, hashes, at: index + quotes) { break }
            let escapes = source[index] == Self.backslash && stands(Self.hash, hashes, at: index + 1)
            let after = index + hashes + 1
            if escapes, after < source.count {
                if source[after] == Self.open {
                    interpolation(prefix: hashes + 2)
                } else {
                    for _ in 0..<hashes + 2 { take(blank: true) }
                }
            } else {
                take(blank: true)
            }
        }
        for _ in 0..<quotes + hashes where index < source.count { take(blank: true) }
    }

    /// The parenthesised code of an interpolation, blanked like the string around it.
    private mutating func interpolation(prefix: Int) {
        let start = output.count
        for _ in 0..<prefix { take(blank: true) }
        var depth = 1
        while index < source.count, depth > 0 {
            if source[index] == Self.open { depth += 1 }
            if source[index] == Self.close { depth -= 1 }
            code()
        }
        for position in start..<output.count where output[position] != Self.newline {
            output[position] = UInt8(ascii: " ")
        }
    }
}
