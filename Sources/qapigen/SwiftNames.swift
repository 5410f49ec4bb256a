import QAPI

/// Schema names as Swift spells them.
enum SwiftNames {
    private static let reserved: Set<String> = [
        "as", "associatedtype", "break", "case", "catch", "class", "continue", "default", "defer", "deinit", "do", "else",
        "enum", "extension", "fallthrough", "false", "for", "func", "guard", "if", "import", "in", "init", "inout",
        "internal", "is", "let", "nil", "operator", "precedencegroup", "private", "protocol", "public", "repeat",
        "rethrows", "return", "self", "Self", "static", "struct", "subscript", "super", "switch", "throw", "throws",
        "true", "try", "typealias", "var", "where", "while", "Type", "Protocol",
    ]

    /// `node-name`, `host_device`, `BLOCK_IO_ERROR` → `nodeName`, `hostDevice`, `blockIoError`.
    static func member(_ name: String) -> String {
        let plain = plainMember(name)
        return reserved.contains(plain) ? "`\(plain)`" : plain
    }

    static func plainMember(_ name: String) -> String {
        let isShouting = name == name.uppercased()
        let words = name.split { $0 == "-" || $0 == "_" || $0 == "." }.map { isShouting ? $0.lowercased() : String($0) }
        var result = words.first ?? ""
        for word in words.dropFirst() { result += word.prefix(1).uppercased() + word.dropFirst() }
        if let first = result.first, first.isNumber { result = "_" + result }
        return result
    }

    /// `block-core` → `BlockCore`.
    static func type(_ name: String) -> String {
        let member = plainMember(name)
        return member.prefix(1).uppercased() + member.dropFirst()
    }

    private static let builtins = [
        "str": "String", "bool": "Bool", "number": "Double", "int": "Int64", "size": "UInt64", "any": "JSONValue",
        "null": "SchemaNull", "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64", "uint8": "UInt8",
        "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
    ]

    static func type(_ reference: TypeReference) -> String {
        let name = builtins[reference.name] ?? reference.name
        return reference.isList ? "[\(name)]" : name
    }

    static func type(_ member: Member) -> String { type(member.type) + (member.isOptional ? "?" : "") }
}
