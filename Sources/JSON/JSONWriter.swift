extension JSONValue {
    public enum Layout: Sendable {
        /// One line, `", "` and `": "` between.
        case compact
        /// Four spaces a level, one member a line.
        case pretty
    }

    /// The value as text: ASCII only, members in the order of QEMU's hash table, never an infinity or a NaN.
    public func text(_ layout: Layout = .compact) -> String { String(decoding: bytes(layout), as: UTF8.self) }

    /// The text's bytes, for those who send them.
    public func bytes(_ layout: Layout = .compact) -> [UInt8] {
        var writer = JSONWriter(layout: layout)
        writer.write(self, level: 0)
        return writer.bytes
    }
}

/// Writes values the way QEMU does, to the byte.
struct JSONWriter {
    private let layout: JSONValue.Layout
    private(set) var bytes: [UInt8] = []

    init(layout: JSONValue.Layout) { self.layout = layout }

    mutating func write(_ value: JSONValue, level: Int) {
        switch value {
        case .null: add("null")
        case .bool(let value): add(value ? "true" : "false")
        case .int(let value): add(String(value))
        case .uint(let value): add(String(value))
        case .double(let value): add(value.isFinite ? formatDouble(value) : "null")
        case .string(let value): write(value)
        case .array(let array):
            list("[", "]", array.count, level) { $0.write(array[$1], level: level + 1) }
        case .object(let object):
            let members = object.inWireOrder
            list("{", "}", members.count, level) {
                $0.write(members[$1].name)
                $0.add(": ")
                $0.write(members[$1].value, level: level + 1)
            }
        }
    }

    private mutating func add(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func list(
        _ open: String, _ close: String, _ count: Int, _ level: Int, _ element: (inout JSONWriter, Int) -> Void
    ) {
        add(open)
        for index in 0..<count {
            if index > 0 { add(layout == .pretty ? "," : ", ") }
            newLine(level + 1)
            element(&self, index)
        }
        newLine(level)
        add(close)
    }

    private mutating func newLine(_ level: Int) {
        guard layout == .pretty else { return }
        add("\n")
        bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 4 * level))
    }

    private mutating func write(_ string: String) {
        add("\"")
        // Names and most values are plain, and stand for themselves.
        if string.utf8.allSatisfy(Self.isPlain) {
            add(string)
        } else {
            for scalar in string.unicodeScalars { write(scalar) }
        }
        add("\"")
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (0x20..<0x7F).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }

    private mutating func write(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": add("\\\"")
        case "\\": add("\\\\")
        case "\u{08}": add("\\b")
        case "\u{0C}": add("\\f")
        case "\n": add("\\n")
        case "\r": add("\\r")
        case "\t": add("\\t")
        case " "..."~": bytes.append(UInt8(scalar.value))
        default: for unit in String(scalar).utf16 { add(Self.escape(unit)) }
        }
    }

    private static func escape(_ unit: UInt16) -> String {
        let digits = String(unit, radix: 16, uppercase: true)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}

extension JSONObject {
    /// The members as QEMU puts them on the wire: by bucket of its hash table, in a bucket the newest first.
    public var inWireOrder: [(name: String, value: JSONValue)] {
        if members.count < 2 { return members }
        let buckets = members.enumerated().map { (bucket: Self.bucket($1.name), position: $0) }
        let order = buckets.sorted { $0.bucket != $1.bucket ? $0.bucket < $1.bucket : $0.position > $1.position }
        return order.map { members[$0.position] }
    }

    /// The bucket, 0 to 511, of a name: the string hash of gdbm, as QEMU's dictionaries use it.
    static func bucket(_ name: String) -> UInt32 {
        var hash = 0x238F_13AF &* UInt32(truncatingIfNeeded: name.utf8.count)
        for (index, byte) in name.utf8.enumerated() {
            hash &+= UInt32(byte) << UInt32(index * 5 % 24)
        }
        return (1_103_515_243 &* hash &+ 12345) % 512
    }
}
