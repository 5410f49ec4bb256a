/// The members of a JSON object in the order in which they were inserted. Names are unique.
///
/// Lookup is linear while the object is small and by hash table beyond, so that a hostile object of many members
/// cannot make duplicate detection quadratic.
public struct JSONObject: Sendable {
    public struct Member: Sendable, Hashable {
        public let name: String
        public var value: JSONValue
    }

    public private(set) var members: [Member] = []
    private var positions: [String: Int]?

    private static let linearLimit = 16

    public init() {}

    public var isEmpty: Bool { members.isEmpty }
    public var count: Int { members.count }
    public var names: [String] { members.map(\.name) }

    private func position(of name: String) -> Int? {
        if let positions { return positions[name] }
        return members.firstIndex { $0.name == name }
    }

    public func contains(_ name: String) -> Bool { position(of: name) != nil }

    /// Reads, inserts (at the end), replaces in place, or removes with nil.
    public subscript(name: String) -> JSONValue? {
        get { position(of: name).map { members[$0].value } }
        set {
            if let found = position(of: name) {
                if let newValue {
                    members[found].value = newValue
                } else {
                    members.remove(at: found)
                    positions = nil
                    buildPositionsIfLarge()
                }
            } else if let newValue {
                members.append(Member(name: name, value: newValue))
                if positions != nil {
                    positions?[name] = members.count - 1
                } else {
                    buildPositionsIfLarge()
                }
            }
        }
    }

    private mutating func buildPositionsIfLarge() {
        guard members.count > Self.linearLimit else { return }
        var table: [String: Int] = [:]
        for (index, member) in members.enumerated() { table[member.name] = index }
        positions = table
    }
}

/// Two objects are equal when they hold equal members, in whatever order.
extension JSONObject: Hashable {
    public static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.name] == $0.value }
    }

    public func hash(into hasher: inout Hasher) {
        var sum = 0
        for member in members { sum = sum &+ member.hashValue }
        hasher.combine(sum)
    }
}
