import JSON
import QAPI

/// Writes what `query-qmp-schema` answers as a constant.
enum IntrospectionEmitter {
    static func source(for schema: Schema) -> String {
        var out = SwiftText()
        out.document("The schema as data.")
        out.block("public enum SchemaData") { out in
            out.document("What `query-qmp-schema` answers.")
            out.value("public static let introspection: JSONValue =") { out in
                out.line("do throws(JSONError) {")
                out.line("    return try JSONValue.parse(text)")
                out.line("} catch {")
                out.line("    preconditionFailure(\"the generated schema is no JSON: \\(error)\")")
                out.line("}")
            }
            out.line()
            out.line("private static let text = ##\"\"\"")
            // One entity a line keeps the compiler's lines short; every character is ASCII.
            let entities = schema.introspection.arrayValue ?? []
            out.line("[" + entities.map { $0.text() }.joined(separator: ",\n        ") + "]")
            out.line("\"\"\"##")
        }
        return out.text
    }
}
