public import JSON

extension Schema {
    /// What `query-qmp-schema` answers: every command and event, and the types they reach, under numbers instead of
    /// names, so that clients cannot depend on a type's name (qmp-semantics §8).
    public var introspection: JSONValue {
        var writer = IntrospectionWriter(schema: self)
        return .array(writer.entities())
    }
}

private struct IntrospectionWriter {
    /// A type that will be described: a definition, or a nameless object.
    private enum Subject {
        case named(String)
        case list(of: String)
        case object(key: String, members: [Member])
    }

    let schema: Schema
    private var numbers: [String: Int] = [:]
    private var queue: [Subject] = []
    private var queued: Set<String> = []
    private var result: [JSONValue] = []

    init(schema: Schema) { self.schema = schema }

    mutating func entities() -> [JSONValue] {
        for definition in schema.allDefinitions {
            switch definition.kind {
            case .command(let command):
                var entity: JSONValue = ["arg-type": .string(use(command.arguments, of: definition.name))]
                entity.set("ret-type", .string(command.returns.map { use($0) } ?? useEmpty()))
                if command.allowsOutOfBand { entity.set("allow-oob", true) }
                add(definition.name, "command", entity, definition.features)
            case .event(let arguments):
                add(definition.name, "event", ["arg-type": .string(use(arguments, of: definition.name))], definition.features)
            default: break
            }
        }
        var next = 0
        while next < queue.count {
            describe(queue[next])
            next += 1
        }
        return result
    }

    private mutating func add(_ name: String, _ meta: String, _ details: JSONValue, _ features: [String]) {
        var entity: JSONValue = ["name": .string(name), "meta-type": .string(meta)]
        for member in details.objectValue?.members ?? [] { entity.set(member.name, member.value) }
        entity.setFeatures(features)
        result.append(entity)
    }

    private mutating func number(_ key: String) -> String {
        if let number = numbers[key] { return String(number) }
        numbers[key] = numbers.count
        return String(numbers.count - 1)
    }

    private mutating func enqueue(_ subject: Subject, key: String) {
        if queued.insert(key).inserted { queue.append(subject) }
    }

    private mutating func useEmpty() -> String {
        enqueue(.object(key: "/empty", members: []), key: "/empty")
        return number("/empty")
    }

    private mutating func use(_ type: TypeReference) -> String {
        if type.isList {
            enqueue(.list(of: type.name), key: "/list/" + type.name)
            return "[" + use(TypeReference(type.name)) + "]"
        }
        let name = Builtin(rawValue: type.name)?.introspectedName ?? type.name
        enqueue(.named(name), key: name)
        return Builtin(rawValue: name) != nil ? name : number(name)
    }

    private mutating func use(_ arguments: Arguments, of name: String) -> String {
        switch arguments {
        case .none: return useEmpty()
        case .named(let type): return use(TypeReference(type))
        case .inline(let members):
            enqueue(.object(key: "/data/" + name, members: members), key: "/data/" + name)
            return number("/data/" + name)
        }
    }

    private mutating func describe(_ subject: Subject) {
        switch subject {
        case .list(let element):
            let name = use(TypeReference(element))
            add("[\(name)]", "array", ["element-type": .string(name)], [])
        case .object(let key, let members):
            let described = describe(members)
            add(number(key), "object", ["members": described], [])
        case .named(let name):
            if let builtin = Builtin(rawValue: name) {
                return add(name, "builtin", ["json-type": .string(builtin.jsonKind)], [])
            }
            if let definition = schema[name] { describe(definition) }
        }
    }

    private mutating func describe(_ members: [Member]) -> JSONValue {
        var list: [JSONValue] = []
        for member in members {
            var entry: JSONValue = ["name": .string(member.name), "type": .string(use(member.type))]
            if member.isOptional { entry.set("default", .null) }
            entry.setFeatures(member.features)
            list.append(entry)
        }
        return .array(list)
    }

    private mutating func describe(_ definition: Definition) {
        var details: JSONValue = [:]
        let meta: String
        switch definition.kind {
        case .enumeration(let values):
            meta = "enum"
            details.set(
                "members",
                .array(
                    values.map {
                        var entry: JSONValue = ["name": .string($0.name)]
                        entry.setFeatures($0.features)
                        return entry
                    }))
            details.set("values", .array(values.map { .string($0.name) }))
        case .structure(let structure):
            meta = "object"
            details.set("members", describe(schema.members(of: structure)))
        case .union(let union):
            meta = "object"
            details.set("members", describe(schema.members(of: union.base)))
            details.set("tag", .string(union.discriminator))
            var variants: [JSONValue] = []
            for value in schema.discriminatorValues(of: union) {
                let branch = union.branches.first { $0.name == value.name }
                let type = branch.map { use($0.type) } ?? useEmpty()
                variants.append(["case": .string(value.name), "type": .string(type)])
            }
            details.set("variants", .array(variants))
        case .alternate(let branches):
            meta = "alternate"
            var members: [JSONValue] = []
            for branch in branches { members.append(["type": .string(use(branch.type))]) }
            details.set("members", .array(members))
        case .command, .event: return
        }
        add(number(definition.name), meta, details, definition.features)
    }
}

extension JSONValue {
    fileprivate mutating func set(_ name: String, _ value: JSONValue) {
        guard case .object(var object) = self else { return }
        object[name] = value
        self = .object(object)
    }

    fileprivate mutating func setFeatures(_ features: [String]) {
        if !features.isEmpty { set("features", .array(features.map { .string($0) })) }
    }
}
