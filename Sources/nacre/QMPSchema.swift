import JSON

/// What `query-qmp-schema` tells, as far as writing commands by hand needs it: which arguments there are, and their types.
struct QMPSchema {
    private var entities: [String: JSONValue] = [:]
    /// Sorted.
    let commands: [String]

    init(_ list: JSONValue) {
        var commands: [String] = []
        for entity in list.array ?? [] {
            guard let name = entity["name"]?.string else { continue }
            entities[name] = entity
            if entity["meta-type"]?.string == "command" { commands.append(name) }
        }
        self.commands = commands.sorted()
    }

    /// The type of a command's arguments.
    func argumentType(of command: String) -> String? {
        guard let entity = entities[command], entity["meta-type"]?.string == "command" else { return nil }
        return entity["arg-type"]?.string
    }

    /// The members of an object type, those of all its variants included.
    func members(of type: String) -> [String: String] { members(of: type, depth: 0) }

    private func members(of type: String, depth: Int) -> [String: String] {
        guard depth < 8, let entity = entities[type] else { return [:] }
        var result: [String: String] = [:]
        switch entity["meta-type"]?.string {
        case "alternate":
            // The object among the choices.
            for choice in entity["members"]?.array ?? [] {
                guard let type = choice["type"]?.string else { continue }
                result.merge(members(of: type, depth: depth + 1)) { first, _ in first }
            }
        case "object":
            for member in entity["members"]?.array ?? [] {
                guard let name = member["name"]?.string, let type = member["type"]?.string else { continue }
                result[name] = type
            }
            for variant in entity["variants"]?.array ?? [] {
                guard let type = variant["type"]?.string else { continue }
                result.merge(members(of: type, depth: depth + 1)) { first, _ in first }
            }
        default: break
        }
        return result
    }

    /// The words that an enumeration or a boolean takes.
    func values(of type: String) -> [String] {
        if type == "bool" { return ["off", "on"] }
        guard let entity = entities[type], entity["meta-type"]?.string == "enum" else { return [] }
        let names = entity["members"]?.array?.compactMap { $0["name"]?.string }
        return names ?? entity["values"]?.array?.compactMap(\.string) ?? []
    }

    /// How the values of a type are written in JSON: `string`, `int`, `number`, `boolean`, `object`, `array`, or nil
    /// where several are.
    func jsonType(of type: String) -> String? {
        guard let entity = entities[type] else { return nil }
        switch entity["meta-type"]?.string {
        case "builtin": return entity["json-type"]?.string
        case "enum": return "string"
        case "array": return "array"
        case "object": return "object"
        default: return nil
        }
    }
}
