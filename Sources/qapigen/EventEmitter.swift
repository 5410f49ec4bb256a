import QAPI

/// Writes the events as one enum: a case an event, its data as associated values.
struct EventEmitter {
    static func source(for schema: Schema) -> String {
        var out = SwiftText()
        let events = schema.allDefinitions.compactMap { definition in
            if case .event(let data) = definition.kind { (definition, schema.members(of: data)) } else { nil }
        }
        out.document("What the daemon tells every monitor of its own accord.")
        out.block("public enum QMPEvent: Sendable, Hashable") { out in
            for (definition, members) in events { declare(definition, members, &out) }
            out.line()
            out.document("The name on the wire.")
            out.block("public var name: String") { out in
                out.block("switch self") { out in
                    for (definition, _) in events {
                        out.line("case .\(SwiftNames.member(definition.name)): \"\(definition.name)\"")
                    }
                }
            }
            out.line()
            out.document("The members of `data`; nil for an event that carries none.")
            out.block("public var data: JSONObject?") { out in
                out.block("switch self") { out in
                    for (definition, members) in events { encode(definition, members, &out) }
                }
            }
        }
        return out.text
    }

    private static func declare(_ definition: Definition, _ members: [Member], _ out: inout SwiftText) {
        out.document(definition.documentation.text)
        let values = members.map { member in
            "\(SwiftNames.member(member.name)): \(SwiftNames.type(member))" + (member.isOptional ? " = nil" : "")
        }
        let payload = values.isEmpty ? "" : "(\(values.joined(separator: ", ")))"
        out.line("case \(SwiftNames.member(definition.name))\(payload)")
    }

    private static func encode(_ definition: Definition, _ members: [Member], _ out: inout SwiftText) {
        let name = SwiftNames.member(definition.name)
        guard !members.isEmpty else { return out.line("case .\(name): return nil") }
        let bindings = members.map { "let \(SwiftNames.member($0.name))" }.joined(separator: ", ")
        out.line("case .\(name)(\(bindings)):")
        out.line("    var object = JSONObject()")
        for member in members {
            let mark = member.isOptional ? "?" : ""
            out.line("    object[\"\(member.name)\"] = \(SwiftNames.member(member.name))\(mark).encoded")
        }
        out.line("    return object")
    }
}
