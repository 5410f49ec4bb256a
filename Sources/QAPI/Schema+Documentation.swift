extension Schema {
    /// What the documentation lacks, and what it speaks of that is not there; empty for a schema whose manual is whole.
    public var documentationGaps: [String] {
        definitions.flatMap { definition -> [String] in
            let documentation = definition.documentation
            var gaps = documentation.summary.isEmpty ? [definition.name] : []
            let parts = Self.documentedParts(of: definition)
            gaps += parts.filter { documentation.members[$0]?.isEmpty ?? true }.map { "\(definition.name).\($0)" }
            gaps += documentation.members.keys.filter { !parts.contains($0) }.map {
                "\(definition.name).\($0): not there"
            }
            let flags = definition.features.filter { documentation.features[$0]?.isEmpty ?? true }
            return gaps + flags.map { "\(definition.name): feature \($0)" }
        }
    }

    private static func documentedParts(of definition: Definition) -> [String] {
        switch definition.kind {
        case .enumeration(let enumeration): enumeration.values.map(\.name)
        case .structure(let structure): structure.members.map(\.name)
        case .alternate(let alternate): alternate.choices.map(\.name)
        case .command(let command): command.members.map(\.name)
        case .event(let event): event.members.map(\.name)
        }
    }
}
