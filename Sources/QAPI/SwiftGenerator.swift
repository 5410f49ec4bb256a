import JSON

/// Writes the Swift of a schema: types that decode and encode themselves, a protocol with a method per command, the
/// dispatch, and events.
public struct SwiftGenerator {
    let schema: Schema

    /// The files it writes, whatever the schema holds: a build plugin must name them beforehand.
    public static let files = ["QAPITypes.swift", "QMPCommands.swift", "QMPEvents.swift", "QMPIntrospection.swift"]

    public init(_ schema: Schema) { self.schema = schema }

    /// The text of one of `files`.
    public func text(of file: String) -> String {
        let body =
            switch file {
            case "QAPITypes.swift": types()
            case "QMPCommands.swift": commands()
            case "QMPEvents.swift": events()
            default: introspection()
            }
        return "// Made by qapigen from Schema/. Do not edit.\npublic import JSON\n\n" + body
    }

    // MARK: Types

    private func types() -> String {
        var text = ""
        for definition in schema.definitions {
            switch definition.kind {
            case .enumeration(let enumeration): text += self.enumeration(definition, enumeration)
            case .structure(let structure): text += self.structure(definition.name, definition.documentation, structure)
            case .alternate(let alternate): text += self.alternate(definition, alternate)
            case .command(let command) where !command.members.isEmpty:
                text += plain(argumentsName(definition.name), definition.documentation, command.members)
            case .event(let event) where !event.members.isEmpty:
                text += plain(Self.type(definition.name) + "Event", definition.documentation, event.members)
            case .command, .event: break
            }
        }
        return text
    }

    private func enumeration(_ definition: Schema.Definition, _ enumeration: Schema.Enumeration) -> String {
        var text =
            comment(definition.documentation.summary, "")
            + "public enum \(definition.name): String, QAPIEnum, CaseIterable {\n"
        for value in enumeration.values {
            text += comment(value.documentation, "    ") + "    case \(Self.member(value.name)) = \"\(value.name)\"\n"
        }
        return text + "}\n\n"
    }

    private func plain(_ name: String, _ documentation: Documentation, _ members: [Schema.Member]) -> String {
        structure(
            name, documentation, Schema.Structure(base: nil, members: members, discriminator: nil, variants: []))
    }

    private func structure(_ name: String, _ documentation: Documentation, _ structure: Schema.Structure) -> String {
        let members = schema.allMembers(of: structure)
        let isUnion = structure.discriminator != nil
        var text = comment(documentation.summary, "") + "public struct \(name): QAPIObject {\n"
        for member in members {
            text += comment(member.documentation, "    ")
            text += "    public var \(Self.member(member.name)): \(type(member, in: name))\n"
        }
        if isUnion {
            text += "    public var variant: Variant\n\n" + variants(structure)
        }
        return text + "\n" + initializer(name, members, isUnion) + decoder(members, structure)
            + encoder(members, structure) + "}\n\n"
    }

    private func variants(_ structure: Schema.Structure) -> String {
        var text = "    /// What the discriminator's value adds.\n    public indirect enum Variant: Sendable {\n"
        for variant in structure.variants { text += "        case \(Self.member(variant.value))(\(variant.type))\n" }
        return text + "        case nothing\n    }\n"
    }

    private func initializer(_ name: String, _ members: [Schema.Member], _ isUnion: Bool) -> String {
        var parameters = members.map {
            "\(Self.member($0.name)): \(type($0, in: name))" + ($0.isOptional ? " = nil" : "")
        }
        if isUnion { parameters.append("variant: Variant = .nothing") }
        var text = "    public init(\(parameters.joined(separator: ", "))) {\n"
        for member in members { text += "        self.\(Self.member(member.name)) = \(Self.member(member.name))\n" }
        if isUnion { text += "        self.variant = variant\n" }
        return text + "    }\n\n"
    }

