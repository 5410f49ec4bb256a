import Foundation
import JSON
import QAPI
import Testing

@Suite("The schema language")
struct SchemaTests {
    private func read(_ text: String) throws -> Schema { try Schema.read([("test.json", text)]) }

    @Test(
        "a schema that cannot be honoured is refused",
        arguments: [
            "{ 'struct': 'A', 'data': { 'x': 'Missing' } }",
            "{ 'struct': 'A', 'base': 'Missing', 'data': {} }",
            "{ 'enum': 'A', 'data': [ 'x' ] } { 'enum': 'A', 'data': [ 'y' ] }",
            "{ 'command': 'a', 'data': 'Missing' }", "{ 'command': 'a', 'returns': [ 'Missing' ] }",
            "{ 'union': 'U', 'base': { 't': 'str' }, 'discriminator': 't', 'data': {} }",
            "{ 'enum': 'E', 'data': [ 'a' ] } { 'struct': 'S', 'data': {} } "
                + "{ 'union': 'U', 'base': { 't': 'E' }, 'discriminator': 't', 'data': { 'b': 'S' } }",
            "{ 'enum': 'E', 'data': [ 'a' ] } "
                + "{ 'union': 'U', 'base': { 't': 'E' }, 'discriminator': 't', 'data': { 'a': 'Missing' } }",
            "{ 'nonsense': 'A' }", "{ 'struct': 'A', 'data': { 'x': [ 'str', 'int' ] } }",
            "{ 'struct': 'A', 'data': { 'x': 'str' }", "{ 'struct' 'A' }", "}",
        ])
    func refusals(_ text: String) {
        #expect(throws: SchemaError.self) { try read(text) }
    }

    @Test("every definition, member, value and feature of our schema is documented, and nothing that is not there")
    func documentation() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Schema").resolvingSymlinksInPath()
        let files = try FileManager.default.contentsOfDirectory(at: root, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "json" }
        #expect(!files.isEmpty)
        let schema = try Schema.read(
            try files.map { ($0.lastPathComponent, try String(contentsOf: $0, encoding: .utf8)) })
        #expect(schema.documentationGaps == [])
    }

    @Test("what is wrong with a schema is told with its place")
    func place() {
        #expect { try read("# a comment\n{ 'nonsense': 'A' }\n") } throws: { error in
            (error as? SchemaError)?.description == "test.json:2: an expression defines nothing"
        }
    }

    @Test("the introspection data names every type that it uses, and no type twice")
    func selfContained() throws {
        let schema = try read(
            """
            { 'enum': 'E', 'data': [ 'a', 'b' ] }
            { 'struct': 'Base', 'data': { 'first': 'int' } }
            { 'struct': 'S', 'base': 'Base', 'data': { '*x': [ 'U' ], 'y': { 'type': 'str', 'features': [ 'deprecated' ] } } }
            { 'union': 'U', 'base': { 't': 'E' }, 'discriminator': 't', 'data': { 'a': 'S' } }
            { 'alternate': 'A', 'data': { 'one': 'U', 'other': 'str' } }
            { 'command': 'c', 'data': { 'a': 'A' }, 'returns': [ 'S' ], 'features': [ 'f' ], 'allow-oob': true }
            { 'event': 'V', 'data': { 'n': 'uint8' } }
            { 'struct': 'Unused', 'data': {} }
            """)
        let entities = Introspection(schema).value.array ?? []
        let names = entities.compactMap { $0["name"]?.string }
        #expect(Set(names).count == names.count)
        for entity in entities {
            for name in used(by: entity) { #expect(names.contains(name), "\(name) in \(entity.text())") }
        }
        let command = entities.first { $0["name"] == "c" }
        #expect(command?["features"] == ["f"])
        #expect(command?["allow-oob"] == true)
        #expect(
            !entities.contains { $0["meta-type"] == "object" && $0["members"]?.array?.count == 3 && $0["tag"] != nil })
    }

    private func used(by entity: JSONValue) -> [String] {
        var names = ["arg-type", "ret-type", "element-type"].compactMap { entity[$0]?.string }
        for list in ["members", "variants"] {
            for part in entity[list]?.array ?? [] { if let type = part["type"]?.string { names.append(type) } }
        }
        return names
    }
}
