import JSON
import Testing

@testable import nacre

@Suite("QMP commands as they are typed")
struct QMPArgumentsTests {
    /// A small schema: one command whose argument holds an alternate and an enumeration.
    static let schema = QMPSchema([
        ["name": "add", "meta-type": "command", "arg-type": "1"],
        ["name": "quit", "meta-type": "command", "arg-type": "0"],
        ["name": "0", "meta-type": "object", "members": []],
        [
            "name": "1", "meta-type": "object",
            "members": [
                ["name": "driver", "type": "2"], ["name": "node-name", "type": "str"],
                ["name": "read-only", "type": "bool"], ["name": "size", "type": "int"],
            ],
            "variants": [["case": "file", "type": "3"]],
        ],
        ["name": "2", "meta-type": "enum", "members": [["name": "file"], ["name": "null-co"]]],
        ["name": "3", "meta-type": "object", "members": [["name": "child", "type": "4"]]],
        ["name": "4", "meta-type": "alternate", "members": [["type": "str"], ["type": "1"]]],
        ["name": "str", "meta-type": "builtin", "json-type": "string"],
        ["name": "bool", "meta-type": "builtin", "json-type": "boolean"],
        ["name": "int", "meta-type": "builtin", "json-type": "int"],
    ])

    private func request(_ words: [String], schema: QMPSchema? = schema) throws -> String {
        JSONValue.object(try QMPArguments(words, schema: schema).request).text()
    }

    @Test("values take the type that the schema says, so a number can be a name")
    func types() throws {
        let text = try request(["add", "node-name=1", "size=5", "read-only=on", "driver=file"])
        let value = try JSONValue.parse(text)
        #expect(value["arguments"]?["node-name"] == "1")
        #expect(value["arguments"]?["size"] == 5)
        #expect(value["arguments"]?["read-only"] == true)
        #expect(value["arguments"]?["driver"] == "file")
    }

    @Test("dots reach what lies deeper, and a reference stays a name")
    func nested() throws {
        let deep = try JSONValue.parse(try request(["add", "child.driver=null-co", "child.size=7"]))
        #expect(deep["arguments"]?["child"] == ["driver": "null-co", "size": 7])
        let sized = try JSONValue.parse(try request(["add", "size=64k"]))
        #expect(sized["arguments"]?["size"] == 65536)
        let flat = try JSONValue.parse(try request(["add", "child=n0"]))
        #expect(flat["arguments"]?["child"] == "n0")
    }

    @Test("JSON stands for arguments or for the whole request")
    func json() throws {
        #expect(try request(["add", #"{"size": 3}"#]) == #"{"execute": "add", "arguments": {"size": 3}}"#)
        #expect(try request([#"{"execute": "quit"}"#]) == #"{"execute": "quit"}"#)
        #expect(throws: QMPArguments.Mistake.self) { try request([#"{"execute": "quit"}"#, "x=1"]) }
        #expect(throws: QMPArguments.Mistake.self) { try request(["add", "{"]) }
        #expect(throws: QMPArguments.Mistake(message: "'x' is not key=value")) { try request(["add", "x"]) }
    }

    @Test("without a schema numbers and booleans are what they look like")
    func noSchema() throws {
        let value = try JSONValue.parse(try request(["x", "a=1", "b=true", "c=on", "d=text"], schema: nil))
        #expect(value["arguments"] == ["a": 1, "b": true, "c": "on", "d": "text"])
    }

    @Test("a typed line is split at spaces, quotes and brackets holding together")
    func words() throws {
        #expect(try QMPArguments.words(of: #"  add  a='x y' b="z" "#) == ["add", "a=x y", "b=z"])
        #expect(try QMPArguments.words(of: #"add {"a": "b c}"}"#) == ["add", #"{"a": "b c}"}"#])
        #expect(try QMPArguments.words(of: "") == [])
        #expect(throws: QMPArguments.Mistake.self) { try QMPArguments.words(of: "add 'x") }
    }

    @Test("Tab offers commands, then arguments, then values")
    func completion() {
        let completion = QMPCompletion(schema: Self.schema)
        #expect(completion.candidates(for: "") == ["add", "quit"])
        #expect(completion.candidates(for: "q") == ["quit"])
        #expect(completion.candidates(for: "add ") == ["child=", "driver=", "node-name=", "read-only=", "size="])
        #expect(completion.candidates(for: "add re") == ["read-only="])
        #expect(completion.candidates(for: "add driver=") == ["driver=file", "driver=null-co"])
        #expect(completion.candidates(for: "add child.dr") == ["child.driver="])
        #expect(completion.candidates(for: "add child.driver=n") == ["child.driver=null-co"])
        #expect(completion.candidates(for: "nothing x") == [])
    }
}
