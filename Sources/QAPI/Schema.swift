/// A checked schema: what QMP commands, events and types there are, in the order in which they were written.
public struct Schema: Sendable {
    /// The files, in the order in which they are included.
    public internal(set) var modules: [Module] = []
    var definitions: [String: Definition] = [:]

    /// One schema file: a subject of the manual, a protocol of commands.
    public struct Module: Sendable {
        /// The file's name without `.json`.
        public let name: String
        /// The blocks of documentation that belong to no definition, as Markdown.
        public var introduction: [String] = []
        public var definitions: [Definition] = []
    }

    public subscript(name: String) -> Definition? { definitions[name] }

    /// Every definition of every file, in order.
    public var allDefinitions: [Definition] { modules.flatMap(\.definitions) }
}

/// A named thing of the schema.
public struct Definition: Sendable {
    public let name: String
    public let kind: Kind
    public let features: [String]
    public let documentation: Documentation
    let file: String
    let line: Int

    public enum Kind: Sendable {
        case enumeration([EnumerationValue])
        case structure(Structure)
        case union(Union)
        case alternate([Branch])
        case command(Command)
        case event(Arguments)
    }
}

public struct EnumerationValue: Sendable, Hashable {
    public let name: String
    public let features: [String]
}

/// A type where it is used: a definition's or builtin's name, or a list of those.
public struct TypeReference: Sendable, Hashable {
    public let name: String
    public let isList: Bool

    public init(_ name: String, isList: Bool = false) {
        self.name = name
        self.isList = isList
    }
}

public struct Member: Sendable, Hashable {
    public let name: String
    public let type: TypeReference
    public let isOptional: Bool
    public let features: [String]
}

public struct Structure: Sendable {
    /// The structure whose members come first.
    public let base: String?
    public let members: [Member]
}

public struct Union: Sendable {
    /// The structure whose members every branch has; the discriminator is one of them.
    public let base: Base
    public let discriminator: String
    /// Branches that add members. A value of the discriminator without one adds none.
    public let branches: [Branch]

    public enum Base: Sendable {
        case named(String)
        case inline([Member])
    }
}

public struct Branch: Sendable, Hashable {
    public let name: String
    public let type: TypeReference
}

/// What a command takes or an event carries.
public enum Arguments: Sendable {
    case none
    case inline([Member])
    case named(String)
}

public struct Command: Sendable {
    public let arguments: Arguments
    public let returns: TypeReference?
    /// The handler gets the arguments as one value.
    public let isBoxed: Bool
    public let allowsOutOfBand: Bool
    /// False where the monitor itself answers.
    public let isGenerated: Bool
}

/// The types that need no definition.
public enum Builtin: String, CaseIterable, Sendable {
    case str, int, number, bool, null, any, size
    case int8, int16, int32, int64, uint8, uint16, uint32, uint64

    /// The type as clients see it: all integers are `int`.
    public var introspectedName: String { jsonKind == "int" ? "int" : rawValue }

    /// The word of the introspection schema for the JSON kind of the value.
    public var jsonKind: String {
        switch self {
        case .str: "string"
        case .bool: "boolean"
        case .number: "number"
        case .null: "null"
        case .any: "value"
        default: "int"
        }
    }
}
