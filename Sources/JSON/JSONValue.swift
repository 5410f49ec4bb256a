/// One JSON value. Integers are exact over the whole range of Int64 and UInt64; objects keep the order of their members.
public indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// An integer that fits 64 signed bits.
    case int(Int64)
    /// An integer above Int64.max.
    case uint(UInt64)
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral, ExpressibleByIntegerLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(nilLiteral: ()) { self = .null }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements.map { ($0.0, $0.1) }))
    }
}

extension JSONValue {
    public init(_ value: UInt64) {
        self = Int64(exactly: value).map { .int($0) } ?? .uint(value)
    }

    public init(_ value: Int) { self = .int(Int64(value)) }

    public var object: JSONObject? { if case .object(let object) = self { object } else { nil } }
    public var array: [JSONValue]? { if case .array(let array) = self { array } else { nil } }
    public var string: String? { if case .string(let string) = self { string } else { nil } }
    public var bool: Bool? { if case .bool(let bool) = self { bool } else { nil } }
    public var int: Int64? { if case .int(let int) = self { int } else { nil } }

    /// The member of an object; nil for other values and where there is none.
    public subscript(name: String) -> JSONValue? { object?[name] }
}

/// The members of a JSON object in the order they were added; names are unique.
public struct JSONObject: Sendable, Equatable {
    public private(set) var members: [(name: String, value: JSONValue)] = []
    /// Where each name stands; made once there are many, so that a hostile object costs no quadratic time.
    private var index: [String: Int]?

    private static let indexedFrom = 16

    public init() {}

    public init(_ members: [(String, JSONValue)]) {
        for (name, value) in members { self[name] = value }
    }

    public var isEmpty: Bool { members.isEmpty }
    public var count: Int { members.count }

    private func position(_ name: String) -> Int? {
        if let index { return index[name] }
        return members.firstIndex { $0.name == name }
    }

    /// Setting nil removes the member; setting a value keeps its place where it has one.
    public subscript(name: String) -> JSONValue? {
        get { position(name).map { members[$0].value } }
        set {
            switch (position(name), newValue) {
            case (let position?, let value?): members[position].value = value
            case (let position?, nil):
                members.remove(at: position)
                index = nil
            case (nil, let value?):
                members.append((name, value))
                if index != nil {
                    index?[name] = members.count - 1
                } else if members.count >= Self.indexedFrom {
                    index = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.name, $0) })
                }
            case (nil, nil): break
            }
        }
    }

    /// Equal where the same names have equal values, in whatever order.
    public static func == (one: JSONObject, other: JSONObject) -> Bool {
        one.count == other.count && one.members.allSatisfy { other[$0.name] == $0.value }
    }
}
