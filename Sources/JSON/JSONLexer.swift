/// What a token is; `error` is text that is no token.
enum JSONTokenKind: Sendable {
    case openBrace, closeBrace, openBracket, closeBracket, colon, comma
    case string, keyword, integer, float
    case error
}

struct JSONToken: Sendable {
    let kind: JSONTokenKind
    /// As it was written, quotes and escapes included.
    let bytes: [UInt8]
}

/// Cuts a stream of bytes into tokens, one byte at a time, in the language that QEMU's monitor takes: RFC 8259 and
/// single-quoted strings. After an error it skips to a structural character, a control character or a byte that UTF-8
/// never uses, so that a client can always bring it back to a known state.
struct JSONLexer: Sendable {
    private enum State: Sendable {
        case start, recovery, keyword
        case string(quote: UInt8), escape(quote: UInt8)
        case minus, zero, digits, point, fraction, exponent, exponentSign, exponentDigits
    }

    private var state = State.start
    private(set) var token: [UInt8] = []

    /// Takes one byte and tells the tokens that it ends, if any.
    mutating func feed(_ byte: UInt8, _ emit: (JSONToken) -> Void) {
        // A byte that ends a word or a number is looked at again as the start of what follows.
        while !step(byte, emit) {}
    }

    /// Tells what a token at the end of the input is.
    mutating func finish(_ emit: (JSONToken) -> Void) {
        switch state {
        case .start, .recovery: break
        case .keyword: _ = end(.keyword, emit)
        case .zero, .digits: _ = end(.integer, emit)
        case .fraction, .exponentDigits: _ = end(.float, emit)
        case .string, .escape, .minus, .point, .exponent, .exponentSign: fail(emit)
        }
        state = .start
    }

    /// Gives the token under way up, and skips to where a value may begin again: what is left of a string that was cut
    /// off is not taken for values.
    mutating func recover() {
        state = .recovery
        token.removeAll()
    }

    /// Whether the byte was consumed.
    private mutating func step(_ byte: UInt8, _ emit: (JSONToken) -> Void) -> Bool {
        switch state {
        case .start: return begin(byte, emit)
        case .recovery:
            guard Self.isReset(byte) else { return true }
            state = .start
            return false
        case .keyword:
            guard byte >= 0x61 && byte <= 0x7A else { return end(.keyword, emit) }
        case .string(let quote):
            if byte == quote {
                token.append(byte)
                _ = end(.string, emit)
                return true
            }
            guard byte >= 0x20 && byte <= 0xFD else { return fail(byte, emit) }
            if byte == 0x5C { state = .escape(quote: quote) }
        case .escape(let quote):
            guard byte >= 0x20 && byte <= 0xFD else { return fail(byte, emit) }
            state = .string(quote: quote)
        default:
            return number(byte, emit)
        }
        token.append(byte)
        return true
    }

    private mutating func begin(_ byte: UInt8, _ emit: (JSONToken) -> Void) -> Bool {
        switch byte {
        case 0x20, 0x09, 0x0A, 0x0D: return true
        case 0x7B: return single(.openBrace, byte, emit)
        case 0x7D: return single(.closeBrace, byte, emit)
        case 0x5B: return single(.openBracket, byte, emit)
        case 0x5D: return single(.closeBracket, byte, emit)
        case 0x3A: return single(.colon, byte, emit)
        case 0x2C: return single(.comma, byte, emit)
        case 0x22, 0x27: state = .string(quote: byte)
        case 0x61...0x7A: state = .keyword
        case 0x2D: state = .minus
        case 0x30: state = .zero
        case 0x31...0x39: state = .digits
        default: return fail(byte, emit)
        }
        token.append(byte)
        return true
    }

    private mutating func number(_ byte: UInt8, _ emit: (JSONToken) -> Void) -> Bool {
        let isDigit = byte >= 0x30 && byte <= 0x39
        let isExponent = byte == 0x65 || byte == 0x45
        switch state {
        case .minus where isDigit: state = byte == 0x30 ? .zero : .digits
        case .digits where isDigit, .fraction where isDigit, .exponentDigits where isDigit: break
        case .zero where byte == 0x2E, .digits where byte == 0x2E: state = .point
        case .zero where isExponent, .digits where isExponent, .fraction where isExponent: state = .exponent
        case .point where isDigit: state = .fraction
        case .exponent where byte == 0x2B || byte == 0x2D: state = .exponentSign
        case .exponent where isDigit, .exponentSign where isDigit: state = .exponentDigits
        case .zero where !isDigit, .digits: return end(.integer, emit)
        case .fraction, .exponentDigits: return end(.float, emit)
        default: return fail(byte, emit)
        }
        token.append(byte)
        return true
    }

    private mutating func single(_ kind: JSONTokenKind, _ byte: UInt8, _ emit: (JSONToken) -> Void) -> Bool {
        emit(JSONToken(kind: kind, bytes: [byte]))
        return true
    }

    private mutating func end(_ kind: JSONTokenKind, _ emit: (JSONToken) -> Void) -> Bool {
        let bytes = token
        token.removeAll(keepingCapacity: true)
        state = .start
        emit(JSONToken(kind: kind, bytes: bytes))
        return false
    }

    private mutating func fail(_ byte: UInt8, _ emit: (JSONToken) -> Void) -> Bool {
        token.append(byte)
        fail(emit)
        return true
    }

    private mutating func fail(_ emit: (JSONToken) -> Void) {
        let bytes = token
        token.removeAll(keepingCapacity: true)
        state = .recovery
        emit(JSONToken(kind: .error, bytes: bytes))
    }

    private static func isReset(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x7B, 0x7D, 0x5B, 0x5D, 0x3A, 0x2C, 0xFE, 0xFF: true
        case 0x09: false
        default: byte < 0x20
        }
    }
}
