/// Swift source with its strings, or its strings and comments, blanked out: same lines, same columns.
struct SourceText {
    let lines: [String]

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
/// `#`, multi-line strings, interpolations.
private struct Lexer {
    private let source: [Character]
    private var index = 0
    private var output: [Character] = []
    private var keepsComments = false

    init(_ text: String) { source = Array(text) }

    mutating func blanked(keepsComments: Bool) -> [String] {
        self.keepsComments = keepsComments
        while index < source.count { code() }
        return String(output).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    private func starts(_ text: String) -> Bool {
        let characters = Array(text)
        return index + characters.count <= source.count && Array(source[index..<index + characters.count]) == characters
    }

    private mutating func take(blank: Bool) {
        let character = source[index]
        output.append(blank && character != "\n" ? " " : character)
        index += 1
    }

    private mutating func code() {
        if starts("//") {
            while index < source.count, source[index] != "\n" { take(blank: !keepsComments) }
        } else if starts("/*") {
            blockComment()
        } else if source[index] == "\"" || (source[index] == "#" && isRawString()) {
            string()
        } else {
            take(blank: false)
        }
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            if starts("/*") {
                depth += 1
                take(blank: !keepsComments)
            } else if starts("*/") {
                depth -= 1
                take(blank: !keepsComments)
            }
            take(blank: !keepsComments)
        } while depth > 0 && index < source.count
    }

    private func isRawString() -> Bool {
        var ahead = index
        while ahead < source.count, source[ahead] == "#" { ahead += 1 }
        return ahead < source.count && source[ahead] == "\""
    }

    private mutating func string() {
        var hashes = ""
        while source[index] == "#" {
            hashes.append("#")
            take(blank: true)
        }
        let quote = starts("\"\"\"") ? "\"\"\"" : "\""
        for _ in quote { take(blank: true) }
        while index < source.count, !starts(quote + hashes) {
            if starts("\\" + hashes + "(") {
                interpolation(prefix: hashes.count + 2)
            } else if starts("\\" + hashes), index + hashes.count + 1 < source.count {
                for _ in 0..<hashes.count + 2 { take(blank: true) }
            } else {
                take(blank: true)
            }
        }
        for _ in quote + hashes where index < source.count { take(blank: true) }
    }

    /// The parenthesised code of an interpolation, blanked like the string around it.
    private mutating func interpolation(prefix: Int) {
        let start = output.count
        for _ in 0..<prefix { take(blank: true) }
        var depth = 1
        while index < source.count, depth > 0 {
            if source[index] == "(" { depth += 1 }
            if source[index] == ")" { depth -= 1 }
            code()
        }
        for position in start..<output.count where output[position] != "\n" { output[position] = " " }
    }
}
