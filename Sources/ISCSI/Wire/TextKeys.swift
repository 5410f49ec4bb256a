import Bytes

/// Key=value pairs (RFC 7143 6.1), bounded.
struct TextKeys: Equatable, Sendable {
    struct Pair: Equatable, Sendable {
        var key: String
        var value: String
    }

    var pairs: [Pair] = []

    init() {}

    /// Reads `key=value` pairs, each ended by a zero byte; the last may lack it. Nil where a pair is none: no `=`, a name
    /// that is empty, too long or holds what names may not, a value that is too long or not printable ASCII, a key that
    /// is there twice.
    init?(_ bytes: [UInt8]) {
        var seen: Set<String> = []
        for part in bytes.split(separator: 0) {
            guard let equals = part.firstIndex(of: UInt8(ascii: "=")), equals > part.startIndex,
                equals - part.startIndex <= ISCSILimits.keyName
            else { return nil }
            let (name, value) = (part[..<equals], part[(equals + 1)...])
            guard name.allSatisfy(Self.isNameByte), value.count <= ISCSILimits.binaryText,
                value.allSatisfy({ $0 >= 0x20 && $0 != 0x7F })
            else { return nil }
            let pair = Pair(key: String(decoding: name, as: UTF8.self), value: String(decoding: value, as: UTF8.self))
            guard seen.insert(pair.key).inserted else { return nil }
            pairs.append(pair)
        }
    }

    /// Letters, digits, and `.-+@_`, with `/` and `#` of the names of extensions.
    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: ".-+@_/#".utf8.contains(byte)
        }
    }

    subscript(key: String) -> String? { pairs.first { $0.key == key }?.value }

    mutating func append(_ key: String, _ value: String) { pairs.append(Pair(key: key, value: value)) }

    /// Each pair with its zero byte.
    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for pair in pairs {
            bytes += pair.key.utf8
            bytes.append(UInt8(ascii: "="))
            bytes += pair.value.utf8
            bytes.append(0)
        }
        return bytes
    }
}

/// Values of keys, as RFC 7143 6.1 writes them. All nil where the text is something else, or longer than it may be.
enum TextValue {
    /// A decimal or hexadecimal number.
    static func number(_ text: String) -> UInt64? {
        guard text.utf8.count <= ISCSILimits.value, let first = text.utf8.first,
            first >= UInt8(ascii: "0"), first <= UInt8(ascii: "9")
        else { return nil }
        if text.hasPrefix("0x") || text.hasPrefix("0X") {
            let digits = text.dropFirst(2)
            // A sign would be read as part of a number.
            guard digits.utf8.first.flatMap(nibble) != nil else { return nil }
            return UInt64(digits, radix: 16)
        }
        return UInt64(text)
    }

    static func boolean(_ text: String) -> Bool? { text == "Yes" ? true : text == "No" ? false : nil }

    static func text(_ value: Bool) -> String { value ? "Yes" : "No" }

    /// Bytes as hexadecimal (`0x…`) or base64 (`0b…`) text.
    static func binary(_ text: String) -> [UInt8]? {
        let bytes = Array(text.utf8)
        guard bytes.count > 2, bytes.count <= ISCSILimits.binaryText, bytes[0] == UInt8(ascii: "0") else { return nil }
        let digits = bytes[2...]
        let decoded: [UInt8]?
        switch bytes[1] {
        case UInt8(ascii: "x"), UInt8(ascii: "X"): decoded = hexadecimal(digits)
        case UInt8(ascii: "b"), UInt8(ascii: "B"): decoded = Base64.decode(digits, paddingOptional: true)
        default: return nil
        }
        guard let decoded, !decoded.isEmpty, decoded.count <= ISCSILimits.binary else { return nil }
        return decoded
    }

    static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text = Array("0x".utf8)
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// An odd number of digits lacks a leading zero.
    private static func hexadecimal(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var high: UInt8? = digits.count % 2 == 1 ? 0 : nil
        for digit in digits {
            guard let value = nibble(digit) else { return nil }
            if let first = high {
                result.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return result
    }
}
