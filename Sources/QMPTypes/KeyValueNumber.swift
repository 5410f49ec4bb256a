/// Numbers as C's `strtol` family reads them with base 0: blanks before, a sign, `0x` for hexadecimal, `0` for octal.
enum KeyValueNumber {
    static func signed(_ text: String) -> Int64? {
        guard let (isNegative, digits) = parts(text) else { return nil }
        if isNegative { return digits <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- digits) : nil }
        return Int64(exactly: digits)
    }

    /// A negative number wraps around.
    static func unsigned(_ text: String) -> UInt64? {
        guard let (isNegative, digits) = parts(text) else { return nil }
        return isNegative ? 0 &- digits : digits
    }

    /// A number of bytes: decimal with an optional fraction and a suffix B, K, M, G, T, P or E of powers of 1024, or
    /// hexadecimal without one.
    static func size(_ text: String) -> UInt64? {
        if text.hasPrefix("0x") || text.hasPrefix("0X") {
            guard let (_, digits) = parts(text) else { return nil }
            return digits
        }
        var number = Substring(text)
        var shift: UInt64 = 0
        if let last = number.last, let power = Array("BKMGTPE").firstIndex(of: Character(last.uppercased())) {
            shift = UInt64(power) * 10
            number = number.dropLast()
        }
        guard let first = number.utf8.first, (0x30...0x39).contains(first) else { return nil }
        if let whole = UInt64(number) {
            let (bytes, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
            return overflow ? nil : bytes
        }
        guard number.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") }),
            let value = Double(number)
        else { return nil }
        let bytes = (value * Double(UInt64(1) << shift)).rounded()
        return bytes < 0x1p64 ? UInt64(bytes) : nil
    }

    private static func parts(_ text: String) -> (isNegative: Bool, digits: UInt64)? {
        var rest = Substring(text).drop { $0 == " " || ("\t"..."\r").contains($0) }
        var isNegative = false
        if let sign = rest.first, sign == "-" || sign == "+" {
            isNegative = sign == "-"
            rest = rest.dropFirst()
        }
        var radix = 10
        if rest.hasPrefix("0x") || rest.hasPrefix("0X") {
            radix = 16
            rest = rest.dropFirst(2)
        } else if rest.hasPrefix("0") {
            radix = 8
        }
        // The standard library would take a second sign.
        guard let first = rest.first, first != "-", first != "+", let digits = UInt64(rest, radix: radix) else {
            return nil
        }
        return (isNegative, digits)
    }
}
