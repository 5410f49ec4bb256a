/// How a value is laid out as text.
public enum JSONLayout: Sendable, Hashable {
    /// One line, `", "` and `": "` between the parts.
    case compact
    /// Four spaces a level, one member or element a line.
    case pretty
}

extension JSONValue {
    /// The text of the value, byte for byte as QEMU 7.2 writes it: pure ASCII, non-ASCII and control characters as
    /// `\uXXXX` with upper-case digits, members in QEMU's hash order (qmp-semantics §3). Never `inf` or `nan`: a double
    /// that is not finite becomes `null`.
    public func serialized(_ layout: JSONLayout = .compact) -> [UInt8] {
        var writer = JSONWriter(layout: layout)
        writer.write(self)
        return writer.bytes
    }

    public func text(_ layout: JSONLayout = .compact) -> String {
        String(decoding: serialized(layout), as: UTF8.self)
    }
}

/// Appends values as text. Its recursion follows the nesting of the value, which the parser bounds.
struct JSONWriter {
    let layout: JSONLayout
    private(set) var bytes: [UInt8] = []
    private var level = 0

    init(layout: JSONLayout) { self.layout = layout }

    mutating func write(_ value: JSONValue) {
        switch value {
        case .null: append("null")
        case .bool(let flag): append(flag ? "true" : "false")
        case .integer(let number): append(String(number))
        case .unsigned(let number): append(String(number))
        case .double(let number): append(number.isFinite ? formatDouble(number) : "null")
        case .string(let text): write(text)
        case .array(let elements): write(elements)
        case .object(let object): write(object)
        }
    }

    private mutating func write(_ elements: [JSONValue]) {
        open(UInt8(ascii: "["))
        for (index, element) in elements.enumerated() {
            separate(isFirst: index == 0)
            write(element)
        }
        close(UInt8(ascii: "]"))
    }

    private mutating func write(_ object: JSONObject) {
        open(UInt8(ascii: "{"))
        for (index, member) in object.membersInWireOrder.enumerated() {
            separate(isFirst: index == 0)
            write(member.name)
            append(": ")
            write(member.value)
        }
        close(UInt8(ascii: "}"))
    }

    private mutating func open(_ bracket: UInt8) {
        bytes.append(bracket)
        level += 1
    }

    private mutating func close(_ bracket: UInt8) {
        level -= 1
        if layout == .pretty { newLine() }
        bytes.append(bracket)
    }

    private mutating func separate(isFirst: Bool) {
        if !isFirst { append(layout == .pretty ? "," : ", ") }
        if layout == .pretty { newLine() }
    }

    private mutating func newLine() {
        bytes.append(0x0A)
        bytes.append(contentsOf: repeatElement(0x20, count: 4 * level))
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func write(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": append("\\\"")
            case "\\": append("\\\\")
            case "\u{8}": append("\\b")
            case "\u{C}": append("\\f")
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            case " "..."~": bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            default: for unit in String(scalar).utf16 { escape(unit) }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func escape(_ unit: UInt16) {
        append("\\u")
        for shift: UInt16 in [12, 8, 4, 0] {
            let digit = UInt8(unit >> shift & 0xF)
            bytes.append(digit < 10 ? 0x30 + digit : 0x37 + digit)
        }
    }
}

extension JSONObject {
    /// The members as QEMU's 512-bucket hash table yields them: by bucket, and within one the latest first.
    public var membersInWireOrder: [Member] {
        if count < 2 { return members }
        return members.enumerated()
            .map { (bucket: wireBucket($0.element.name), position: $0.offset, member: $0.element) }
            .sorted { $0.bucket != $1.bucket ? $0.bucket < $1.bucket : $0.position > $1.position }
            .map(\.member)
    }
}

/// The bucket of a member's name: the classic gdbm string hash, modulo 512.
func wireBucket(_ name: String) -> UInt32 {
    let bytes = name.utf8
    var hash = 0x238F_13AF &* UInt32(truncatingIfNeeded: bytes.count)
    var shift: UInt32 = 0
    for byte in bytes {
        hash &+= UInt32(byte) << shift
        shift = (shift + 5) % 24
    }
    return (1_103_515_243 &* hash &+ 12345) % 512
}
