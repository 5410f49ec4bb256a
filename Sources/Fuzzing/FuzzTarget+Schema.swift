import QAPI

extension FuzzTarget {
    /// Input: a schema file, or two with a NUL between them. It is refused with its place, or all that is made of a schema
    /// can be made of it.
    static let schema = FuzzTarget(name: "schema") { input in
        let files = input.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false).enumerated().map {
            ("file\($0.offset).json", String(decoding: $0.element, as: UTF8.self))
        }
        let schema: Schema
        do throws(SchemaError) { schema = try Schema.read(files) } catch {
            return try expect(!error.place.isEmpty && !error.message.isEmpty, "an error says neither where nor what")
        }
        _ = ManualGenerator(schema).text
        let generator = SwiftGenerator(schema)
        for file in SwiftGenerator.files { _ = generator.text(of: file) }
        _ = Introspection(schema).value
    }
}
