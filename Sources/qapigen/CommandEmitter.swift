import QAPI

/// Writes a protocol of commands a schema file, one that refines them all, and the dispatch from a name and JSON.
struct CommandEmitter {
    private let schema: Schema

    static func source(for schema: Schema) -> String {
        let emitter = CommandEmitter(schema: schema)
        var out = SwiftText()
        emitter.writeProtocols(&out)
        emitter.writeNames(&out)
        emitter.writeDispatch(&out)
        return out.text
    }

    private init(schema: Schema) { self.schema = schema }

    /// The commands of some definitions that a handler answers.
    private func handled(_ definitions: [Definition]) -> [(Definition, Command)] {
        definitions.compactMap { definition in
            if case .command(let command) = definition.kind, command.isGenerated { (definition, command) } else { nil }
        }
    }

    private var allCommands: [(Definition, Command)] {
        schema.allDefinitions.compactMap { definition in
            if case .command(let command) = definition.kind { (definition, command) } else { nil }
        }
    }

    private func writeProtocols(_ out: inout SwiftText) {
        let modules = schema.modules.filter { !handled($0.definitions).isEmpty }
        for module in modules {
            out.document("The commands of `Schema/\(module.name).json`.")
            out.block("public protocol \(SwiftNames.type(module.name))Commands: AnyObject") { out in
                for (definition, command) in handled(module.definitions) {
                    out.document(documentation(definition, command))
                    out.line(signature(definition, command))
                }
            }
            out.line()
        }
        out.document("Every command of the schema: what a daemon implements, one file a schema file.")
        let names = modules.map { SwiftNames.type($0.name) + "Commands" }
        out.block("public protocol QMPCommands: \(names.joined(separator: ", "))") { _ in }
        out.line()
    }

    private func documentation(_ definition: Definition, _ command: Command) -> String {
        var text = definition.documentation.text
        if case .inline(let members) = command.arguments {
            text += "\n"
            for member in members {
                text += "\n- Parameter \(SwiftNames.plainMember(member.name)): "
                text += (definition.documentation.member(member.name) ?? "").split(separator: "\n")
                    .map { $0.drop { $0 == " " } }.joined(separator: " ")
            }
        }
        return text
    }

    private func signature(_ definition: Definition, _ command: Command) -> String {
        let parameters: String
        if command.isBoxed, case .named(let type) = command.arguments {
            parameters = "_ arguments: \(type)"
        } else {
            parameters = schema.members(of: command.arguments)
                .map { "\(SwiftNames.member($0.name)): \(SwiftNames.type($0))" }.joined(separator: ", ")
        }
        let result = command.returns.map { " -> \(SwiftNames.type($0))" } ?? ""
        return "func \(SwiftNames.member(definition.name))(\(parameters)) async throws(QMPError)\(result)"
    }

    private func writeNames(_ out: inout SwiftText) {
        let commands = allCommands
        out.document("The commands, in the order of the schema.")
        out.block("public enum CommandName: String, Sendable, CaseIterable") { out in
            for (definition, _) in commands {
                out.line("case \(SwiftNames.member(definition.name)) = \"\(definition.name)\"")
            }
            out.line()
            out.document("Whether the command may be sent out of band.")
            flag("allowsOutOfBand", commands.filter { $0.1.allowsOutOfBand }, &out)
            out.line()
            out.document("Whether the monitor answers by itself, without a handler.")
            flag("isAnsweredByMonitor", commands.filter { !$0.1.isGenerated }, &out)
        }
        out.line()
    }

    private func flag(_ name: String, _ commands: [(Definition, Command)], _ out: inout SwiftText) {
        out.block("public var \(name): Bool") { out in
            guard !commands.isEmpty else { return out.line("false") }
            let cases = commands.map { ".\(SwiftNames.member($0.0.name))" }.joined(separator: ", ")
            out.block("switch self") { out in
                out.line("case \(cases): true")
                out.line("default: false")
            }
        }
    }

    private func writeDispatch(_ out: inout SwiftText) {
        let commands = handled(schema.allDefinitions)
        out.block("extension QMPCommands") { out in
            out.document(
                """
                Takes `arguments` apart, runs the command and turns what it answers into JSON. Every error of the
                arguments is thrown before the handler runs. `arguments` is an object.
                """)
            out.block(
                "public func dispatch(_ command: CommandName, arguments: JSONObject) async throws(QMPError) -> JSONValue"
            ) { out in
                out.line("let arguments = SchemaCursor(.object(arguments))")
                out.block("switch command") { out in
                    for (definition, _) in commands {
                        let name = SwiftNames.plainMember(definition.name)
                        let call = "dispatch\(name.prefix(1).uppercased() + name.dropFirst())"
                        out.line("case .\(SwiftNames.member(definition.name)): return try await \(call)(arguments)")
                    }
                    let own = allCommands.filter { !$0.1.isGenerated }.map { ".\(SwiftNames.member($0.0.name))" }
                    if !own.isEmpty {
                        out.line("case \(own.joined(separator: ", ")):")
                        out.line("    throw QMPError(\"The command \\(command.rawValue) is the monitor's own\")")
                    }
                }
            }
            for (definition, command) in commands { dispatch(definition, command, &out) }
        }
    }

    private func dispatch(_ definition: Definition, _ command: Command, _ out: inout SwiftText) {
        let name = SwiftNames.plainMember(definition.name)
        out.line()
        out.block(
            "private func dispatch\(name.prefix(1).uppercased() + name.dropFirst())(_ arguments: SchemaCursor) "
                + "async throws(QMPError) -> JSONValue"
        ) { out in
            var call = ""
            if command.isBoxed, case .named(let type) = command.arguments {
                out.line("let value = try \(type)(decoding: arguments)")
                call = "value"
            } else {
                let members = schema.members(of: command.arguments)
                out.line("\(members.isEmpty ? "let" : "var") members = try arguments.members()")
                for member in members {
                    out.line(
                        "let \(SwiftNames.member(member.name)): \(SwiftNames.type(member)) = "
                            + "try members.\(member.isOptional ? "optional" : "required")(\"\(member.name)\")")
                }
                out.line("try members.finish()")
                call = members.map { "\(SwiftNames.member($0.name)): \(SwiftNames.member($0.name))" }
                    .joined(separator: ", ")
            }
            let run = "try await \(SwiftNames.member(definition.name))(\(call))"
            if command.returns == nil {
                out.line(run)
                out.line("return .object(JSONObject())")
            } else {
                out.line("return \(run).encoded")
            }
        }
    }
}
