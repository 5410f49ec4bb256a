/// Refuses a schema that the generator could not honour: unknown types, clashing members, missing documentation.
struct SchemaChecker {
    private let schema: Schema

    init(_ schema: Schema) { self.schema = schema }

    func check() throws(SchemaError) {
        for definition in schema.allDefinitions {
            try checkNames(definition)
            switch definition.kind {
            case .enumeration(let values):
                try checkUnique(values.map(\.name), definition)
                try checkDocumented(values.map(\.name), definition)
            case .structure(let structure): try check(structure, definition)
            case .union(let union): try check(union, definition)
            case .alternate(let branches): try check(branches, definition)
            case .command(let command): try check(command, definition)
            case .event(let arguments): try check(arguments, isBoxed: false, definition)
            }
            let undocumented = definition.features.first { name in
                !definition.documentation.features.contains { $0.name == name }
            }
            if let undocumented { throw failure("feature '\(undocumented)' is not documented", definition) }
        }
    }

    private func failure(_ message: String, _ definition: Definition) -> SchemaError {
        SchemaError("\(definition.name): \(message)", file: definition.file, line: definition.line)
    }

    private func checkNames(_ definition: Definition) throws(SchemaError) {
        let name = definition.name
        let isWord = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D
                || $0 == 0x5F
        }
        guard isWord, !name.isEmpty else { throw failure("not a name", definition) }
        if definition.documentation.text.isEmpty { throw failure("says nothing of what it is", definition) }
    }

    private func checkUnique(_ names: [String], _ definition: Definition) throws(SchemaError) {
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted { throw failure("'\(name)' occurs twice", definition) }
    }

    private func checkDocumented(_ names: [String], _ definition: Definition) throws(SchemaError) {
        for name in names where definition.documentation.member(name)?.isEmpty ?? true {
            throw failure("'\(name)' is not documented", definition)
        }
        for member in definition.documentation.members where !names.contains(member.name) {
            throw failure("documents '\(member.name)', which it does not have", definition)
        }
    }

    private func checkExists(_ type: TypeReference, _ definition: Definition) throws(SchemaError) {
        if Builtin(rawValue: type.name) != nil { return }
        switch schema[type.name]?.kind {
        case nil: throw failure("type '\(type.name)' does not exist", definition)
        case .command, .event: throw failure("'\(type.name)' is no type", definition)
        default: return
        }
    }

    private func checkMembers(_ members: [Member], _ definition: Definition) throws(SchemaError) {
        for member in members { try checkExists(member.type, definition) }
    }

    private func check(_ structure: Structure, _ definition: Definition) throws(SchemaError) {
        try checkMembers(structure.members, definition)
        var visited: Set<String> = [definition.name]
        var base = structure.base
        while let name = base {
            guard visited.insert(name).inserted else { throw failure("is its own base", definition) }
            guard case .structure(let parent)? = schema[name]?.kind else {
                throw failure("base '\(name)' is no struct", definition)
            }
            base = parent.base
        }
        try checkUnique(schema.members(of: structure).map(\.name), definition)
        try checkDocumented(structure.members.map(\.name), definition)
    }

    private func check(_ union: Union, _ definition: Definition) throws(SchemaError) {
        switch union.base {
        case .named(let name):
            guard case .structure? = schema[name]?.kind else { throw failure("base '\(name)' is no struct", definition) }
            try checkDocumented([], definition)
        case .inline(let members):
            try checkMembers(members, definition)
            try checkDocumented(members.map(\.name), definition)
        }
        let members = schema.members(of: union.base)
        try checkUnique(members.map(\.name), definition)
        guard let tag = members.first(where: { $0.name == union.discriminator }), !tag.isOptional,
            case .enumeration(let values)? = schema[tag.type.name]?.kind, !tag.type.isList
        else { throw failure("the discriminator is a mandatory enum of the base", definition) }
        try checkUnique(union.branches.map(\.name), definition)
        for branch in union.branches {
            guard values.contains(where: { $0.name == branch.name }) else {
                throw failure("'\(branch.name)' is no value of '\(tag.type.name)'", definition)
            }
            guard case .structure(let structure)? = schema[branch.type.name]?.kind, !branch.type.isList else {
                throw failure("branch '\(branch.name)' is no struct", definition)
            }
            try checkUnique((members + schema.members(of: structure)).map(\.name), definition)
        }
    }

    private func check(_ branches: [Branch], _ definition: Definition) throws(SchemaError) {
        var kinds: [String] = []
        for branch in branches {
            try checkExists(branch.type, definition)
            kinds.append(schema.jsonKind(of: branch.type))
        }
        try checkUnique(kinds, definition)
        try checkDocumented(branches.map(\.name), definition)
    }

    private func check(_ command: Command, _ definition: Definition) throws(SchemaError) {
        try check(command.arguments, isBoxed: command.isBoxed, definition)
        if let returns = command.returns { try checkExists(returns, definition) }
    }

    private func check(_ arguments: Arguments, isBoxed: Bool, _ definition: Definition) throws(SchemaError) {
        switch arguments {
        case .none:
            if isBoxed { throw failure("'boxed' needs 'data'", definition) }
            try checkDocumented([], definition)
        case .inline(let members):
            if isBoxed { throw failure("'boxed' needs a named type", definition) }
            try checkMembers(members, definition)
            try checkUnique(members.map(\.name), definition)
            try checkDocumented(members.map(\.name), definition)
        case .named(let name):
            switch schema[name]?.kind {
            case .structure: break
            case .union: if !isBoxed { throw failure("a union as 'data' needs 'boxed'", definition) }
            default: throw failure("'data' '\(name)' is no struct or union", definition)
            }
            try checkDocumented([], definition)
        }
    }
}
