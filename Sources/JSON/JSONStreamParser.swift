/// Turns a stream of bytes into messages: push bytes with `feed`, take what they complete with `next`.
///
/// There is no framing: a message ends where its brackets balance. Errors are answered and the stream goes on, in the
/// way QEMU's parser does, so that a client sees the same sequence of errors (qmp-semantics §2).
public struct JSONStreamParser: Sendable {
    public enum Message: Sendable, Hashable {
        case value(JSONValue)
        case error(JSONError)
    }

    private let limits: JSONLimits
    private var lexer = JSONLexer()
    private var tokens = JSONTokens()
    private var braces = 0
    private var brackets = 0
    private var ready: [Message] = []

    public init(limits: JSONLimits = JSONLimits()) { self.limits = limits }

    /// Takes one byte. It completes two messages at most; collect them with `next` before the next byte.
    public mutating func feed(_ byte: UInt8) {
        var completed: [(JSONTokenKind, [UInt8])] = []
        lexer.feed(byte) { completed.append(($0, $1)) }
        for (kind, text) in completed { take(kind, text) }
        if lexer.text.count > limits.messageBytes {
            lexer.recover()
            emit(.error(.tokenSize))
        }
    }

    /// The oldest message that is complete and was not yet taken.
    public mutating func next() -> Message? { ready.isEmpty ? nil : ready.removeFirst() }

    /// The input has ended: what is incomplete becomes an error, a bare number or keyword a value.
    public mutating func finish() {
        var completed: [(JSONTokenKind, [UInt8])] = []
        lexer.flush { completed.append(($0, $1)) }
        for (kind, text) in completed { take(kind, text) }
        if !tokens.isEmpty { parse() }
    }

    private mutating func take(_ kind: JSONTokenKind, _ text: [UInt8]) {
        switch kind {
        case .openBrace: braces += 1
        case .closeBrace: braces -= 1
        case .openBracket: brackets += 1
        case .closeBracket: brackets -= 1
        case .stray:
            // QEMU treats the bytes as a C string, which a NUL ends.
            let visible = text.prefix { $0 != 0 }
            return emit(.error(.parse("stray '" + String(decoding: visible, as: UTF8.self) + "'")))
        default: break
        }
        if tokens.byteCount + text.count + 1 > limits.messageBytes { return emit(.error(.tokenSize)) }
        if tokens.count + 1 > limits.tokens { return emit(.error(.tokenCount)) }
        if braces + brackets > limits.depth { return emit(.error(.nestingDepth)) }
        tokens.append(kind, text)
        if braces >= 0 && brackets >= 0 && braces + brackets > 0 { return }
        parse()
    }

    private mutating func parse() {
        var reader = JSONTokenReader(tokens)
        do throws(JSONError) { emit(.value(try reader.value())) } catch { emit(.error(error)) }
    }

    private mutating func emit(_ message: Message) {
        braces = 0
        brackets = 0
        tokens.removeAll()
        ready.append(message)
    }
}

extension JSONValue {
    /// The one value in `text`, as in a configuration string. Throws QEMU's words for what is wrong.
    public static func parse(
        _ text: some Sequence<UInt8>, limits: JSONLimits = JSONLimits()
    ) throws(JSONError) -> JSONValue {
        var parser = JSONStreamParser(limits: limits)
        var messages: [JSONStreamParser.Message] = []
        for byte in text {
            parser.feed(byte)
            while let message = parser.next() { messages.append(message) }
            if messages.count > 1 { break }
        }
        if messages.count < 2 {
            parser.finish()
            while let message = parser.next() { messages.append(message) }
        }
        switch messages.first {
        case .error(let error): throw error
        case .value(let value) where messages.count == 1: return value
        case .value: throw JSONError("Expecting at most one JSON value")
        case nil: throw JSONError("Expecting a JSON value")
        }
    }

    public static func parse(_ text: String, limits: JSONLimits = JSONLimits()) throws(JSONError) -> JSONValue {
        try parse(text.utf8, limits: limits)
    }
}
