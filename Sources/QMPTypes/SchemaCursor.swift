public import JSON

/// A JSON value on its way to becoming a schema type, with the name under which errors speak of it.
public struct SchemaCursor: Sendable {
    /// Where the value comes from, which decides how scalars are written.
    public enum Style: Sendable {
        /// JSON: a number is a number.
        case json
        /// `key=value` options: every scalar is a string.
        case keyValue
    }

    public let value: JSONValue
    public let style: Style
    /// The path from the root: `file.filename`, `options[0].driver`; empty at the root.
    let path: String
    /// The last part of the path; nil for an element of a list and at the root.
    let name: String?

    public init(_ value: JSONValue, style: Style = .json) {
        self.init(value, style: style, path: "", name: nil)
    }

    init(_ value: JSONValue, style: Style, path: String, name: String?) {
        self.value = value
        self.style = style
        self.path = path
        self.name = name
    }

    /// Some of QEMU's texts name a value by its own name alone, which elements do not have.
    var localName: String { name ?? "null" }

    private func typeError(_ expected: String) -> QMPError { .type(path.isEmpty ? "null" : path, expected: expected) }

    /// The value's error as that of an alternate called `type`, none of whose branches it fits.
    public func noBranch(of type: String) -> QMPError { .type(localName, expected: type) }

    /// The members of an object, to be visited in the order of the schema.
    public func members() throws(QMPError) -> MemberCursor {
        guard case .object(let object) = value else { throw typeError("object") }
        return MemberCursor(object, style: style, path: path)
    }

    func elements() throws(QMPError) -> [SchemaCursor] {
        guard case .array(let elements) = value else { throw typeError("array") }
        return elements.enumerated().map { index, element in
            let part = style == .json ? "[\(index)]" : ".\(index)"
            return SchemaCursor(element, style: style, path: path + part, name: nil)
        }
    }

    func string() throws(QMPError) -> String {
        if style == .keyValue { return try keyValueScalar() }
        guard case .string(let text) = value else { throw typeError("string") }
        return text
    }

    func bool() throws(QMPError) -> Bool {
        if style == .keyValue {
            switch try keyValueScalar() {
            case "on", "yes", "true", "y": return true
            case "off", "no", "false", "n": return false
            default: throw .value(path, expects: "'on' or 'off'")
            }
        }
        guard case .bool(let flag) = value else { throw typeError("boolean") }
        return flag
    }

    func int64() throws(QMPError) -> Int64 {
        if style == .keyValue {
            guard let number = KeyValueNumber.signed(try keyValueScalar()) else { throw .value(path, expects: "integer") }
            return number
        }
        guard case .integer(let number) = value else { throw typeError("integer") }
        return number
    }

    /// Negative numbers wrap around, as they always have.
    func uint64() throws(QMPError) -> UInt64 {
        if style == .keyValue {
            guard let number = KeyValueNumber.unsigned(try keyValueScalar()) else {
                throw .value(path, expects: "integer")
            }
            return number
        }
        switch value {
        case .integer(let number): return UInt64(bitPattern: number)
        case .unsigned(let number): return number
        default: throw typeError("uint64")
        }
    }

    /// A number of bytes; `key=value` options may write it with a suffix.
    func size() throws(QMPError) -> UInt64 {
        guard style == .keyValue else { return try uint64() }
        guard let number = KeyValueNumber.size(try keyValueScalar()) else { throw .value(path, expects: "size") }
        return number
    }

    func number() throws(QMPError) -> Double {
        if style == .keyValue {
            guard let number = Double(try keyValueScalar()), number.isFinite else { throw typeError("number") }
            return number
        }
        switch value {
        case .integer(let number): return Double(number)
        case .unsigned(let number): return Double(number)
        case .double(let number): return number
        default: throw typeError("number")
        }
    }

    func null() throws(QMPError) {
        guard case .null = value else { throw typeError("null") }
    }

    private func keyValueScalar() throws(QMPError) -> String {
        switch value {
        case .string(let text): return text
        case .array, .object: throw QMPError("Parameters '\(path).*' are unexpected")
        default: throw typeError("string")
        }
    }
}

/// The members of one object while they are visited; what is left over at `finish` is refused.
public struct MemberCursor: Sendable {
    private let object: JSONObject
    private let style: SchemaCursor.Style
    private let path: String
    private var visited: Set<String> = []

    init(_ object: JSONObject, style: SchemaCursor.Style, path: String) {
        self.object = object
        self.style = style
        self.path = path
    }

    private func path(of name: String) -> String { path.isEmpty ? name : path + "." + name }

    public mutating func optional<Value: SchemaValue>(_ name: String) throws(QMPError) -> Value? {
        guard let value = object[name] else { return nil }
        visited.insert(name)
        return try Value(decoding: SchemaCursor(value, style: style, path: path(of: name), name: name))
    }

    public mutating func required<Value: SchemaValue>(_ name: String) throws(QMPError) -> Value {
        guard let value: Value = try optional(name) else { throw .missing(path(of: name)) }
        return value
    }

    /// Refuses a member that the schema does not know.
    public func finish() throws(QMPError) {
        if visited.count == object.count { return }
        for name in object.names where !visited.contains(name) { throw .unexpected(path(of: name)) }
    }
}
