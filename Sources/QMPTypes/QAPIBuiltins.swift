public import JSON

// The built-in types of the schema language.

extension String: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if let text = try input.scalarText() {
            self = text
            return
        }
        guard let text = input.value.string else { throw input.wrongType("string") }
        self = text
    }

    public var json: JSONValue { .string(self) }
}

extension Bool: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if let text = try input.scalarText() {
            switch text {
            case "on", "yes", "true", "y": self = true
            case "off", "no", "false", "n": self = false
            default: throw input.expects("'on' or 'off'")
            }
            return
        }
        guard let value = input.value.bool else { throw input.wrongType("boolean") }
        self = value
    }

    public var json: JSONValue { .bool(self) }
}

extension Int64: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if let text = try input.scalarText() {
            guard let value = KeyValueNumber.signed(text) else { throw input.expects("integer") }
            self = value
            return
        }
        guard case .int(let value) = input.value else { throw input.wrongType("integer") }
        self = value
    }

    public var json: JSONValue { .int(self) }
}

extension UInt64: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if let text = try input.scalarText() {
            guard let value = KeyValueNumber.unsigned(text) else { throw input.expects("integer") }
            self = value
            return
        }
        switch input.value {
        // A negative number is taken as its two's complement, as QEMU does.
        case .int(let value): self = UInt64(bitPattern: value)
        case .uint(let value): self = value
        default: throw input.expects("uint64")
        }
    }

    public var json: JSONValue { JSONValue(self) }
}

/// An integer of fewer than 64 bits; out of its range it is refused under the name that C gives it.
public protocol QAPINarrowInteger: QAPIType, FixedWidthInteger {}

extension QAPINarrowInteger {
    public init(_ input: QAPIInput) throws(QMPError) {
        let exact: Self? = Self.isSigned ? Self(exactly: try Int64(input)) : Self(exactly: try UInt64(input))
        guard let exact else {
            // QEMU names the member alone here, without its path.
            let type = (Self.isSigned ? "int" : "uint") + "\(Self.bitWidth)_t"
            throw QMPError("Parameter '\(input.member ?? "null")' expects \(type)")
        }
        self = exact
    }

    public var json: JSONValue { .int(Int64(self)) }
}

extension Int8: QAPINarrowInteger {}
extension Int16: QAPINarrowInteger {}
extension Int32: QAPINarrowInteger {}
extension UInt8: QAPINarrowInteger {}
extension UInt16: QAPINarrowInteger {}
extension UInt32: QAPINarrowInteger {}

/// The type `size`: bytes, which the command line may write with a suffix.
public struct QAPISize: QAPIType, Equatable {
    public var bytes: UInt64

    public init(bytes: UInt64) { self.bytes = bytes }

    public init(_ input: QAPIInput) throws(QMPError) {
        guard let text = try input.scalarText() else {
            bytes = try UInt64(input)
            return
        }
        guard let value = KeyValueNumber.size(text) else { throw input.expects("size") }
        bytes = value
    }

    public var json: JSONValue { JSONValue(bytes) }
}

extension Double: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if let text = try input.scalarText() {
            guard let value = Double(text), value.isFinite else { throw input.wrongType("number") }
            self = value
            return
        }
        switch input.value {
        case .double(let value): self = value
        case .int(let value): self = Double(value)
        case .uint(let value): self = Double(value)
        default: throw input.wrongType("number")
        }
    }

    public var json: JSONValue { .double(self) }
}

/// The type `null`.
public struct QAPINull: QAPIType, Equatable {
    public init() {}
    public init(_ input: QAPIInput) throws(QMPError) {
        guard input.value == .null else { throw input.wrongType("null") }
    }
    public var json: JSONValue { .null }
}

extension JSONValue: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) { self = input.value }
    public var json: JSONValue { self }
}

extension Array: QAPIType where Element: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        guard let values = input.value.array else { throw input.wrongType("array") }
        var elements: [Element] = []
        for (index, value) in values.enumerated() {
            // An element of the arguments themselves has no name.
            let separator = input.isText ? ".\(index)" : "[\(index)]"
            elements.append(try Element(QAPIInput(value, path: input.path + separator, isText: input.isText)))
        }
        self = elements
    }

    public var json: JSONValue { .array(map(\.json)) }
}

/// A value kept apart from its owner, which is of the same type.
public indirect enum QAPIIndirect<Value: QAPIType>: QAPIType {
    case value(Value)

    public init(_ input: QAPIInput) throws(QMPError) { self = .value(try Value(input)) }

    public var json: JSONValue {
        switch self {
        case .value(let value): value.json
        }
    }
}
