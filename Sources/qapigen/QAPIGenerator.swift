import Foundation
import QAPI

/// `qapigen SCHEMA-DIR OUT-DIR [--docs FILE]`: writes the Swift sources of the schema, and with `--docs` the manual.
/// `qapigen --check SCHEMA-DIR FILE` ends with 1 if the manual in FILE is not that of the schema.
@main
struct QAPIGenerator {
    static let title = "QMP reference"

    static func main() {
        do {
            try run(Array(CommandLine.arguments.dropFirst()))
        } catch {
            FileHandle.standardError.write(Data("qapigen: \(error)\n".utf8))
            exit(1)
        }
    }

    private struct Usage: Error, CustomStringConvertible {
        let description: String
    }

    private static func run(_ arguments: [String]) throws {
        if arguments.count == 3, arguments[0] == "--check" {
            let manual = ReferenceManual.markdown(of: try schema(in: arguments[1]), title: title)
            guard try String(contentsOfFile: arguments[2], encoding: .utf8) == manual else {
                throw Usage(description: "\(arguments[2]) is not the manual of \(arguments[1])")
            }
            return
        }
        let hasDocs = arguments.count == 4 && arguments[2] == "--docs"
        guard arguments.count == 2 || hasDocs else {
            throw Usage(description: "usage: qapigen SCHEMA-DIR OUT-DIR [--docs FILE] | --check SCHEMA-DIR FILE")
        }
        let schema = try schema(in: arguments[0])
        let folder = URL(fileURLWithPath: arguments[1], isDirectory: true)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // The plugin names these four: keep them in step.
        try write(TypeEmitter.source(for: schema), to: folder.appendingPathComponent("SchemaTypes.swift"))
        try write(CommandEmitter.source(for: schema), to: folder.appendingPathComponent("SchemaCommands.swift"))
        try write(EventEmitter.source(for: schema), to: folder.appendingPathComponent("SchemaEvents.swift"))
        try write(IntrospectionEmitter.source(for: schema), to: folder.appendingPathComponent("SchemaData.swift"))
        if hasDocs {
            try write(ReferenceManual.markdown(of: schema, title: title), to: URL(fileURLWithPath: arguments[3]))
        }
    }

    private static func schema(in folder: String) throws -> Schema {
        let base = URL(fileURLWithPath: folder, isDirectory: true)
        return try SchemaBuilder.schema(root: "schema.json") { name in
            try? String(contentsOf: base.appendingPathComponent(name), encoding: .utf8)
        }
    }

    private static func write(_ text: String, to file: URL) throws {
        try Data(text.utf8).write(to: file, options: .atomic)
    }
}
