/// Writes the reference manual of a schema as Markdown: a chapter a file, the commands first.
public struct ReferenceManual {
    private let schema: Schema
    private var text = ""

    /// The manual of `schema`, under `title`.
    public static func markdown(of schema: Schema, title: String) -> String {
        var manual = ReferenceManual(schema: schema)
        manual.write(title: title)
        return manual.text
    }

    private init(schema: Schema) { self.schema = schema }

    private mutating func line(_ line: String = "") { text += line + "\n" }

    private mutating func write(title: String) {
        line("<!-- Generated from Schema/*.json by qapigen; `make docs` writes it anew. -->")
        line("# \(title)")
        line()
        line("Commands, events and types of the monitor. Members in *italics* are optional.")
        line()
        index("Commands") { if case .command = $0.kind { true } else { false } }
        index("Events") { if case .event = $0.kind { true } else { false } }
        for module in schema.modules where !module.definitions.isEmpty {
            for block in module.introduction {
                // A file's own title becomes a chapter of the manual.
                line(block.hasPrefix("# ") ? "#" + block : block)
                line()
            }
            let commands = module.definitions.filter { if case .command = $0.kind { true } else { false } }
            let events = module.definitions.filter { if case .event = $0.kind { true } else { false } }
            let types = module.definitions.filter { Self.isType($0) }
            for definition in commands + events + types { write(definition) }
        }
    }

    private static func isType(_ definition: Definition) -> Bool {
        switch definition.kind {
        case .command, .event: false
        default: true
        }
    }

    private mutating func index(_ title: String, _ isListed: (Definition) -> Bool) {
        let links = schema.allDefinitions.filter(isListed).map { "[`\($0.name)`](#\(Self.anchor($0.name)))" }
        line("\(title): \(links.joined(separator: " · "))")
        line()
    }

    private static func anchor(_ name: String) -> String { name.lowercased() }

    private func link(_ type: TypeReference) -> String {
        let name = schema[type.name] == nil ? "`\(type.name)`" : "[`\(type.name)`](#\(Self.anchor(type.name)))"
        return type.isList ? "list of \(name)" : name
    }

    private mutating func write(_ definition: Definition) {
        line("### \(definition.name)")
        line()
        line("*\(word(for: definition.kind))*")
        line()
        line(definition.documentation.text)
        line()
        switch definition.kind {
        case .enumeration(let values):
            for value in values { item("`\(value.name)`", definition.documentation.member(value.name), value.features) }
        case .structure(let structure):
            if let base = structure.base { line("- all members of \(link(TypeReference(base)))") }
            members(structure.members, definition)
        case .union(let union): write(union, definition)
        case .alternate(let branches):
            for branch in branches {
                item("\(branch.name): \(link(branch.type))", definition.documentation.member(branch.name), [])
            }
        case .command(let command): arguments(command.arguments, definition)
        case .event(let data): arguments(data, definition)
        }
        line()
        for feature in definition.documentation.features { item("Feature `\(feature.name)`", feature.text, []) }
        if !definition.documentation.features.isEmpty { line() }
        if case .command(let command) = definition.kind, let returns = command.returns {
            line("Returns \(link(returns)).")
            line()
        }
        for section in definition.documentation.sections {
            line("**\(section.title):** \(flowed(section.text))")
            line()
        }
    }

    private mutating func write(_ union: Union, _ definition: Definition) {
        switch union.base {
        case .named(let base): line("- all members of \(link(TypeReference(base)))")
        case .inline(let members): self.members(members, definition)
        }
        for branch in union.branches {
            line("- with `\(union.discriminator)` `\(branch.name)`: all members of \(link(branch.type))")
        }
    }

    private func word(for kind: Definition.Kind) -> String {
        switch kind {
        case .enumeration: "Enum"
        case .structure: "Struct"
        case .union: "Union"
        case .alternate: "Alternate"
        case .command: "Command"
        case .event: "Event"
        }
    }

    private mutating func arguments(_ arguments: Arguments, _ definition: Definition) {
        switch arguments {
        case .none: break
        case .named(let name): line("- the members of \(link(TypeReference(name)))")
        case .inline(let members): self.members(members, definition)
        }
    }

    private mutating func members(_ members: [Member], _ definition: Definition) {
        for member in members {
            let name = member.isOptional ? "*`\(member.name)`*" : "`\(member.name)`"
            item("\(name): \(link(member.type))", definition.documentation.member(member.name), member.features)
        }
    }

    private mutating func item(_ head: String, _ text: String?, _ features: [String]) {
        let flags = features.isEmpty ? "" : " (" + features.joined(separator: ", ") + ")"
        line("- \(head)\(flags) — \(flowed(text ?? ""))")
    }

    /// Joins the lines of a paragraph.
    private func flowed(_ text: String) -> String {
        text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
    }
}
