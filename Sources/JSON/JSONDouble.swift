/// `value` with up to 17 significant digits, trimmed: what C prints for `%.17g`. `value` must be finite.
///
/// The digits are exact: the double is m·2^e, so its decimal digits come from one multiplication or division of a
/// plain big integer.
func formatDouble(_ value: Double) -> String {
    let sign = value.sign == .minus ? "-" : ""
    if value == 0 { return sign + "0" }
    var (digits, exponent) = significantDigits(value.magnitude, count: 17)
    while digits.count > 1, digits.last == 0 { digits.removeLast() }
    let text = digits.map { Character(Unicode.Scalar(0x30 + $0)) }
    if exponent < -4 || exponent >= 17 {
        let mantissa = String(text[0]) + (text.count > 1 ? "." + String(text[1...]) : "")
        let size = exponent.magnitude
        return sign + mantissa + (exponent < 0 ? "e-" : "e+") + (size < 10 ? "0" : "") + String(size)
    }
    if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + String(text) }
    let whole = text.prefix(exponent + 1)
    let padding = String(repeating: "0", count: max(0, exponent + 1 - text.count))
    let fraction = text.dropFirst(exponent + 1)
    return sign + String(whole) + padding + (fraction.isEmpty ? "" : "." + String(fraction))
}

/// The first `count` decimal digits of `value` (positive), rounded to nearest, ties to even, and the power of ten of
/// the first one.
private func significantDigits(_ value: Double, count: Int) -> (digits: [UInt8], exponent: Int) {
    // value = significand · 2^power, with an integral significand.
    let significand = value.isNormal ? value.significandBitPattern | 1 << 52 : value.significandBitPattern
    let power = (value.isNormal ? Int(value.exponentBitPattern) : 1) - 1075
    // As value · 10^scale it is an integer: 2^-n = 5^n / 10^n.
    var number = BigDecimal(significand)
    let scale = max(0, -power)
    if power > 0 { number.multiply(by: 2, times: power) } else { number.multiply(by: 5, times: scale) }
    var digits = number.digits
    var exponent = digits.count - 1 - scale
    guard digits.count > count else { return (digits, exponent) }
    let rest = digits[count...]
    digits = Array(digits[..<count])
    let isAboveHalf = rest[count] > 5 || (rest[count] == 5 && rest.dropFirst().contains { $0 != 0 })
    let isTie = rest[count] == 5 && !isAboveHalf
    if isAboveHalf || (isTie && digits[count - 1] % 2 == 1) {
        var position = count - 1
        while position >= 0, digits[position] == 9 {
            digits[position] = 0
            position -= 1
        }
        if position >= 0 {
            digits[position] += 1
        } else {
            digits.insert(1, at: 0)
            digits.removeLast()
            exponent += 1
        }
    }
    return (digits, exponent)
}

/// A natural number in base 10^9, least significant limb first. Never longer than a double's 1 075 digits.
private struct BigDecimal {
    private var limbs: [UInt32]

    init(_ value: UInt64) {
        limbs = []
        var rest = value
        repeat {
            limbs.append(UInt32(rest % 1_000_000_000))
            rest /= 1_000_000_000
        } while rest > 0
    }

    mutating func multiply(by base: UInt64, times: Int) {
        // Nine factors at once still fit a limb's product: 5^9 and 2^9 are below 2^32.
        var left = times
        while left > 0 {
            let step = min(left, 9)
            var factor: UInt64 = 1
            for _ in 0..<step { factor *= base }
            var carry: UInt64 = 0
            for index in limbs.indices {
                let product = UInt64(limbs[index]) * factor + carry
                limbs[index] = UInt32(product % 1_000_000_000)
                carry = product / 1_000_000_000
            }
            while carry > 0 {
                limbs.append(UInt32(carry % 1_000_000_000))
                carry /= 1_000_000_000
            }
            left -= step
        }
    }

    /// Decimal digits, most significant first, without leading zeros.
    var digits: [UInt8] {
        var result: [UInt8] = []
        for (index, limb) in limbs.enumerated() {
            var rest = limb
            for _ in 0..<9 {
                if index == limbs.count - 1 && rest == 0 { break }
                result.append(UInt8(rest % 10))
                rest /= 10
            }
        }
        return result.reversed()
    }
}
