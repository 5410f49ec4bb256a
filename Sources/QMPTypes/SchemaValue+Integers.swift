public import JSON

/// An integer narrower than 64 bits. Out of its range it is refused under the name that C gives it.
public protocol NarrowSchemaInteger: SchemaValue, FixedWidthInteger {}

extension NarrowSchemaInteger {
    public init(decoding cursor: SchemaCursor) throws(QMPError) {
        let exact: Self? =
            if Self.isSigned { Self(exactly: try cursor.int64()) } else { Self(exactly: try cursor.uint64()) }
        guard let exact else {
            throw .value(cursor.localName, expects: "\(Self.isSigned ? "" : "u")int\(Self.bitWidth)_t")
        }
        self = exact
    }

    public var encoded: JSONValue { .integer(Int64(self)) }
}

extension Int8: NarrowSchemaInteger {}
extension Int16: NarrowSchemaInteger {}
extension Int32: NarrowSchemaInteger {}
extension UInt8: NarrowSchemaInteger {}
extension UInt16: NarrowSchemaInteger {}
extension UInt32: NarrowSchemaInteger {}
