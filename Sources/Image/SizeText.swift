/// Sizes as people write and read them, in the forms of QEMU's tools. 1k is 1024 bytes.
public enum SizeText {
    public enum Mistake: Error, Equatable, Sendable {
        /// No number, one below zero, or an unknown suffix.
        case malformed
        /// Past 2^63 - 1.
        case outOfRange
    }

    private static let powers: [Character: UInt64] = ["b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60]

    /// The bytes that `text` means: `10`, `64k`, `1.5G`, `0x1000`.
    public static func parse(_ text: String) throws(Mistake) -> UInt64 {
        if text.hasPrefix("0x") || text.hasPrefix("0X") {
            guard text.utf8.count > 2, text.utf8.dropFirst(2).allSatisfy({ isHex($0) }) else { throw .malformed }
            guard let value = UInt64(text.dropFirst(2), radix: 16), value <= UInt64(Int64.max) else {
                throw .outOfRange
            }
            return value
        }
        var rest = text[...]
        let whole = rest.prefix { isDigit($0) }
        rest = rest.dropFirst(whole.count)
        var fraction: Substring = ""
        if rest.first == "." {
            rest.removeFirst()
            fraction = rest.prefix { isDigit($0) }
            rest = rest.dropFirst(fraction.count)
        }
        guard !(whole.isEmpty && fraction.isEmpty) else { throw .malformed }
        var shift: UInt64 = 0
        if let suffix = rest.first {
            guard rest.count == 1, let power = powers[Character(suffix.lowercased())] else { throw .malformed }
            shift = power
        }
        // Part of a byte is no size.
        guard fraction.isEmpty || shift > 0 else { throw .malformed }
        return try bytes(whole: whole, fraction: fraction, shift: shift)
    }

    private static func bytes(whole: Substring, fraction: Substring, shift: UInt64) throws(Mistake) -> UInt64 {
        guard let units = whole.isEmpty ? 0 : UInt64(whole) else { throw .outOfRange }
        let (high, low) = units.multipliedFullWidth(by: 1 << shift)
        guard high == 0 else { throw .outOfRange }
        // Digits past the fifteenth cannot be told apart any more.
        let part = fraction.isEmpty ? 0 : Double("0." + fraction.prefix(15)) ?? 0
        let (sum, overflow) = low.addingReportingOverflow(UInt64((part * Double(UInt64(1) << shift)).rounded()))
        guard !overflow, sum <= UInt64(Int64.max) else { throw .outOfRange }
        return sum
    }

    private static func isDigit(_ character: Character) -> Bool { character.isASCII && character.isNumber }

    private static func isHex(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }

    /// Three digits and a binary unit: `1 MiB`, `392 KiB`, `1.5 GiB`, `0 B`.
    public static func describe(_ bytes: UInt64) -> String {
        let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
        var power = 0
        // The next unit begins at 1000 of the one before, so that no more than three digits are needed.
        while power < units.count - 1, Double(bytes) >= 1000 * pow1024(power) { power += 1 }
        return "\(threeDigits(Double(bytes) / pow1024(power))) \(units[power])B"
    }

    private static func pow1024(_ power: Int) -> Double { Double(sign: .plus, exponent: 10 * power, significand: 1) }

    /// C's `%0.3g` for values from 0 to just below 1000.
    private static func threeDigits(_ value: Double) -> String {
        if value == 0 { return "0" }
        let decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3
        var scale: Double = 1
        for _ in 0..<decimals { scale *= 10 }
        let scaled = UInt64((value * scale).rounded(.toNearestOrEven))
        if decimals == 0 { return scaled >= 1000 ? "1e+03" : String(scaled) }
        let unit = UInt64(scale)
        var digits = String(scaled % unit)
        digits = String(repeating: "0", count: decimals - digits.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return digits.isEmpty ? String(scaled / unit) : "\(scaled / unit).\(digits)"
    }
}
