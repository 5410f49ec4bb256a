/// What base64 text (RFC 4648, section 4) stands for.
public enum Base64 {
    /// The bytes; nil where it is not such text. `paddingOptional`: the signs that fill the last group of four may be left
    /// out (iSCSI, RFC 7143, section 6.1).
    public static func decode(_ text: some BidirectionalCollection<UInt8>, paddingOptional: Bool = false) -> [UInt8]? {
        let body = text.prefix { $0 != UInt8(ascii: "=") }
        let padding = text.dropFirst(body.count)
        guard padding.count <= 2, padding.allSatisfy({ $0 == UInt8(ascii: "=") }), body.count % 4 != 1,
            paddingOptional || (body.count + padding.count) % 4 == 0
        else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(body.count / 4 * 3 + 2)
        var (bits, held): (UInt32, Int) = (0, 0)
        for digit in body {
            guard let value = sextet(digit) else { return nil }
            bits = bits << 6 | value
            held += 6
            if held >= 8 {
                held -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        return result
    }

    private static func sextet(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
