/// The tokens of one message: kinds and ends over one buffer of bytes, 9 bytes of bookkeeping a token.
struct JSONTokens {
    private var kinds: [JSONTokenKind] = []
    private var ends: [Int] = []
    private var bytes: [UInt8] = []

    var count: Int { kinds.count }
    var byteCount: Int { bytes.count }
    var isEmpty: Bool { kinds.isEmpty }

    mutating func append(_ kind: JSONTokenKind, _ text: [UInt8]) {
        kinds.append(kind)
        bytes.append(contentsOf: text)
        ends.append(bytes.count)
    }

    /// Gives the memory back: a monitor lives long, and a large message is rare.
    mutating func removeAll() {
        let keep = bytes.capacity <= 1 << 16
        kinds.removeAll(keepingCapacity: keep)
        ends.removeAll(keepingCapacity: keep)
        bytes.removeAll(keepingCapacity: keep)
    }

    func kind(_ position: Int) -> JSONTokenKind? { position < kinds.count ? kinds[position] : nil }

    func text(_ position: Int) -> ArraySlice<UInt8> {
        bytes[(position == 0 ? 0 : ends[position - 1])..<ends[position]]
    }
}

/// Builds a value from the tokens of one message. The depth of its recursion is bounded by `JSONLimits.depth`, which
/// was checked as the tokens came in.
struct JSONTokenReader {
    private let tokens: JSONTokens
    private var position = 0

    init(_ tokens: JSONTokens) { self.tokens = tokens }

    mutating func value() throws(JSONError) -> JSONValue {
        guard let kind = tokens.kind(position) else { throw .prematureEnd }
        position += 1
        switch kind {
        case .openBrace: return .object(try object())
        case .openBracket: return .array(try array())
        case .string: return .string(try jsonString(tokens.text(position - 1)))
        case .integer, .float: return try jsonNumber(tokens.text(position - 1), isInteger: kind == .integer)
        case .keyword: return try keyword(tokens.text(position - 1))
        case .closeBrace, .closeBracket, .colon, .comma, .stray: throw .expectingValue
        }
    }

    private mutating func object() throws(JSONError) -> JSONObject {
        var object = JSONObject()
        if tokens.kind(position) == .closeBrace {
            position += 1
            return object
        }
        while true {
            try member(of: &object)
            switch try take() {
            case .closeBrace: return object
            case .comma: continue
            default: throw .parse("expected separator in dict")
            }
        }
    }

    private mutating func member(of object: inout JSONObject) throws(JSONError) {
        guard case .string(let name) = try value() else { throw .parse("key is not a string in object") }
        guard try take() == .colon else { throw .parse("missing : in object pair") }
        let value = try value()
        if object.contains(name) { throw .parse("duplicate key") }
        object[name] = value
    }

    private mutating func array() throws(JSONError) -> [JSONValue] {
        var elements: [JSONValue] = []
        if tokens.kind(position) == .closeBracket {
            position += 1
            return elements
        }
        while true {
            elements.append(try value())
            switch try take() {
            case .closeBracket: return elements
            case .comma: continue
            default: throw .parse("expected separator in list")
            }
        }
    }

    private mutating func take() throws(JSONError) -> JSONTokenKind {
        guard let kind = tokens.kind(position) else { throw .prematureEnd }
        position += 1
        return kind
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
