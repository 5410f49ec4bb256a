/// Why JSON text was refused, in QEMU's words.
public struct JSONError: Error, Equatable, Sendable {
    public let message: String
    public init(_ message: String) { self.message = message }

    static func parse(_ reason: String) -> JSONError { JSONError("JSON parse error, " + reason) }
}

/// How large one value may be; checked while it arrives, before anything is built.
public struct JSONLimits: Sendable {
    /// Bytes of all tokens of one value.
    public var bytes = 1 << 20
    public var tokens = 1 << 17
    /// Braces and brackets open at once.
    public var depth = 64

    public init() {}
}

/// Values out of a stream of bytes, without any framing: split anywhere, several in one read.
public struct JSONStream: Sendable {
    private let limits: JSONLimits
    private var lexer = JSONLexer()
    private var tokens = JSONTokens()
    private var braces = 0
    private var brackets = 0

    public init(limits: JSONLimits = JSONLimits()) { self.limits = limits }

    /// Takes bytes and answers the values and errors that they complete, in order.
    public mutating func feed(_ input: some Sequence<UInt8>) -> [Result<JSONValue, JSONError>] {
        var results: [Result<JSONValue, JSONError>] = []
        for byte in input {
            var ended: [JSONToken] = []
            lexer.feed(byte) { ended.append($0) }
            for token in ended { take(token, &results) }
            // A string that never ends is cut off while it grows.
            if tokens.byteCount + lexer.token.count > limits.bytes {
                lexer.recover()
                results.append(.failure(JSONError("JSON token size limit exceeded")))
                reset()
            }
        }
        return results
    }

    /// Whether a value has begun and not ended.
    public var isUnfinished: Bool { !tokens.isEmpty || !lexer.token.isEmpty }

    /// Forgets what was received of an unfinished value.
    public mutating func reset() {
        tokens.removeAll()
        (braces, brackets) = (0, 0)
    }

    private mutating func take(_ token: JSONToken, _ results: inout [Result<JSONValue, JSONError>]) {
        switch token.kind {
        case .error:
            // QEMU prints a C string, which a NUL ends.
            let text = String(decoding: token.bytes.prefix { $0 != 0 }, as: UTF8.self)
            results.append(.failure(.parse("stray '\(text)'")))
            return reset()
        case .openBrace: braces += 1
        case .closeBrace: braces -= 1
        case .openBracket: brackets += 1
        case .closeBracket: brackets -= 1
        default: break
        }
        if let failure = exceeded(by: token) {
            results.append(.failure(failure))
            return reset()
        }
        tokens.append(token)
        // Too many closing ones end a value as well: the parser says what is wrong with it.
        if (braces > 0 || brackets > 0) && braces >= 0 && brackets >= 0 { return }
        let whole = tokens
        reset()
        results.append(Result { () throws(JSONError) in try JSONParser.parse(whole) })
    }

    private func exceeded(by token: JSONToken) -> JSONError? {
        if tokens.byteCount + token.bytes.count > limits.bytes { return JSONError("JSON token size limit exceeded") }
        if tokens.count >= limits.tokens { return JSONError("JSON token count limit exceeded") }
        if braces + brackets > limits.depth { return JSONError("JSON nesting depth limit exceeded") }
        return nil
    }

    fileprivate mutating func finish() -> [Result<JSONValue, JSONError>] {
        var results: [Result<JSONValue, JSONError>] = []
        var ended: [JSONToken] = []
        lexer.finish { ended.append($0) }
        for token in ended { take(token, &results) }
        if results.isEmpty, !tokens.isEmpty {
            results.append(Result { () throws(JSONError) in try JSONParser.parse(tokens) })
        }
        return results
    }
}

extension JSONValue {
    /// The one value that the text holds.
    public static func parse(_ text: String, limits: JSONLimits = JSONLimits()) throws(JSONError) -> JSONValue {
        var stream = JSONStream(limits: limits)
        let results = stream.feed(text.utf8) + stream.finish()
        guard let first = results.first else { throw JSONError("Expecting a JSON value") }
        let value = try first.get()
        guard results.count == 1 else { throw JSONError("Expecting at most one JSON value") }
        return value
    }
}
