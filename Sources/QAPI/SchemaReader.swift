import JSON

extension Schema {
    /// Reads and checks schema files, given as names and texts.
    public static func read(_ files: [(name: String, text: String)]) throws(SchemaError) -> Schema {
        var definitions: [Definition] = []
        for file in files {
            for expression in try SchemaText.expressions(of: file.text, file: file.name) {
                if expression.object["pragma"] != nil || expression.object["include"] != nil { continue }
                definitions.append(try SchemaReader(expression, file: file.name).definition())
            }
        }
        return try Schema(definitions)
    }
}

/// Turns one expression into a definition.
struct SchemaReader {
    private let expression: SchemaExpression
    private let file: String
    private var object: JSONObject { expression.object }

    init(_ expression: SchemaExpression, file: String) {
        self.expression = expression
        self.file = file.hasSuffix(".json") ? String(file.dropLast(5)) : file
    }

    func definition() throws(SchemaError) -> Schema.Definition {
        for keyword in ["enum", "struct", "union", "alternate", "command", "event"] {
            guard let name = object[keyword]?.string else { continue }
            return Schema.Definition(
                name: name, file: file, kind: try kind(keyword), features: try features(object["features"]),
                documentation: expression.documentation)
        }
        throw failure("an expression defines nothing")
    }

    private func kind(_ keyword: String) throws(SchemaError) -> Schema.Kind {
        switch keyword {
        case "enum": return .enumeration(Schema.Enumeration(values: try values()))
        case "struct":
            return .structure(
                Schema.Structure(
                    base: object["base"]?.string, members: try members(object["data"]), discriminator: nil,
                    variants: []))
        case "union": return .structure(try union())
        case "alternate":
            var choices: [(String, Schema.TypeName)] = []
            for (name, value) in object["data"]?.object?.members ?? [] { choices.append((name, try type(value))) }
            return .alternate(Schema.Alternate(choices: choices))
        case "command": return .command(try command())
        default: return .event(Schema.Event(members: try members(object["data"])))
        }
    }

    private func union() throws(SchemaError) -> Schema.Structure {
        guard let discriminator = object["discriminator"]?.string else { throw failure("a union has a discriminator") }
        var variants: [(String, String)] = []
        for (value, type) in object["data"]?.object?.members ?? [] {
            variants.append((value, try self.type(type).name))
        }
        return Schema.Structure(
            base: object["base"]?.string, members: try members(object["base"]?.object.map { .object($0) }),
            discriminator: discriminator, variants: variants)
    }

    private func command() throws(SchemaError) -> Schema.Command {
        let data = object["data"]
        return Schema.Command(
            argumentType: data?.string, members: data?.string == nil ? try members(data) : [],
            returns: try object["returns"].map { value throws(SchemaError) in try type(value) },
            allowsOOB: object["allow-oob"]?.bool ?? false, needsClient: object["client"]?.bool ?? false)
    }

    private func values() throws(SchemaError) -> [Schema.Enumeration.Value] {
        guard let list = object["data"]?.array else { throw failure("an enumeration has a list of values") }
        var values: [Schema.Enumeration.Value] = []
        for value in list {
            guard let name = value.string ?? value["name"]?.string else { throw failure("a value has a name") }
            values.append(
                Schema.Enumeration.Value(
                    name: name, features: try features(value["features"]),
                    documentation: expression.documentation.members[name] ?? ""))
        }
        return values
    }

    private func members(_ value: JSONValue?) throws(SchemaError) -> [Schema.Member] {
        guard let value else { return [] }
        guard let object = value.object else { throw failure("members are an object") }
        var members: [Schema.Member] = []
        for (name, value) in object.members {
            let isOptional = name.hasPrefix("*")
            let plain = isOptional ? String(name.dropFirst()) : name
            members.append(
                Schema.Member(
                    name: plain, type: try type(value["type"] ?? value), isOptional: isOptional,
                    requiredBy: value["required-by"]?.array?.compactMap(\.string) ?? [],
                    features: try features(value["features"]),
                    documentation: expression.documentation.members[plain] ?? ""))
        }
        return members
    }

    private func type(_ value: JSONValue) throws(SchemaError) -> Schema.TypeName {
        if let name = value.string { return Schema.TypeName(name: name, isArray: false) }
        if let list = value.array, list.count == 1, let name = list[0].string {
            return Schema.TypeName(name: name, isArray: true)
        }
        if let inner = value["type"] { return try type(inner) }
        throw failure("a type is a name, or a name in brackets")
    }

    private func features(_ value: JSONValue?) throws(SchemaError) -> [String] {
        var features: [String] = []
        for feature in value?.array ?? [] {
            guard let name = feature.string ?? feature["name"]?.string else { throw failure("a feature has a name") }
            features.append(name)
        }
        return features
    }

    private func failure(_ message: String) -> SchemaError { SchemaError(expression.place, message) }
}