    private func decoder(_ members: [Schema.Member], _ structure: Schema.Structure) -> String {
        var text = "    public init(_ members: inout QAPIMembers) throws(QMPError) {\n"
        for member in members {
            let call = member.isOptional ? "optional" : "required"
            text += "        self.\(Self.member(member.name)) = try members.\(call)(\"\(member.name)\")\n"
            for value in member.requiredBy {
                guard let discriminator = structure.discriminator else { continue }
                text +=
                    "        if self.\(Self.member(discriminator)) == .\(Self.member(value)), self.\(Self.member(member.name)) == nil { throw members.missing(\"\(member.name)\") }\n"
            }
        }
        if let discriminator = structure.discriminator {
            let isOptional = members.first { $0.name == discriminator }?.isOptional ?? false
            text += "        switch self.\(Self.member(discriminator)) {\n"
            for variant in structure.variants {
                let value = Self.member(variant.value)
                text +=
                    "        case .\(value)\(isOptional ? "?" : ""): self.variant = .\(value)(try \(variant.type)(&members))\n"
            }
            text +=
                exhausts(structure, discriminator) && !isOptional ? "" : "        default: self.variant = .nothing\n"
            text += "        }\n"
        }
        return text + "    }\n\n"
    }

    private func exhausts(_ structure: Schema.Structure, _ discriminator: String) -> Bool {
        guard let member = schema.allMembers(of: structure).first(where: { $0.name == discriminator }),
            case .enumeration(let enumeration) = schema[member.type.name]?.kind
        else { return false }
        return enumeration.values.count == structure.variants.count
    }

    private func encoder(_ members: [Schema.Member], _ structure: Schema.Structure) -> String {
        var text = "    public func encode(into object: inout JSONObject) {\n"
        for member in members {
            let value = "self.\(Self.member(member.name))"
            text += "        object[\"\(member.name)\"] = \(value)\(member.isOptional ? "?" : "").json\n"
        }
        if structure.discriminator != nil {
            text += "        switch self.variant {\n"
            for variant in structure.variants {
                text += "        case .\(Self.member(variant.value))(let more): more.encode(into: &object)\n"
            }
            text += "        case .nothing: break\n        }\n"
        }
        return text + "    }\n"
    }

    private func alternate(_ definition: Schema.Definition, _ alternate: Schema.Alternate) -> String {
        var text = comment(definition.documentation.summary, "")
        text += "public indirect enum \(definition.name): QAPIType {\n"
        for choice in alternate.choices { text += "    case \(Self.member(choice.name))(\(type(choice.type)))\n" }
        text += "\n    public init(_ input: QAPIInput) throws(QMPError) {\n        switch input.value {\n"
        for choice in alternate.choices {
            text +=
                "        case \(pattern(choice.type)): self = .\(Self.member(choice.name))(try \(type(choice.type))(input))\n"
        }
        text += "        default: throw input.wrongAlternate(\"\(definition.name)\")\n        }\n    }\n\n"
        text += "    public var json: JSONValue {\n        switch self {\n"
        for choice in alternate.choices { text += "        case .\(Self.member(choice.name))(let value): value.json\n" }
        return text + "        }\n    }\n}\n\n"
    }

    /// Which JSON values choose a type of an alternate.
    private func pattern(_ type: Schema.TypeName) -> String {
        if type.isArray { return ".array" }
        switch Schema.builtins[type.name] {
        case "string": return ".string"
        case "int": return ".int, .uint"
        case "number": return ".double, .int, .uint"
        case "boolean": return ".bool"
        case "null": return ".null"
        default: break
        }
        if case .enumeration = schema[type.name]?.kind { return ".string" }
        return ".object"
    }

    // MARK: Commands

    /// Answered by the session or from what is made here, not by a method.
    static let ownAnswers = ["qmp_capabilities", "query-qmp-schema", "query-commands", "query-events"]

    private var allCommands: [(definition: Schema.Definition, command: Schema.Command)] {
        schema.definitions.compactMap {
            if case .command(let command) = $0.kind { return ($0, command) }
            return nil
        }
    }

    private func commands() -> String {
        var text = ""
        var protocols: [String] = []
        for file in schema.definitions.map(\.file).uniqued {
            let own = allCommands.filter { $0.definition.file == file && !Self.ownAnswers.contains($0.definition.name) }
            if own.isEmpty { continue }
            let name = "QMP" + Self.type(file) + "Commands"
            protocols.append(name)
            text += "/// The commands of Schema/\(file).json.\npublic protocol \(name): AnyObject {\n"
            for (definition, command) in own {
                text +=
                    comment(definition.documentation.summary, "    ") + "    \(signature(definition.name, command))\n"
            }
            text += "}\n\n"
        }
        text +=
            "/// Every command of the schema.\npublic protocol QMPCommands: QMPHandler, \(protocols.joined(separator: ", ")) {}\n\n"
        return text + dispatch()
    }

