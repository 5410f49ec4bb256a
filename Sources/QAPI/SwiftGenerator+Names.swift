extension SwiftGenerator {
    /// A schema type as Swift writes it.
    func type(_ name: Schema.TypeName) -> String {
        let plain: String
        switch name.name {
        case "str": plain = "String"
        case "bool": plain = "Bool"
        case "number": plain = "Double"
        case "null": plain = "QAPINull"
        case "any": plain = "JSONValue"
        case "size": plain = "QAPISize"
        case "uint64", "uint32", "uint16", "uint8": plain = "UI" + name.name.dropFirst(2)
        case "int32", "int16", "int8": plain = "I" + name.name.dropFirst()
        case let builtin where Schema.builtins[builtin] != nil: plain = "Int64"
        default: plain = name.name
        }
        return name.isArray ? "[\(plain)]" : plain
    }

    /// A member's type; one that holds its owner's own type is kept apart from it, for a structure cannot hold itself.
    func type(_ member: Schema.Member, in owner: String) -> String {
        let plain = type(member.type)
        return (plain == owner ? "QAPIIndirect<\(plain)>" : plain) + (member.isOptional ? "?" : "")
    }

    /// `block-export-add` as `BlockExportAdd`; names in capitals are lowered first.
    static func type(_ name: String) -> String {
        let lowered = name.allSatisfy { $0.isUppercase || $0 == "_" || $0.isNumber } ? name.lowercased() : name
        return words(lowered).map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }

    /// `read-only` as `readOnly`, quoted so that no word of Swift is in the way.
    static func member(_ name: String) -> String {
        let words = words(name)
        let joined = (words.first ?? "") + words.dropFirst().map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
        let first = joined.first.map { $0.isNumber } ?? true
        return "`\(first ? "_" : "")\(joined)`"
    }

    private static func words(_ name: String) -> [String] {
        name.split(whereSeparator: { !$0.isLetter && !$0.isNumber }).map(String.init)
    }

    /// A documentation comment, wrapped.
    func comment(_ text: String, _ indent: String) -> String {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, line.count + word.count + indent.count > 110 {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        if !line.isEmpty { lines.append(line) }
        return lines.map { "\(indent)/// \($0)\n" }.joined()
    }
}

extension Array where Element: Hashable {
    /// Each element once, in order of its first place.
    var uniqued: [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
