/// Turns one top-level expression into a definition.
struct SchemaDefinitionReader {
    private let object: SyntaxObject
    private let lines: [String]?
    private let file: String

    init(expression: SyntaxExpression, file: String) {
        object = expression.object
        lines = expression.documentation
        self.file = file
    }

    /// Which members an expression of each kind may have besides its own name.
    private static let allowed: [String: [String]] = [
        "enum": ["data", "features"],
        "struct": ["base", "data", "features"],
        "union": ["base", "discriminator", "data", "features"],
        "alternate": ["data", "features"],
        "command": ["data", "returns", "boxed", "allow-oob", "gen", "features"],
        "event": ["data", "features"],
    ]

    func definition() throws(SchemaError) -> Definition {
        guard let (word, node) = object.members.first, let allowed = Self.allowed[word], case .string(let name) = node
        else { throw failure("expected 'enum', 'struct', 'union', 'alternate', 'command', 'event' or 'include' first") }
        for member in object.members.dropFirst() where !allowed.contains(member.name) {
            throw failure("'\(word)' takes no '\(member.name)'")
        }
        guard let lines else { throw failure("'\(name)' has no documentation") }
        return Definition(
            name: name, kind: try kind(word), features: try names(object["features"], "features"),
            documentation: try Documentation(lines: lines, name: name, file: file, line: object.line), file: file,
            line: object.line)
    }

    private func failure(_ message: String) -> SchemaError { SchemaError(message, file: file, line: object.line) }

    private func kind(_ word: String) throws(SchemaError) -> Definition.Kind {
        switch word {
        case "enum": return .enumeration(try enumerationValues())
        case "struct": return .structure(Structure(base: try string("base"), members: try members(object["data"])))
        case "union": return .union(try union())
        case "alternate": return .alternate(try branches())
        case "event": return .event(try arguments())
        default: return .command(try command())
        }
    }

    private func string(_ name: String) throws(SchemaError) -> String? {
        switch object[name] {
        case nil: return nil
        case .string(let text): return text
        default: throw failure("'\(name)' must be a string")
        }
    }

    private func flag(_ name: String, default value: Bool) throws(SchemaError) -> Bool {
        switch object[name] {
        case nil: return value
        case .bool(let flag): return flag
        default: throw failure("'\(name)' must be true or false")
        }
    }

    private func names(_ node: SyntaxNode?, _ what: String) throws(SchemaError) -> [String] {
        guard let node else { return [] }
        guard case .list(let elements) = node else { throw failure("'\(what)' must be a list") }
        var names: [String] = []
        for element in elements {
            switch element {
            case .string(let name): names.append(name)
            case .object(let object):
                guard case .string(let name)? = object["name"] else { throw failure("a feature needs a 'name'") }
                names.append(name)
            default: throw failure("'\(what)' holds names")
            }
        }
        return names
    }

    private func enumerationValues() throws(SchemaError) -> [EnumerationValue] {
        guard case .list(let elements)? = object["data"] else { throw failure("an enum needs a list as 'data'") }
        var values: [EnumerationValue] = []
        for element in elements {
            switch element {
            case .string(let name): values.append(EnumerationValue(name: name, features: []))
            case .object(let value):
                guard case .string(let name)? = value["name"] else { throw failure("an enum value needs a 'name'") }
                values.append(EnumerationValue(name: name, features: try names(value["features"], "features")))
            default: throw failure("an enum's 'data' holds names")
            }
        }
        return values
    }

    private func type(_ node: SyntaxNode, of name: String) throws(SchemaError) -> TypeReference {
        switch node {
        case .string(let type): return TypeReference(type)
        case .list(let elements):
            guard elements.count == 1, case .string(let type) = elements[0] else {
                throw failure("the type of '\(name)' is a list of one name")
            }
            return TypeReference(type, isList: true)
        default: throw failure("the type of '\(name)' is a name or a list of one name")
        }
    }

    private func members(_ node: SyntaxNode?) throws(SchemaError) -> [Member] {
        guard case .object(let data)? = node else { throw failure("expected an object of members") }
        var members: [Member] = []
        for (key, value) in data.members {
            let name = key.hasPrefix("*") ? String(key.dropFirst()) : key
            var typeNode = value
            var features: [String] = []
            if case .object(let details) = value {
                guard let inner = details["type"] else { throw failure("member '\(name)' needs a 'type'") }
                typeNode = inner
                features = try names(details["features"], "features")
            }
            members.append(
                Member(
                    name: name, type: try type(typeNode, of: name), isOptional: key.hasPrefix("*"), features: features))
        }
        return members
    }

    private func branches() throws(SchemaError) -> [Branch] {
        guard case .object(let data)? = object["data"] else { throw failure("expected an object of branches") }
        var branches: [Branch] = []
        for (name, node) in data.members { branches.append(Branch(name: name, type: try type(node, of: name))) }
        return branches
    }

    private func union() throws(SchemaError) -> Union {
        guard let discriminator = try string("discriminator") else { throw failure("a union needs a 'discriminator'") }
        let base: Union.Base
        switch object["base"] {
        case .string(let name): base = .named(name)
        case .object: base = .inline(try members(object["base"]))
        default: throw failure("a union needs a 'base'")
        }
        return Union(base: base, discriminator: discriminator, branches: try branches())
    }

    private func arguments() throws(SchemaError) -> Arguments {
        switch object["data"] {
        case nil: return .none
        case .string(let name): return .named(name)
        case .object: return .inline(try members(object["data"]))
        default: throw failure("'data' is a type's name or an object of members")
        }
    }

    private func command() throws(SchemaError) -> Command {
        var returns: TypeReference?
        if let node = object["returns"] { returns = try type(node, of: "returns") }
        return Command(
            arguments: try arguments(), returns: returns, isBoxed: try flag("boxed", default: false),
            allowsOutOfBand: try flag("allow-oob", default: false), isGenerated: try flag("gen", default: true))
    }
}