    private func argumentsName(_ command: String) -> String { Self.type(command) + "Arguments" }

    private func argument(_ name: String, _ command: Schema.Command) -> String? {
        command.argumentType ?? (command.members.isEmpty ? nil : argumentsName(name))
    }

    private func signature(_ name: String, _ command: Schema.Command) -> String {
        var parameters = argument(name, command).map { ["_ arguments: \($0)"] } ?? []
        if command.needsClient { parameters.append("from client: any QMPClient") }
        let result = command.returns.map { " -> \(type($0))" } ?? ""
        return "func \(Self.member(name))(\(parameters.joined(separator: ", "))) async throws(QMPError)\(result)"
    }

    private func dispatch() -> String {
        var text = "extension QMPCommands {\n"
        text +=
            "    public var commandNames: [String] { [\(quoted(allCommands.reversed().map(\.definition.name)))] }\n\n"
        text +=
            "    public func call(_ command: String, _ arguments: JSONObject, from client: any QMPClient) async throws(QMPError) -> JSONValue {\n"
        text += "        let input = QAPIInput(.object(arguments))\n        switch command {\n"
        for (definition, command) in allCommands where definition.name != "qmp_capabilities" {
            text += "        case \"\(definition.name)\":\n"
            if let answer = Self.ownAnswer(definition.name) {
                text += "            try QAPIMembers(input).finish()\n            return \(answer)\n"
                continue
            }
            text += call(definition.name, command)
        }
        text +=
            "        default:\n            throw QMPError(\"The command \\(command) has not been found\", class: .commandNotFound)\n"
        return text + "        }\n    }\n}\n"
    }

    /// The decoding of one command's arguments, the call, and the answer.
    private func call(_ name: String, _ command: Schema.Command) -> String {
        var parameters: [String] = []
        var text = "            try QAPIMembers(input).finish()\n"
        if let type = argument(name, command) {
            text = "            let arguments = try \(type)(input)\n"
            parameters.append("arguments")
        }
        if command.needsClient { parameters.append("from: client") }
        let call = "try await \(Self.member(name))(\(parameters.joined(separator: ", ")))"
        guard command.returns == nil else { return text + "            return \(call).json\n" }
        return text + "            \(call)\n            return .object(JSONObject())\n"
    }

    private static func ownAnswer(_ command: String) -> String? {
        switch command {
        case "query-commands": ".array(commandNames.map { [\"name\": .string($0)] })"
        case "query-events": ".array(QMPEvent.names.map { [\"name\": .string($0)] })"
        case "query-qmp-schema": "QMPIntrospection.value"
        default: nil
        }
    }

    private func quoted(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }

    private func events() -> String {
        var text = "/// The events of the schema.\npublic enum QMPEvent: Sendable {\n"
        var all: [String] = []
        var names = ""
        var values = ""
        for definition in schema.definitions {
            guard case .event(let event) = definition.kind else { continue }
            let name = Self.member(definition.name.lowercased())
            let hasData = !event.members.isEmpty
            text += comment(definition.documentation.summary, "    ")
            text += "    case \(name)\(hasData ? "(\(Self.type(definition.name))Event)" : "")\n"
            all.append(definition.name)
            names += "        case .\(name): \"\(definition.name)\"\n"
            values += hasData ? "        case .\(name)(let data): data.json\n" : "        case .\(name): nil\n"
        }
        text += "\n    /// All names.\n    public static let names = [\(quoted(all))]\n"
        text +=
            "\n    /// The name on the wire.\n    public var name: String {\n        switch self {\n\(names)        }\n    }\n"
        return text + "\n    public var data: JSONValue? {\n        switch self {\n\(values)        }\n    }\n}\n"
    }

    private func introspection() -> String {
        let text = Introspection(schema).value.text()
        return """
            /// What `query-qmp-schema` answers.
            public enum QMPIntrospection {
                private static let text = #\"\(text)\"#
                public static let value: JSONValue = (try? JSONValue.parse(text, limits: limits)) ?? .array([])
                private static var limits: JSONLimits {
                    var limits = JSONLimits()
                    limits.bytes = 16 << 20
                    limits.tokens = 1 << 20
                    return limits
                }
            }

            """
    }
}
