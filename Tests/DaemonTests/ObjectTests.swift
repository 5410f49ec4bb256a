import BlockTestKit
import JSON
import Testing

/// Objects: what stands for the thread that serves everybody.
@Suite("Objects")
struct ObjectTests {
    private func desc(_ answer: JSONValue) -> String? { answer["error"]?["desc"]?.string }

    @Test("the main loop takes how long to look for work, once, within bounds, and gives it up with the object")
    func mainLoop() throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            let add: JSONValue = ["qom-type": "main-loop", "id": "loop", "poll-max-ns": 32_000]
            #expect(try await client.call("object-add", add)["return"] != nil)
            #expect(bench.host.pollMaxNs == 32_000)
            let other: JSONValue = ["qom-type": "main-loop", "id": "other"]
            #expect(desc(try await client.call("object-add", other)) == "only one main-loop instance allowed")
            let property: JSONValue = ["path": "/objects/loop", "property": "poll-max-ns"]
            #expect(try await client.call("qom-get", property)["return"] == 32_000)
            for (value, refusal) in [
                (-1, "poll-max-ns value must be in range [0, 1000000000]"),
                (1_000_000_001, "poll-max-ns value must be in range [0, 1000000000]"), (0, nil), (7, nil),
            ] as [(Int64, String?)] {
                let setting: JSONValue = ["path": "loop", "property": "poll-max-ns", "value": .int(value)]
                #expect(desc(try await client.call("qom-set", setting)) == refusal)
            }
            #expect(bench.host.pollMaxNs == 7)
            #expect(try await client.call("object-del", ["id": "loop"])["return"] != nil)
            #expect(bench.host.pollMaxNs == 0)
        }
    }

    @Test("a main loop that is refused leaves nothing")
    func refused() throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            let bad: JSONValue = ["qom-type": "main-loop", "id": "loop", "poll-max-ns": -5]
            #expect(desc(try await client.call("object-add", bad)) != nil)
            let good: JSONValue = ["qom-type": "main-loop", "id": "loop"]
            #expect(try await client.call("object-add", good)["return"] != nil)
        }
    }

    @Test("an I/O thread is taken, told of, set and given back, and refused where it asks for what cannot be")
    func ioThread() throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            let bad: JSONValue = ["qom-type": "iothread", "id": "io", "poll-max-ns": -5]
            #expect(
                desc(try await client.call("object-add", bad))
                    == "poll-max-ns value must be in range [0, 1000000000]")
            #expect(bench.host.threads == 0)
            let add: JSONValue = ["qom-type": "iothread", "id": "io", "poll-grow": 3]
            #expect(try await client.call("object-add", add)["return"] != nil)
            #expect(bench.host.threads == 1)
            #expect(
                desc(try await client.call("object-add", add))
                    == "attempt to add duplicate property 'io' to object (type 'container')")
            let list = try await client.call("qom-list", ["path": "/objects"])["return"]?.array ?? []
            #expect(list.contains(["name": "io", "type": "child<iothread>"]))
            for (name, value) in [("poll-max-ns", 32_768), ("poll-grow", 3), ("poll-shrink", 0)] as [(String, Int64)] {
                let property: JSONValue = ["path": "/objects/io", "property": .string(name)]
                #expect(try await client.call("qom-get", property)["return"] == .int(value))
            }
            let setting: JSONValue = ["path": "io", "property": "poll-max-ns", "value": 9]
            #expect(try await client.call("qom-set", setting)["return"] != nil)
            let property: JSONValue = ["path": "io", "property": "poll-max-ns"]
            #expect(try await client.call("qom-get", property)["return"] == 9)
            #expect(try await client.call("object-del", ["id": "io"])["return"] != nil)
            #expect(bench.host.threads == 0)
            #expect(desc(try await client.call("object-del", ["id": "io"])) == "object 'io' not found")
        }
    }
}
