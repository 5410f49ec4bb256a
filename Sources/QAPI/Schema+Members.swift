extension Schema {
    /// The members of a structure with those of its bases first.
    public func members(of structure: Structure) -> [Member] {
        var members = structure.members
        var base = structure.base
        while let name = base, case .structure(let parent)? = self[name]?.kind {
            members = parent.members + members
            base = parent.base
        }
        return members
    }

    public func members(of base: Union.Base) -> [Member] {
        switch base {
        case .inline(let members): return members
        case .named(let name):
            guard case .structure(let structure)? = self[name]?.kind else { return [] }
            return members(of: structure)
        }
    }

    /// The members of what a command takes, for those with a plain structure; a union answers its base.
    public func members(of arguments: Arguments) -> [Member] {
        switch arguments {
        case .none: return []
        case .inline(let members): return members
        case .named(let name):
            switch self[name]?.kind {
            case .structure(let structure): return members(of: structure)
            case .union(let union): return members(of: union.base)
            default: return []
            }
        }
    }

    /// The values of the enum that chooses the branch.
    public func discriminatorValues(of union: Union) -> [EnumerationValue] {
        guard let tag = members(of: union.base).first(where: { $0.name == union.discriminator }),
            case .enumeration(let values)? = self[tag.type.name]?.kind
        else { return [] }
        return values
    }

    /// The kind of JSON value that a type is written as: what an alternate is told apart by.
    public func jsonKind(of type: TypeReference) -> String {
        if type.isList { return "array" }
        if let builtin = Builtin(rawValue: type.name) { return builtin.jsonKind == "int" ? "number" : builtin.jsonKind }
        if case .enumeration? = self[type.name]?.kind { return "string" }
        return "object"
    }
}
