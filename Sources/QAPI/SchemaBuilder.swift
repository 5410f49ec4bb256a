/// Understands the expressions of the schema files and makes definitions of them.
///
/// The files are read through `read`, so that tests need no disk: it maps a file's name to its text.
public struct SchemaBuilder {
    private let read: (String) -> String?
    private var schema = Schema()
    private var seen: Set<String> = []

    private init(read: @escaping (String) -> String?) { self.read = read }

    /// Reads `root` and what it includes, and checks the whole.
    public static func schema(root: String, read: @escaping (String) -> String?) throws(SchemaError) -> Schema {
        var builder = SchemaBuilder(read: read)
        try builder.include(root, from: root, line: 1)
        let schema = builder.schema
        try SchemaChecker(schema).check()
        return schema
    }

    private mutating func include(_ file: String, from parent: String, line: Int) throws(SchemaError) {
        guard seen.insert(file).inserted else { return }
        guard let text = read(file) else { throw SchemaError("cannot read '\(file)'", file: parent, line: line) }
        var parser = try SchemaSyntaxParser(text: text, file: file)
        var module = Schema.Module(name: file.hasSuffix(".json") ? String(file.dropLast(5)) : file)
        for expression in try parser.expressions() {
            module.introduction += expression.freeText.map { $0.joined(separator: "\n") }
            if case .string(let other)? = expression.object["include"] {
                try include(other, from: file, line: expression.object.line)
                continue
            }
            let definition = try SchemaDefinitionReader(expression: expression, file: file).definition()
            guard schema.definitions[definition.name] == nil, Builtin(rawValue: definition.name) == nil else {
                throw SchemaError("'\(definition.name)' is already defined", file: file, line: definition.line)
            }
            schema.definitions[definition.name] = definition
            module.definitions.append(definition)
        }
        module.introduction += parser.trailingText.map { $0.joined(separator: "\n") }
        schema.modules.append(module)
    }
}
