import QAPI

/// Writes the Swift types of a schema with their decoding and encoding.
struct TypeEmitter {
    private let schema: Schema

    static func source(for schema: Schema) -> String {
        let emitter = TypeEmitter(schema: schema)
        var out = SwiftText()
        for definition in schema.allDefinitions { emitter.write(definition, &out) }
        return out.text
    }

    private init(schema: Schema) { self.schema = schema }

    private func write(_ definition: Definition, _ out: inout SwiftText) {
        switch definition.kind {
        case .enumeration(let values): write(values, definition, &out)
        case .structure(let structure):
            write(members: schema.members(of: structure), named: definition.name, definition.documentation, &out)
        case .union(let union): write(union, definition, &out)
        case .alternate(let branches): write(branches, definition, &out)
        case .command(let command):
            // What the monitor answers itself still needs its arguments taken apart.
            if !command.isGenerated, case .inline(let members) = command.arguments {
                write(
                    members: members, named: SwiftNames.type(definition.name) + "Arguments", definition.documentation, &out)
            }
        case .event: break
        }
    }

    private func write(_ values: [EnumerationValue], _ definition: Definition, _ out: inout SwiftText) {
        out.document(definition.documentation.text)
        out.block("public enum \(definition.name): String, SchemaEnumeration") { out in
            for value in values {
                out.document(definition.documentation.member(value.name) ?? "")
                out.line("case \(SwiftNames.member(value.name)) = \"\(value.name)\"")
            }
        }
        out.line()
    }

    private func isBoxed(_ member: Member, in owner: String) -> Bool {
        !member.type.isList && schema.holds(member.type.name, owner)
    }

    private func write(members: [Member], named name: String, _ documentation: Documentation, _ out: inout SwiftText) {
        out.document(documentation.text)
        out.block("public struct \(name): SchemaObject") { out in
            for member in members { property(member, of: name, documentation.member(member.name) ?? "", &out) }
            out.line()
            initializer(members, extra: nil, of: name, &out)
            out.line()
            out.block("public init(members cursor: inout MemberCursor) throws(QMPError)") { out in
                for member in members { decode(member, in: name, &out) }
            }
            out.line()
            out.block("public func encode(into object: inout JSONObject)") { out in
                for member in members { encode(member, &out) }
            }
        }
        out.line()
    }

    private func property(_ member: Member, of owner: String, _ text: String, _ out: inout SwiftText) {
        let name = SwiftNames.member(member.name)
        let type = SwiftNames.type(member)
        guard isBoxed(member, in: owner) else {
            out.document(text)
            return out.line("public var \(name): \(type)")
        }
        let plain = SwiftNames.plainMember(member.name)
        let mark = member.isOptional ? "?" : ""
        out.line("private var _\(plain): Indirect<\(SwiftNames.type(member.type))>\(mark)")
        out.document(text)
        out.block("public var \(name): \(type)") { out in
            out.line("get { _\(plain)\(mark).value }")
            out.line(
                "set { _\(plain) = "
                    + (member.isOptional ? "newValue.map { Indirect($0) } }" : "Indirect(newValue) }"))
        }
    }

    private func initializer(_ members: [Member], extra: String?, of owner: String, _ out: inout SwiftText) {
        var parameters = members.map { member in
            "\(SwiftNames.member(member.name)): \(SwiftNames.type(member))" + (member.isOptional ? " = nil" : "")
        }
        if let extra { parameters.append("\(extra): Variant") }
        out.block("public init(\(parameters.joined(separator: ", ")))") { out in
            for member in members { assign(member, from: SwiftNames.member(member.name), in: owner, &out) }
            if let extra { out.line("self.\(extra) = \(extra)") }
        }
    }

    private func assign(_ member: Member, from value: String, in owner: String, _ out: inout SwiftText) {
        guard isBoxed(member, in: owner) else { return out.line("self.\(SwiftNames.member(member.name)) = \(value)") }
        let boxed = member.isOptional ? "\(value).map { Indirect($0) }" : "Indirect(\(value))"
        out.line("self._\(SwiftNames.plainMember(member.name)) = \(boxed)")
    }

    private func decode(_ member: Member, in owner: String, _ out: inout SwiftText) {
        let call = "try cursor.\(member.isOptional ? "optional" : "required")(\"\(member.name)\")"
        guard isBoxed(member, in: owner) else { return out.line("\(SwiftNames.member(member.name)) = \(call)") }
        let plain = SwiftNames.plainMember(member.name)
        out.line("let \(plain): \(SwiftNames.type(member)) = \(call)")
        assign(member, from: plain, in: owner, &out)
    }

    private func encode(_ member: Member, _ out: inout SwiftText) {
        let name = SwiftNames.member(member.name)
        out.line("object[\"\(member.name)\"] = \(name)\(member.isOptional ? "?" : "").encoded")
    }

