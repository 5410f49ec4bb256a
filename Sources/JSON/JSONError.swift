/// Why a text is not JSON, in QEMU's words (qmp-semantics §2). `description` is what a QMP client is told.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }

    static func parse(_ reason: String) -> JSONError { JSONError("JSON parse error, " + reason) }

    public static let tokenSize = JSONError("JSON token size limit exceeded")
    public static let tokenCount = JSONError("JSON token count limit exceeded")
    public static let nestingDepth = JSONError("JSON nesting depth limit exceeded")
    static let expectingValue = parse("expecting value")
    static let prematureEnd = parse("premature EOI")
}

/// What a parser accepts before it gives up on one message. The numbers are reliability.md §4's for QMP.
public struct JSONLimits: Sendable, Hashable {
    /// Bytes of all tokens of one message together; also the longest single token.
    public var messageBytes: Int
    /// Tokens of one message. Bounds the bookkeeping of a message of nothing but punctuation.
    public var tokens: Int
    /// Brackets and braces open at once.
    public var depth: Int

    public init(messageBytes: Int = 1 << 20, tokens: Int = 1 << 17, depth: Int = 64) {
        self.messageBytes = messageBytes
        self.tokens = tokens
        self.depth = depth
    }
}
