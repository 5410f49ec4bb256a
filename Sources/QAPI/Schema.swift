/// A checked schema: every type that is named exists, and nothing is defined twice.
public struct Schema: Sendable {
    public struct Member: Sendable {
        public let name: String
        public let type: TypeName
        public let isOptional: Bool
        /// Of a union's optional member: the discriminator's values with which it is needed all the same
        /// (`'required-by': […]`, which QEMU's language does not have).
        public let requiredBy: [String]
        public let features: [String]
        public let documentation: String
    }

    /// A type as it is named: `str`, `Foo` or `['Foo']`.
    public struct TypeName: Sendable, Hashable {
        public let name: String
        public let isArray: Bool
    }

    public struct Enumeration: Sendable {
        public struct Value: Sendable {
            public let name: String
            public let features: [String]
            public let documentation: String
        }
        public let values: [Value]
    }

    public struct Structure: Sendable {
        public let base: String?
        public let members: [Member]
        /// For unions: the member that chooses, and the type that each of its values adds.
        public let discriminator: String?
        public let variants: [(value: String, type: String)]
    }

    public struct Alternate: Sendable {
        public let choices: [(name: String, type: TypeName)]
    }

    public struct Command: Sendable {
        /// A type's name, or members of its own.
        public let argumentType: String?
        public let members: [Member]
        public let returns: TypeName?
        public let allowsOOB: Bool
        /// Whether the method is told which client asks (`'client': true`, which QEMU's language does not have).
        public let needsClient: Bool
    }

    public struct Event: Sendable {
        public let members: [Member]
    }

    public enum Kind: Sendable {
        case enumeration(Enumeration)
        case structure(Structure)
        case alternate(Alternate)
        case command(Command)
        case event(Event)
    }

    public struct Definition: Sendable {
        public let name: String
        /// The schema file, without its ending: it names the protocol of its commands.
        public let file: String
        public let kind: Kind
        public let features: [String]
        public let documentation: Documentation
    }

    /// In the order of the files and of their text.
    public let definitions: [Definition]
    private let byName: [String: Int]

    public static let builtins: [String: String] = [
        "str": "string", "int": "int", "number": "number", "bool": "boolean", "null": "null", "any": "value",
        "uint8": "int", "uint16": "int", "uint32": "int", "uint64": "int", "int8": "int", "int16": "int",
        "int32": "int", "int64": "int", "size": "int",
    ]

    init(_ definitions: [Definition]) throws(SchemaError) {
        self.definitions = definitions
        var byName: [String: Int] = [:]
        for (index, definition) in definitions.enumerated() {
            if byName.updateValue(index, forKey: definition.name) != nil {
                throw SchemaError(definition.file, "'\(definition.name)' is defined twice")
            }
        }
        self.byName = byName
        try check()
    }

    public subscript(name: String) -> Definition? { byName[name].map { definitions[$0] } }

    public func structure(_ name: String) -> Structure? {
        if case .structure(let structure) = self[name]?.kind { return structure }
        return nil
    }

    /// The members of a structure, those of its bases first.
    public func allMembers(of structure: Structure) -> [Member] {
        let inherited = structure.base.flatMap { self.structure($0) }.map { allMembers(of: $0) } ?? []
        return inherited + structure.members
    }

    private func check() throws(SchemaError) {
        for definition in definitions {
            switch definition.kind {
            case .enumeration: break
            case .structure(let structure): try check(structure, definition)
            case .alternate(let alternate):
                for choice in alternate.choices { try known(choice.type.name, definition) }
            case .command(let command):
                if let type = command.argumentType { try known(type, definition) }
                if let type = command.returns { try known(type.name, definition) }
                try check(command.members, definition)
            case .event(let event): try check(event.members, definition)
            }
        }
    }

    private func check(_ structure: Structure, _ definition: Definition) throws(SchemaError) {
        if let base = structure.base, self.structure(base) == nil {
            throw SchemaError(definition.file, "'\(definition.name)' has the unknown base '\(base)'")
        }
        try checkBases(structure, definition)
        try check(structure.members, definition)
        guard let discriminator = structure.discriminator else { return }
        guard let member = allMembers(of: structure).first(where: { $0.name == discriminator }),
            case .enumeration(let values) = self[member.type.name]?.kind
        else { throw SchemaError(definition.file, "'\(definition.name)' has no enumeration as discriminator") }
        for variant in structure.variants {
            guard values.values.contains(where: { $0.name == variant.value }) else {
                throw SchemaError(definition.file, "'\(definition.name)': no value '\(variant.value)' to choose by")
            }
            if self.structure(variant.type) == nil {
                throw SchemaError(definition.file, "'\(definition.name)': variant type '\(variant.type)' is unknown")
            }
        }
    }

    /// Whoever asks for all members follows the bases to their end.
    private func checkBases(_ structure: Structure, _ definition: Definition) throws(SchemaError) {
        var seen: Set<String> = [definition.name]
        var next = structure.base
        while let name = next {
            guard seen.insert(name).inserted else {
                throw SchemaError(definition.file, "'\(definition.name)' has bases without an end")
            }
            next = self.structure(name)?.base
        }
    }

    private func check(_ members: [Member], _ definition: Definition) throws(SchemaError) {
        for member in members { try known(member.type.name, definition) }
    }

    private func known(_ name: String, _ definition: Definition) throws(SchemaError) {
        if Self.builtins[name] == nil, self[name] == nil {
            throw SchemaError(definition.file, "'\(definition.name)' names the unknown type '\(name)'")
        }
    }
}
