public import JSON

/// A type of the schema: made from JSON with QEMU's error texts, and turned back into JSON.
public protocol SchemaValue: Sendable, Hashable {
    init(decoding cursor: SchemaCursor) throws(QMPError)
    var encoded: JSONValue { get }
}

/// A struct or union of the schema.
public protocol SchemaObject: SchemaValue {
    /// Visits the members in the order of the schema and leaves others for `MemberCursor.finish`.
    init(members cursor: inout MemberCursor) throws(QMPError)
    func encode(into object: inout JSONObject)
}

extension SchemaObject {
    public init(decoding cursor: SchemaCursor) throws(QMPError) {
        var members = try cursor.members()
        try self.init(members: &members)
        try members.finish()
    }

    public var encoded: JSONValue {
        var object = JSONObject()
        encode(into: &object)
        return .object(object)
    }
}

/// An enum of the schema.
public protocol SchemaEnumeration: SchemaValue, RawRepresentable, CaseIterable where RawValue == String {}

extension SchemaEnumeration {
    public init(decoding cursor: SchemaCursor) throws(QMPError) {
        let text = try cursor.string()
        guard let value = Self(rawValue: text) else { throw .notAccepted(cursor.localName, value: text) }
        self = value
    }

    public var encoded: JSONValue { .string(rawValue) }
}

/// The schema's `null`.
public struct SchemaNull: SchemaValue {
    public init() {}
    public init(decoding cursor: SchemaCursor) throws(QMPError) { try cursor.null() }
    public var encoded: JSONValue { .null }
}

/// Holds a value out of line, so that a type can contain itself.
public indirect enum Indirect<Value: Sendable & Hashable>: Sendable, Hashable {
    case value(Value)

    public init(_ value: Value) { self = .value(value) }
    public var value: Value { switch self { case .value(let value): value } }
}

extension Array: SchemaValue where Element: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) {
        self = []
        for element in try cursor.elements() { append(try Element(decoding: element)) }
    }

    public var encoded: JSONValue { .array(map(\.encoded)) }
}

extension String: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = try cursor.string() }
    public var encoded: JSONValue { .string(self) }
}

extension Bool: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = try cursor.bool() }
    public var encoded: JSONValue { .bool(self) }
}

extension Double: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = try cursor.number() }
    public var encoded: JSONValue { .double(self) }
}

extension JSONValue: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = cursor.value }
    public var encoded: JSONValue { self }
}

extension Int64: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = try cursor.int64() }
    public var encoded: JSONValue { .integer(self) }
}

extension UInt64: SchemaValue {
    public init(decoding cursor: SchemaCursor) throws(QMPError) { self = try cursor.uint64() }
    public var encoded: JSONValue { JSONValue(self) }
}
