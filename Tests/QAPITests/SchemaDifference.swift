import JSON

/// Compares two answers of `query-qmp-schema` by structure, for type names say nothing: what both list must be
/// of the same shape, and everything below it that the first lists must be in the second.
struct SchemaDifference {
    private let ours: [String: JSONValue]
    private let theirs: [String: JSONValue]
    private var compared: Set<String> = []
    /// Paths at which they differ, and how.
    private(set) var differences: Set<String> = []

    init(ours: JSONValue, theirs: JSONValue) {
        func byName(_ schema: JSONValue) -> [String: JSONValue] {
            var entities: [String: JSONValue] = [:]
            for entity in schema.array ?? [] { if let name = entity["name"]?.string { entities[name] = entity } }
            return entities
        }
        self.ours = byName(ours)
        self.theirs = byName(theirs)
        // In the order of their names, so that a type that two of them use is told of at the same path always.
        for (name, entity) in self.ours.sorted(by: { $0.key < $1.key })
        where ["command", "event"].contains(entity["meta-type"]) && self.theirs[name] != nil {
            compare(name, name, at: name)
        }
    }

    private mutating func note(_ text: String) { differences.insert(text) }

    private mutating func compare(_ one: String?, _ other: String?, at path: String) {
        guard let one, let other else { return note("\(path): no type") }
        guard compared.insert("\(one) \(other)").inserted else { return }
        guard let mine = ours[one] else { return note("\(path): '\(one)' is not described") }
        guard let reference = theirs[other] else { return note("\(path): not there") }
        guard mine["meta-type"] == reference["meta-type"] else { return note("\(path): another kind of type") }
        compareFeatures(mine, reference, path)
        for member in ["arg-type", "ret-type", "element-type"] where reference[member] != nil {
            compare(mine[member]?.string, reference[member]?.string, at: path)
        }
        for member in ["json-type", "tag"] where mine[member] != reference[member] {
            note("\(path): another \(member)")
        }
        if (mine["allow-oob"] ?? false) != (reference["allow-oob"] ?? false) { note("\(path): another allow-oob") }
        compareParts(mine["variants"], reference["variants"], key: "case", path, separator: "/")
        if mine["meta-type"] == "alternate" {
            let (parts, others) = (mine["members"]?.array ?? [], reference["members"]?.array ?? [])
            if parts.count != others.count { note("\(path): other alternatives") }
            for (part, other) in zip(parts, others) {
                compare(part["type"]?.string, other["type"]?.string, at: path)
            }
        } else {
            compareParts(mine["members"], reference["members"], key: "name", path, separator: ".")
        }
    }

    private mutating func compareFeatures(_ mine: JSONValue, _ reference: JSONValue, _ path: String) {
        let (one, other) = (mine["features"] ?? [], reference["features"] ?? [])
        if one != other { note("\(path): features \(one.text()), not \(other.text())") }
    }

    private mutating func compareParts(
        _ mine: JSONValue?, _ reference: JSONValue?, key: String, _ path: String, separator: String
    ) {
        let others = reference?.array ?? []
        let parts = mine?.array ?? []
        for part in parts {
            let name = part[key]?.string ?? ""
            guard let other = others.first(where: { $0[key]?.string == name }) else {
                note("\(path)\(separator)\(name): ours alone")
                continue
            }
            if (part["default"] == nil) != (other["default"] == nil) {
                note("\(path)\(separator)\(name): not as optional")
            }
            if key == "name" { compareFeatures(part, other, path + separator + name) }
            if part["type"] != nil {
                compare(part["type"]?.string, other["type"]?.string, at: path + separator + name)
            }
        }
        // A driver, address or value that is not built is not listed; a member that is missing deserves a word.
        guard separator == ".", mine != nil else { return }
        for other in others {
            let name = other[key]?.string ?? ""
            if !parts.contains(where: { $0[key]?.string == name }), other["type"] != nil {
                note("\(path).\(name): not ours")
            }
        }
    }
}
