/// Writes the reference manual of a schema as Markdown.
public struct ManualGenerator {
    private let schema: Schema

    public init(_ schema: Schema) { self.schema = schema }

    public var text: String {
        var text = "# QMP reference\n\nMade by `qapigen` from `Schema/`; `make docs` makes it anew.\n"
        text += section("Commands") { if case .command = $0.kind { true } else { false } }
        text += section("Events") { if case .event = $0.kind { true } else { false } }
        text += section("Types") {
            switch $0.kind {
            case .command, .event: false
            default: true
            }
        }
        return text
    }

    private func section(_ title: String, _ filter: (Schema.Definition) -> Bool) -> String {
        "\n## \(title)\n" + schema.definitions.filter(filter).map { entry($0) }.joined()
    }

    private func entry(_ definition: Schema.Definition) -> String {
        var text = "\n### \(definition.name)\n\n"
        if !definition.documentation.summary.isEmpty { text += definition.documentation.summary + "\n" }
        switch definition.kind {
        case .command(let command):
            if let type = command.argumentType { text += "\nArguments: those of `\(type)`.\n" }
            text += table(command.members)
            if let returns = command.returns {
                text += "\nReturns `\(name(returns))`\(definition.documentation.returns.map { ": \($0)" } ?? ".")\n"
            }
        case .event(let event): text += table(event.members)
        case .structure(let structure):
            if let base = structure.base { text += "\nAll members of `\(base)`, and:\n" }
            text += table(structure.members)
            if let discriminator = structure.discriminator {
                text += "\nBy `\(discriminator)`:\n\n"
                for variant in structure.variants { text += "- `\(variant.value)`: the members of `\(variant.type)`\n" }
            }
        case .enumeration(let enumeration):
            text += "\n"
            for value in enumeration.values {
                text += "- `\(value.name)`" + (value.documentation.isEmpty ? "" : ": \(value.documentation)") + "\n"
            }
        case .alternate(let alternate):
            text += "\n" + alternate.choices.map { "- `\(name($0.type))`\n" }.joined()
        }
        if !definition.features.isEmpty { text += "\n" }
        for feature in definition.features {
            text += "- feature `\(feature)`: \(definition.documentation.features[feature] ?? "")\n"
        }
        return text
    }

    private func table(_ members: [Schema.Member]) -> String {
        guard !members.isEmpty else { return "" }
        var text = "\n| member | type | |\n|---|---|---|\n"
        for member in members {
            let needed = member.requiredBy.map { "`\($0)`" }.joined(separator: ", ")
            let mark = member.isOptional ? needed.isEmpty ? " (optional)" : " (needed by \(needed))" : ""
            text +=
                "| `\(member.name)`\(mark) | `\(name(member.type))` | \(member.documentation.replacing("|", with: "\\|")) |\n"
        }
        return text
    }

    private func name(_ type: Schema.TypeName) -> String { type.isArray ? "[\(type.name)]" : type.name }
}
