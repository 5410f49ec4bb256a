public import JSON

/// A value to decode, and where it stands: errors name the path.
public struct QAPIInput {
    public let value: JSONValue
    /// `file.filename`, `exports[0].name`; empty at the top.
    public let path: String
    /// Whether scalars are text, as on the command line: `on`, `16M`.
    public let isText: Bool
    /// The member's own name; nil for an element of a list.
    let member: String?

    public init(_ value: JSONValue, path: String = "", isText: Bool = false, member: String? = nil) {
        self.value = value
        self.path = path
        self.isText = isText
        self.member = member
    }

    /// The path as errors print it; what has no name prints as `null`.
    var name: String { path.isEmpty ? "null" : path }

    func wrongType(_ expected: String) -> QMPError {
        QMPError("Invalid parameter type for '\(name)', expected: \(expected)")
    }

    /// No type of an alternate takes this value. QEMU names the member alone here, without its path.
    func wrongAlternate(_ name: String) -> QMPError {
        QMPError("Invalid parameter type for '\(member ?? "null")', expected: \(name)")
    }

    /// The text of a scalar where scalars are text; nil where they are not. A list or an object stands for keys that
    /// nobody asked for.
    func scalarText() throws(QMPError) -> String? {
        guard isText else { return nil }
        switch value {
        case .string(let text): return text
        case .array, .object: throw QMPError("Parameters '\(path).*' are unexpected")
        default: return nil
        }
    }

    func expects(_ what: String) -> QMPError { QMPError("Parameter '\(name)' expects \(what)") }
}

/// A type of the schema.
public protocol QAPIType: Sendable {
    init(_ input: QAPIInput) throws(QMPError)
    var json: JSONValue { get }
}

/// A type with members, which a union or a base can take from an object that has more.
public protocol QAPIObject: QAPIType {
    init(_ members: inout QAPIMembers) throws(QMPError)
    /// Adds the members to an object.
    func encode(into object: inout JSONObject)
}

extension QAPIObject {
    public init(_ input: QAPIInput) throws(QMPError) {
        var members = try QAPIMembers(input)
        try self.init(&members)
        try members.finish()
    }

    public var json: JSONValue {
        var object = JSONObject()
        encode(into: &object)
        return .object(object)
    }
}

/// Takes an object apart, member by member in the order of the schema.
public struct QAPIMembers {
    private let object: JSONObject
    private let path: String
    private let isText: Bool
    private var taken: Set<String> = []

    public init(_ input: QAPIInput) throws(QMPError) {
        guard case .object(let object) = input.value else { throw input.wrongType("object") }
        self.object = object
        path = input.path
        isText = input.isText
    }

    public mutating func required<T: QAPIType>(_ name: String) throws(QMPError) -> T {
        guard let value: T = try optional(name) else { throw missing(name) }
        return value
    }

    public func missing(_ name: String) -> QMPError { QMPError("Parameter '\(full(name))' is missing") }

    public mutating func optional<T: QAPIType>(_ name: String) throws(QMPError) -> T? {
        guard let value = object[name] else { return nil }
        taken.insert(name)
        return try T(QAPIInput(value, path: full(name), isText: isText, member: name))
    }

    /// Refuses what nobody took.
    public func finish() throws(QMPError) {
        for member in object.members where !taken.contains(member.name) {
            throw QMPError("Parameter '\(full(member.name))' is unexpected")
        }
    }

    private func full(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}

/// A schema enumeration: its cases are the strings.
public protocol QAPIEnum: QAPIType, RawRepresentable where RawValue == String {}

extension QAPIEnum {
    public init(_ input: QAPIInput) throws(QMPError) {
        let text = try String(input)
        guard let value = Self(rawValue: text) else {
            // QEMU names the member alone here, without its path.
            throw QMPError("Parameter '\(input.member ?? "null")' does not accept value '\(text)'")
        }
        self = value
    }

    public var json: JSONValue { .string(rawValue) }
}
