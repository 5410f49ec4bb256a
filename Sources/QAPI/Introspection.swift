public import JSON

/// What `query-qmp-schema` tells: every entity that a command or event reaches. Names of types are numbers, since they
/// are no promise; those of commands, events and members are.
public struct Introspection {
    private let schema: Schema
    private var names: [String: String] = [:]
    private var pending: [String] = []
    private var entities: [JSONValue] = []
    private var builtins: Set<String> = []
    private var arrays: Set<String> = []

    public init(_ schema: Schema) { self.schema = schema }

    public var value: JSONValue {
        var copy = self
        return .array(copy.build())
    }

    /// The type without members has a number of its own.
    private static let empty = "0"

    private mutating func build() -> [JSONValue] {
        names["q_empty"] = Self.empty
        for definition in schema.definitions {
            switch definition.kind {
            case .command(let command): entities.append(self.command(definition, command))
            case .event(let event):
                let type = own(event.members, definition.name)
                entities.append(["name": .string(definition.name), "meta-type": "event", "arg-type": .string(type)])
            default: break
            }
        }
        entities.append(["name": .string(Self.empty), "meta-type": "object", "members": []])
        while !pending.isEmpty { describe(pending.removeFirst()) }
        for name in builtins.sorted() {
            entities.append([
                "name": .string(name), "meta-type": "builtin", "json-type": .string(Schema.builtins[name] ?? "value"),
            ])
        }
        return entities
    }

    private mutating func command(_ definition: Schema.Definition, _ command: Schema.Command) -> JSONValue {
        let argument = command.argumentType.map { name($0) } ?? own(command.members, definition.name)
        let result = command.returns.map { reference($0) } ?? Self.empty
        var object = JSONObject([
            ("name", .string(definition.name)), ("meta-type", "command"), ("arg-type", .string(argument)),
            ("ret-type", .string(result)),
        ])
        if command.allowsOOB { object["allow-oob"] = true }
        add(definition.features, to: &object)
        return .object(object)
    }

    /// The members of a command or an event as a type of its own.
    private mutating func own(_ members: [Schema.Member], _ name: String) -> String {
        guard !members.isEmpty else { return Self.empty }
        let number = self.number(" \(name)")
        entities.append([
            "name": .string(number), "meta-type": "object", "members": .array(members.map { member($0) }),
        ])
        return number
    }

    private mutating func number(_ name: String) -> String {
        if let number = names[name] { return number }
        let number = String(names.count)
        names[name] = number
        return number
    }

    private mutating func name(_ type: String) -> String {
        if let json = Schema.builtins[type] {
            let plain = json == "int" ? "int" : type
            builtins.insert(plain)
            return plain
        }
        if names[type] == nil { pending.append(type) }
        return number(type)
    }

    private mutating func reference(_ type: Schema.TypeName) -> String {
        let element = name(type.name)
        guard type.isArray else { return element }
        let array = "[\(element)]"
        if arrays.insert(array).inserted {
            entities.append(["name": .string(array), "meta-type": "array", "element-type": .string(element)])
        }
        return array
    }

    private mutating func member(_ member: Schema.Member) -> JSONValue {
        var object = JSONObject([("name", .string(member.name)), ("type", .string(reference(member.type)))])
        if member.isOptional { object["default"] = .null }
        add(member.features, to: &object)
        return .object(object)
    }

    private func add(_ features: [String], to object: inout JSONObject) {
        if !features.isEmpty { object["features"] = .array(features.map { .string($0) }) }
    }

    private mutating func describe(_ type: String) {
        guard let definition = schema[type] else { return }
        var object = JSONObject([("name", .string(number(type)))])
        switch definition.kind {
        case .enumeration(let enumeration):
            object["meta-type"] = "enum"
            object["members"] = .array(
                enumeration.values.map { value in
                    var member = JSONObject([("name", .string(value.name))])
                    add(value.features, to: &member)
                    return .object(member)
                })
            object["values"] = .array(enumeration.values.map { .string($0.name) })
        case .structure(let structure): describe(structure, into: &object)
        case .alternate(let alternate):
            object["meta-type"] = "alternate"
            var members: [JSONValue] = []
            for choice in alternate.choices { members.append(["type": .string(reference(choice.type))]) }
            object["members"] = .array(members)
        case .command, .event: return
        }
        add(definition.features, to: &object)
        entities.append(.object(object))
    }

    private mutating func describe(_ structure: Schema.Structure, into object: inout JSONObject) {
        object["meta-type"] = "object"
        let members = schema.allMembers(of: structure)
        object["members"] = .array(members.map { member($0) })
        guard let discriminator = structure.discriminator,
            let chooser = members.first(where: { $0.name == discriminator }),
            case .enumeration(let enumeration) = schema[chooser.type.name]?.kind
        else { return }
        object["tag"] = .string(discriminator)
        var variants: [JSONValue] = []
        for value in enumeration.values {
            let type = structure.variants.first { $0.value == value.name }.map { name($0.type) } ?? Self.empty
            variants.append(["case": .string(value.name), "type": .string(type)])
        }
        object["variants"] = .array(variants)
    }
}
