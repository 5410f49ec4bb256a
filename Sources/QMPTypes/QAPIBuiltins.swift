public import JSON

// The built-in types of the schema language.

extension String: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        guard let text = input.value.string else { throw input.wrongType("string") }
        self = text
    }

    public var json: JSONValue { .string(self) }
}

extension Bool: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        if input.isText, let text = input.value.string {
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
        if input.isText, let text = input.value.string {
            guard let value = Int64(text) else { throw input.expects("integer") }
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
        if input.isText, let text = input.value.string {
            guard let value = Self.size(text) else { throw input.expects("a size") }
            self = value
            return
        }
        switch input.value {
        // A negative number is taken as its two's complement, as QEMU does.
        case .int(let value): self = UInt64(bitPattern: value)
        case .uint(let value): self = value
        default: throw input.wrongType("integer")
        }
    }

    public var json: JSONValue { JSONValue(self) }

    /// A size as people write it: digits, and a suffix k, M, G, T, P or E for powers of 1024, or b.
    static func size(_ text: String) -> UInt64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        let exponents: [Substring: UInt64] = [
            "": 0, "b": 0, "B": 0, "k": 10, "K": 10, "M": 20, "m": 20, "G": 30, "g": 30, "T": 40, "t": 40, "P": 50,
            "p": 50, "E": 60, "e": 60,
        ]
        guard let exponent = exponents[text.dropFirst(digits.count)] else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: 1 << exponent)
        return overflow ? nil : product
    }
}

extension Double: QAPIType {
    public init(_ input: QAPIInput) throws(QMPError) {
        switch input.value {
        case .double(let value): self = value
        case .int(let value): self = Double(value)
        case .uint(let value): self = Double(value)
        case .string(let text) where input.isText:
            guard let value = Double(text), value.isFinite else { throw input.expects("number") }
            self = value
        default: throw input.wrongType("number")
        }
    }

    public var json: JSONValue { .double(self) }
}

/// The type `null`.
public struct QAPINull: QAPIType, Equatable {
    public init() {}
    public init(_ input: QAPIInput) throws(QMPError) {
        let isEmptyText = input.isText && input.value.string == ""
        guard input.value == .null || isEmptyText else { throw input.wrongType("null") }
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
