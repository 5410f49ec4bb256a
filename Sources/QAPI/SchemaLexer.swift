/// The schema language is JSON with single quotes and comments; a comment block between two `##` lines documents the
/// definition that follows it.
struct SchemaToken {
    enum Kind: Equatable {
        case openBrace, closeBrace, openBracket, closeBracket, colon, comma
        case string(String)
        case bool(Bool)
        /// The lines of a documentation block without their `#`.
        case documentation([String])
        case end
    }
    let kind: Kind
    let line: Int
}

struct SchemaLexer {
    private let file: String
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1

    init(text: String, file: String) {
        self.file = file
        bytes = Array(text.utf8)
    }

    /// All tokens of the text, `end` last.
    static func tokens(of text: String, file: String) throws(SchemaError) -> [SchemaToken] {
        var lexer = SchemaLexer(text: text, file: file)
        var tokens: [SchemaToken] = []
        while true {
            let token = try lexer.next()
            tokens.append(token)
            if token.kind == .end { return tokens }
        }
    }

    private func failure(_ message: String) -> SchemaError { SchemaError(message, file: file, line: line) }

    private mutating func next() throws(SchemaError) -> SchemaToken {
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case 0x0A:
                line += 1
                position += 1
            case 0x20, 0x09, 0x0D: position += 1
            case UInt8(ascii: "#"):
                let start = line
                let text = takeLine()
                if text == "##" { return SchemaToken(kind: .documentation(try documentation()), line: start) }
            case UInt8(ascii: "'"): return SchemaToken(kind: .string(try string()), line: line)
            default: return SchemaToken(kind: try symbol(byte), line: line)
            }
        }
        return SchemaToken(kind: .end, line: line)
    }

    private mutating func symbol(_ byte: UInt8) throws(SchemaError) -> SchemaToken.Kind {
        for (word, value) in [("true", true), ("false", false)] where bytes[position...].starts(with: word.utf8) {
            position += word.utf8.count
            return .bool(value)
        }
        position += 1
        switch byte {
        case UInt8(ascii: "{"): return .openBrace
        case UInt8(ascii: "}"): return .closeBrace
        case UInt8(ascii: "["): return .openBracket
        case UInt8(ascii: "]"): return .closeBracket
        case UInt8(ascii: ":"): return .colon
        case UInt8(ascii: ","): return .comma
        default: throw failure("stray '\(Character(Unicode.Scalar(byte)))'")
        }
    }

    private mutating func string() throws(SchemaError) -> String {
        let begin = position + 1
        guard let end = bytes[begin...].firstIndex(where: { $0 == UInt8(ascii: "'") || $0 == 0x0A }),
            bytes[end] == UInt8(ascii: "'")
        else { throw failure("string has no end") }
        position = end + 1
        return String(decoding: bytes[begin..<end], as: UTF8.self)
    }

    /// The rest of the line; leaves the position behind its end.
    private mutating func takeLine() -> String {
        let end = bytes[position...].firstIndex(of: 0x0A) ?? bytes.count
        let text = String(decoding: bytes[position..<end], as: UTF8.self)
        position = min(end + 1, bytes.count)
        line += 1
        return text
    }

    private mutating func documentation() throws(SchemaError) -> [String] {
        var lines: [String] = []
        while position < bytes.count {
            let text = takeLine()
            if text == "##" { return lines }
            guard text == "#" || text.hasPrefix("# ") else {
                throw failure("a documentation block ends with '##', and each line in it starts with '# '")
            }
            lines.append(String(text.dropFirst(2)))
        }
        throw failure("documentation block has no end")
    }
}
