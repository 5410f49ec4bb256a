import Foundation
import QAPI

// qapigen SCHEMA-DIR OUT-DIR   writes the Swift of the schema
// qapigen --manual SCHEMA-DIR  prints the reference manual

func read(_ folder: String) throws -> Schema {
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".json") }.sorted()
    return try Schema.read(
        try names.map { ($0, try String(contentsOfFile: "\(folder)/\($0)", encoding: .utf8)) })
}

do {
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch arguments.count {
    case 2 where arguments[0] == "--manual":
        print(ManualGenerator(try read(arguments[1])).text, terminator: "")
    case 2:
        let generator = SwiftGenerator(try read(arguments[0]))
        for file in SwiftGenerator.files {
            try generator.text(of: file).write(toFile: "\(arguments[1])/\(file)", atomically: true, encoding: .utf8)
        }
    default:
        FileHandle.standardError.write(Data("usage: qapigen SCHEMA-DIR OUT-DIR | qapigen --manual SCHEMA-DIR\n".utf8))
        exit(2)
    }
} catch {
    FileHandle.standardError.write(Data("qapigen: \(error)\n".utf8))
    exit(1)
}