    private func write(_ union: Union, _ definition: Definition, _ out: inout SwiftText) {
        let members = schema.members(of: union.base)
        let plain = members.filter { $0.name != union.discriminator }
        guard let tag = members.first(where: { $0.name == union.discriminator }) else { return }
        let values = schema.discriminatorValues(of: union)
        func branch(_ value: EnumerationValue) -> Branch? { union.branches.first { $0.name == value.name } }
        let tagName = SwiftNames.member(tag.name)
        out.document(definition.documentation.text)
        out.block("public struct \(definition.name): SchemaObject") { out in
            for member in plain {
                property(member, of: definition.name, definition.documentation.member(member.name) ?? "", &out)
            }
            out.document("What the value of `\(tag.name)` adds.")
            out.line("public var variant: Variant")
            out.line()
            out.block("public enum Variant: Sendable, Hashable") { out in
                for value in values {
                    let payload = branch(value).map { "(\(SwiftNames.type($0.type)))" } ?? ""
                    out.line("case \(SwiftNames.member(value.name))\(payload)")
                }
            }
            out.line()
            out.document(definition.documentation.member(tag.name) ?? "")
            out.block("public var \(tagName): \(SwiftNames.type(tag.type))") { out in
                out.block("switch variant") { out in
                    for value in values {
                        out.line("case .\(SwiftNames.member(value.name)): .\(SwiftNames.member(value.name))")
                    }
                }
            }
            out.line()
            initializer(plain, extra: "variant", of: definition.name, &out)
            out.line()
            out.block("public init(members cursor: inout MemberCursor) throws(QMPError)") { out in
                for member in members {
                    if member.name == tag.name {
                        out.line("let tag: \(SwiftNames.type(tag.type)) = try cursor.required(\"\(tag.name)\")")
                    } else {
                        decode(member, in: definition.name, &out)
                    }
                }
                out.block("switch tag") { out in
                    for value in values {
                        let name = SwiftNames.member(value.name)
                        let payload = branch(value).map { "(try \(SwiftNames.type($0.type))(members: &cursor))" } ?? ""
                        out.line("case .\(name): variant = .\(name)\(payload)")
                    }
                }
            }
            out.line()
            out.block("public func encode(into object: inout JSONObject)") { out in
                for member in members { encode(member, &out) }
                out.block("switch variant") { out in
                    for value in values {
                        let name = SwiftNames.member(value.name)
                        out.line(
                            branch(value) == nil
                                ? "case .\(name): break" : "case .\(name)(let branch): branch.encode(into: &object)")
                    }
                }
            }
        }
        out.line()
    }

    private func write(_ branches: [Branch], _ definition: Definition, _ out: inout SwiftText) {
        out.document(definition.documentation.text)
        out.block("public indirect enum \(definition.name): SchemaValue") { out in
            for branch in branches {
                out.document(definition.documentation.member(branch.name) ?? "")
                let payload = branch.type.name == "null" ? "" : "(\(SwiftNames.type(branch.type)))"
                out.line("case \(SwiftNames.member(branch.name))\(payload)")
            }
            out.line()
            out.block("public init(decoding cursor: SchemaCursor) throws(QMPError)") { out in
                out.block("switch cursor.value") { out in
                    for branch in branches {
                        let name = SwiftNames.member(branch.name)
                        let value =
                            branch.type.name == "null"
                            ? ".\(name)" : ".\(name)(try \(SwiftNames.type(branch.type))(decoding: cursor))"
                        out.line("case \(jsonPattern(branch.type)): self = \(value)")
                    }
                    out.line("default: throw cursor.noBranch(of: \"\(definition.name)\")")
                }
            }
            out.line()
            out.block("public var encoded: JSONValue") { out in
                out.block("switch self") { out in
                    for branch in branches {
                        let name = SwiftNames.member(branch.name)
                        out.line(
                            branch.type.name == "null"
                                ? "case .\(name): .null" : "case .\(name)(let value): value.encoded")
                    }
                }
            }
        }
        out.line()
    }

    private func jsonPattern(_ type: TypeReference) -> String {
        switch schema.jsonKind(of: type) {
        case "string": ".string"
        case "boolean": ".bool"
        case "number": ".integer, .unsigned, .double"
        case "null": ".null"
        case "array": ".array"
        default: ".object"
        }
    }
}

extension Schema {
    /// Whether a value of `outer` holds one of `inner` in place: not through a list, and not through an alternate,
    /// which Swift keeps out of line.
    func holds(_ outer: String, _ inner: String) -> Bool {
        var visited: Set<String> = []
        var open = [outer]
        while let name = open.popLast() {
            if name == inner { return true }
            guard visited.insert(name).inserted, let definition = self[name] else { continue }
            switch definition.kind {
            case .structure(let structure):
                open += members(of: structure).filter { !$0.type.isList }.map(\.type.name)
            case .union(let union):
                open += members(of: union.base).filter { !$0.type.isList }.map(\.type.name)
                open += union.branches.map(\.type.name)
            default: break
            }
        }
        return false
    }
}
