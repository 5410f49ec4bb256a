/// The number that `text` (which follows the number grammar) stands for: exact where it fits Int64 or UInt64, else the
/// nearest double. A magnitude beyond the doubles is refused, since no JSON could echo it.
func jsonNumber(_ text: ArraySlice<UInt8>, isInteger: Bool) throws(JSONError) -> JSONValue {
    let word = String(decoding: text, as: UTF8.self)
    if isInteger {
        if let value = Int64(word) { return .int(value) }
        if let value = UInt64(word) { return .uint(value) }
    }
    guard let value = Double(word), value.isFinite else { throw .parse("number out of range '\(word)'") }
    return .double(value)
}

/// The contents of a string token, quotes and escapes resolved.
func jsonString(_ text: ArraySlice<UInt8>) throws(JSONError) -> String {
    let body = text.dropFirst().dropLast()
    // Plain ASCII without escapes is almost everything on the wire.
    if body.allSatisfy({ $0 < 0x80 && $0 != UInt8(ascii: "\\") }) { return String(decoding: body, as: UTF8.self) }
    var scalars = String.UnicodeScalarView()
    var position = body.startIndex
    while position < body.endIndex {
        if body[position] == UInt8(ascii: "\\") {
            scalars.append(try jsonEscape(text, &position))
        } else {
            guard let scalar = utf8Scalar(body, &position) else {
                throw .parse("invalid UTF-8 sequence in string")
            }
            scalars.append(scalar)
        }
    }
    return String(scalars)
}

/// Resolves the escape whose backslash is at `position` and moves past it. `text` includes the closing quote, since an
/// escape that is cut short is quoted back with it.
private func jsonEscape(_ text: ArraySlice<UInt8>, _ position: inout Int) throws(JSONError) -> Unicode.Scalar {
    let begin = position
    let letter = text[position + 1]
    position += 2
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(letter)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): break
    default: throw .parse("invalid escape sequence in string")
    }
    var code = fourHexDigits(text, position)
    position = min(position + 4, text.endIndex)
    if let high = code, (0xD800...0xDBFF).contains(high),
        text[position...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")])
    {
        if let low = fourHexDigits(text, position + 2), (0xDC00...0xDFFF).contains(low) {
            code = 0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)
            position += 6
        } else {
            code = nil
        }
    }
    guard let code, let scalar = validScalar(code) else {
        throw .parse(String(decoding: text[begin..<position], as: UTF8.self) + " is not a valid Unicode character")
    }
    return scalar
}

private func fourHexDigits(_ text: ArraySlice<UInt8>, _ position: Int) -> UInt32? {
    guard position + 4 <= text.endIndex else { return nil }
    var value: UInt32 = 0
    for byte in text[position..<position + 4] {
        switch byte {
        case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
        case 0x41...0x46: value = value << 4 | UInt32(byte - 0x37)
        case 0x61...0x66: value = value << 4 | UInt32(byte - 0x57)
        default: return nil
        }
    }
    return value
}

/// A scalar that QMP lets through: no surrogate, no noncharacter.
private func validScalar(_ code: UInt32) -> Unicode.Scalar? {
    if (0xFDD0...0xFDEF).contains(code) || code & 0xFFFE == 0xFFFE { return nil }
    return Unicode.Scalar(code)
}

/// Decodes one UTF-8 sequence and moves past it; nil where it is malformed. `C0 80` is taken for U+0000.
private func utf8Scalar(_ text: ArraySlice<UInt8>, _ position: inout Int) -> Unicode.Scalar? {
    let first = text[position]
    if first < 0x80 {
        position += 1
        return Unicode.Scalar(first)
    }
    let (length, least): (Int, UInt32) =
        switch first {
        case 0xC0...0xDF: (2, 0x80)
        case 0xE0...0xEF: (3, 0x800)
        case 0xF0...0xF7: (4, 0x10000)
        default: (0, 0)
        }
    guard length > 0, position + length <= text.endIndex else { return nil }
    var code = UInt32(first) & (0x7F >> UInt32(length))
    for byte in text[position + 1..<position + length] {
        guard byte & 0xC0 == 0x80 else { return nil }
        code = code << 6 | UInt32(byte & 0x3F)
    }
    let isModifiedNul = length == 2 && code == 0
    guard code >= least || isModifiedNul else { return nil }
    position += length
    return validScalar(code)
}
