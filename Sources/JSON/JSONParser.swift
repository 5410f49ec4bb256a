/// Builds one value from its tokens. Depth is bounded by the stream's limit before this runs.
struct JSONParser {
    private let tokens: JSONTokens
    private var position = 0

    static func parse(_ tokens: JSONTokens) throws(JSONError) -> JSONValue {
        var parser = JSONParser(tokens: tokens)
        return try parser.value()
    }

    private init(tokens: JSONTokens) { self.tokens = tokens }

    private mutating func next() throws(JSONError) -> JSONTokenKind {
        guard let kind = tokens.kind(position) else { throw .parse("premature EOI") }
        position += 1
        return kind
    }

    private mutating func value() throws(JSONError) -> JSONValue {
        let kind = try next()
        switch kind {
        case .openBrace: return .object(try object())
        case .openBracket: return .array(try array())
        case .string: return .string(try jsonString(tokens.text(position - 1)))
        case .integer, .float: return try jsonNumber(tokens.text(position - 1), isInteger: kind == .integer)
        case .keyword: return try keyword(tokens.text(position - 1))
        case .closeBrace, .closeBracket, .colon, .comma, .error: throw .parse("expecting value")
        }
    }

    private mutating func object() throws(JSONError) -> JSONObject {
        var object = JSONObject()
        if tokens.kind(position) == .closeBrace {
            position += 1
            return object
        }
        while true {
            guard case .string(let name) = try value() else { throw .parse("key is not a string in object") }
            guard try next() == .colon else { throw .parse("missing : in object pair") }
            let value = try value()
            guard object[name] == nil else { throw .parse("duplicate key") }
            object[name] = value
            switch try next() {
            case .closeBrace: return object
            case .comma: continue
            default: throw .parse("expected separator in dict")
            }
        }
    }

    private mutating func array() throws(JSONError) -> [JSONValue] {
        var array: [JSONValue] = []
        if tokens.kind(position) == .closeBracket {
            position += 1
            return array
        }
        while true {
            array.append(try value())
            switch try next() {
            case .closeBracket: return array
            case .comma: continue
            default: throw .parse("expected separator in list")
            }
        }
    }

    private func keyword(_ text: ArraySlice<UInt8>) throws(JSONError) -> JSONValue {
        switch String(decoding: text, as: UTF8.self) {
        case "true": return .bool(true)
        case "false": return .bool(false)
        case "null": return .null
        case let word: throw .parse("invalid keyword '\(word)'")
        }
    }
}
