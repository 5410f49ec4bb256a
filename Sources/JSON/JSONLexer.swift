/// What a piece of JSON text is.
enum JSONTokenKind: UInt8 {
    case openBrace, closeBrace, openBracket, closeBracket, colon, comma
    case integer, float, keyword, string
    /// Bytes that begin no token; the message that holds them is lost.
    case stray
}

/// Splits bytes into tokens, one byte at a time, after the token grammar of QMP (qmp-semantics §2): JSON with single
/// quotes allowed, and a recovery mode after a stray byte that ends at the next structural or control character.
struct JSONLexer {
    private enum State {
        case start, recovery, whitespace, keyword
        case string(quote: UInt8), escape(quote: UInt8)
        case sign, zero, digits, point, fraction, exponent, exponentSign, exponentDigits
    }

    private enum Step {
        /// The byte belongs to the token, which goes on.
        case go(State)
        /// The byte completes the token.
        case end(JSONTokenKind)
        /// The token ended before this byte, which is looked at again.
        case before(JSONTokenKind)
        /// Nothing worth keeping so far; start again, with this byte or after it.
        case restart(keepingByte: Bool)
        case stray
    }

    private var state = State.start
    /// Bytes of the token under way.
    private(set) var text: [UInt8] = []

    /// Takes one byte and hands each token that it completes (at most two) to `emit`.
    mutating func feed(_ byte: UInt8, emit: (JSONTokenKind, [UInt8]) -> Void) {
        while true {
            switch step(byte) {
            case .go(let next):
                if case .recovery = next { text.removeAll(keepingCapacity: true) } else { text.append(byte) }
                state = next
                return
            case .end(let kind):
                text.append(byte)
                finish(kind, emit)
                return
            case .stray:
                text.append(byte)
                finish(.stray, emit)
                state = .recovery
                return
            case .before(let kind):
                finish(kind, emit)
            case .restart(let keepingByte):
                text.removeAll(keepingCapacity: true)
                state = .start
                if !keepingByte { return }
            }
        }
    }

    /// The input has ended: completes the token under way, if there is one.
    mutating func flush(emit: (JSONTokenKind, [UInt8]) -> Void) {
        switch state {
        case .start, .recovery, .whitespace: text.removeAll()
        case .keyword: finish(.keyword, emit)
        case .zero, .digits: finish(.integer, emit)
        case .fraction, .exponentDigits: finish(.float, emit)
        case .string, .escape, .sign, .point, .exponent, .exponentSign: finish(.stray, emit)
        }
        state = .start
    }

    /// Drops the token under way and what follows it up to the next point where a message may begin.
    mutating func recover() {
        text.removeAll()
        state = .recovery
    }

    private mutating func finish(_ kind: JSONTokenKind, _ emit: (JSONTokenKind, [UInt8]) -> Void) {
        state = .start
        emit(kind, text)
        text.removeAll(keepingCapacity: true)
    }

    private func step(_ byte: UInt8) -> Step {
        switch state {
        case .start: return start(byte)
        case .recovery: return Self.resynchronises(byte) ? .restart(keepingByte: true) : .go(.recovery)
        case .whitespace: return Self.isSpace(byte) ? .go(.whitespace) : .restart(keepingByte: true)
        case .keyword: return (0x61...0x7A).contains(byte) ? .go(.keyword) : .before(.keyword)
        case .string(let quote):
            if byte == quote { return .end(.string) }
            if byte == UInt8(ascii: "\\") { return .go(.escape(quote: quote)) }
            return Self.isText(byte) ? .go(.string(quote: quote)) : .stray
        case .escape(let quote): return Self.isText(byte) ? .go(.string(quote: quote)) : .stray
        default: return number(byte)
        }
    }

    private func start(_ byte: UInt8) -> Step {
        switch byte {
        case UInt8(ascii: "{"): .end(.openBrace)
        case UInt8(ascii: "}"): .end(.closeBrace)
        case UInt8(ascii: "["): .end(.openBracket)
        case UInt8(ascii: "]"): .end(.closeBracket)
        case UInt8(ascii: ":"): .end(.colon)
        case UInt8(ascii: ","): .end(.comma)
        case UInt8(ascii: "\""), UInt8(ascii: "'"): .go(.string(quote: byte))
        case UInt8(ascii: "-"): .go(.sign)
        case UInt8(ascii: "0"): .go(.zero)
        case UInt8(ascii: "1")...UInt8(ascii: "9"): .go(.digits)
        case 0x61...0x7A: .go(.keyword)
        case _ where Self.isSpace(byte): .go(.whitespace)
        default: .stray
        }
    }

    private func number(_ byte: UInt8) -> Step {
        let isDigit = (0x30...0x39).contains(byte)
        let isExponent = byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E")
        let isPoint = byte == UInt8(ascii: ".")
        switch state {
        case .sign:
            return byte == UInt8(ascii: "0") ? .go(.zero) : isDigit ? .go(.digits) : .stray
        case .zero:
            return isPoint ? .go(.point) : isExponent ? .go(.exponent) : isDigit ? .stray : .before(.integer)
        case .digits:
            return isDigit ? .go(.digits) : isPoint ? .go(.point) : isExponent ? .go(.exponent) : .before(.integer)
        case .point:
            return isDigit ? .go(.fraction) : .stray
        case .fraction:
            return isDigit ? .go(.fraction) : isExponent ? .go(.exponent) : .before(.float)
        case .exponent:
            if byte == UInt8(ascii: "-") || byte == UInt8(ascii: "+") { return .go(.exponentSign) }
            return isDigit ? .go(.exponentDigits) : .stray
        case .exponentSign:
            return isDigit ? .go(.exponentDigits) : .stray
        default:
            return isDigit ? .go(.exponentDigits) : .before(.float)
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A
    }

    private static func isText(_ byte: UInt8) -> Bool { (0x20...0xFD).contains(byte) }

    /// Structural characters and line ends are where a message may begin again; other control characters and the
    /// bytes that UTF-8 never has let a client force the parser to a known state.
    private static func resynchronises(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x09: false
        case 0...0x1F, 0xFE, 0xFF: true
        case UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: ":"),
            UInt8(ascii: ","):
            true
        default: false
        }
    }
}
