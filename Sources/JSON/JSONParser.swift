/// Builds one value from its tokens. Depth is bounded by the stream's limit before this runs.
struct JSONParser {
    private let tokens: [JSONToken]
    private var position = 0

    static func parse(_ tokens: [JSONToken]) throws(JSONError) -> JSONValue {
        var parser = JSONParser(tokens: tokens)
        return try parser.value()
    }

    private init(tokens: [JSONToken]) { self.tokens = tokens }

    private func error(_ message: String) -> JSONError { JSONError("JSON parse error, \(message)") }

    private mutating func next() throws(JSONError) -> JSONToken {
        guard position < tokens.count else { throw error("premature EOI") }
        position += 1
        return tokens[position - 1]
    }

    private func peek() throws(JSONError) -> JSONTokenKind {
        guard position < tokens.count else { throw error("premature EOI") }
        return tokens[position].kind
    }

    private mutating func value() throws(JSONError) -> JSONValue {
        let token = try next()
        switch token.kind {
        case .openBrace: return .object(try object())
        case .openBracket: return .array(try array())
        case .string: return .string(try string(token))
        case .keyword: return try keyword(token)
        case .integer: return try integer(token)
        case .float: return try double(token)
        default: throw error("expecting value")
        }
    }

    private mutating func object() throws(JSONError) -> JSONObject {
        var object = JSONObject()
        if try peek() == .closeBrace {
            position += 1
            return object
        }
        while true {
            guard case .string(let name) = try value() else { throw error("key is not a string in object") }
            guard try next().kind == .colon else { throw error("missing : in object pair") }
            let value = try value()
            guard object[name] == nil else { throw error("duplicate key") }
            object[name] = value
            switch try next().kind {
            case .closeBrace: return object
            case .comma: continue
            default: throw error("expected separator in dict")
            }
        }
    }

    private mutating func array() throws(JSONError) -> [JSONValue] {
        var array: [JSONValue] = []
        if try peek() == .closeBracket {
            position += 1
            return array
        }
        while true {
            array.append(try value())
            switch try next().kind {
            case .closeBracket: return array
            case .comma: continue
            default: throw error("expected separator in list")
            }
        }
    }

    private func keyword(_ token: JSONToken) throws(JSONError) -> JSONValue {
        switch String(decoding: token.bytes, as: UTF8.self) {
        case "true": return .bool(true)
        case "false": return .bool(false)
        case "null": return .null
        case let word: throw error("invalid keyword '\(word)'")
        }
    }

    private func integer(_ token: JSONToken) throws(JSONError) -> JSONValue {
        let text = String(decoding: token.bytes, as: UTF8.self)
        if let value = Int64(text) { return .int(value) }
        if let value = UInt64(text) { return .uint(value) }
        return try double(token)
    }

    private func double(_ token: JSONToken) throws(JSONError) -> JSONValue {
        // A number that only infinity could stand for is refused: it could not be given back as JSON.
        guard let value = Double(String(decoding: token.bytes, as: UTF8.self)), value.isFinite else {
            throw error("number out of range")
        }
        return .double(value)
    }

    // MARK: Strings

    private func string(_ token: JSONToken) throws(JSONError) -> String {
        let bytes = token.bytes
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var index = 1
        while index < bytes.count - 1 {
            if bytes[index] != 0x5C {
                result.append(bytes[index])
                index += 1
                continue
            }
            index += 1
            try escape(bytes, &index, &result)
        }
        guard let text = String(validating: result, as: UTF8.self) else {
            throw error("invalid UTF-8 sequence in string")
        }
        return text
    }

    private func escape(_ bytes: [UInt8], _ index: inout Int, _ result: inout [UInt8]) throws(JSONError) {
        let code = bytes[index]
        index += 1
        switch code {
        case 0x22, 0x27, 0x2F, 0x5C: result.append(code)
        case 0x62: result.append(0x08)
        case 0x66: result.append(0x0C)
        case 0x6E: result.append(0x0A)
        case 0x72: result.append(0x0D)
        case 0x74: result.append(0x09)
        case 0x75: result.append(contentsOf: String(try scalar(bytes, &index)).utf8)
        default: throw error("invalid escape sequence '\\\(String(decoding: [code], as: UTF8.self))' in string")
        }
    }

    private func scalar(_ bytes: [UInt8], _ index: inout Int) throws(JSONError) -> Unicode.Scalar {
        let first = try unit(bytes, &index)
        if let scalar = Unicode.Scalar(first) { return scalar }
        // A high surrogate is only half a character; the low one must follow.
        if first < 0xDC00, index + 1 < bytes.count - 1, bytes[index] == 0x5C, bytes[index + 1] == 0x75 {
            index += 2
            let second = try unit(bytes, &index)
            if second >= 0xDC00 && second <= 0xDFFF,
                let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
            {
                return scalar
            }
        }
        throw error("\\u\(String(first, radix: 16)) is not a valid Unicode character")
    }

    private func unit(_ bytes: [UInt8], _ index: inout Int) throws(JSONError) -> UInt32 {
        guard index + 4 <= bytes.count - 1 else { throw error("invalid hex escape in string") }
        let text = String(decoding: bytes[index..<index + 4], as: UTF8.self)
        guard text.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }), let value = UInt32(text, radix: 16) else {
            throw error("invalid hex escape in string")
        }
        index += 4
        return value
    }
}
