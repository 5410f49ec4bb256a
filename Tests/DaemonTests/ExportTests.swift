import Block
import BlockTestKit
import JSON
import Testing

/// Exports while several clients manage them at once.
@Suite("Exports")
struct ExportTests {
    /// A node whose flush takes three seconds, one that is quick, and a running NBD server; `hold` has the graph
    /// changing for the three seconds from then on.
    private func prepare(_ bench: Bench) async throws -> (QMPClient, QMPClient, QMPClient) {
        let clients = (try await bench.client(), try await bench.client(), try await bench.client())
        let first = clients.0
        let slow: JSONValue = ["driver": "null-co", "node-name": "slow", "latency-ns": 3_000_000_000]
        for (command, arguments) in [
            ("blockdev-add", slow), ("blockdev-add", ["driver": "null-co", "node-name": "z"]),
            ("nbd-server-start", Self.address),
        ] as [(String, JSONValue)] {
            #expect(try await first.call(command, arguments)["return"] != nil)
        }
        return clients
    }

    private static let address: JSONValue = ["addr": ["type": "unix", "data": ["path": "/s"]]]

    /// Keeps the graph changing: the flush of the node takes its time.
    private func hold(_ bench: Bench, _ client: QMPClient) async throws {
        try await client.send(
            "blockdev-snapshot-sync", ["node-name": "slow", "snapshot-node-name": "s", "snapshot-file": "/raw"])
        await bench.context.sleep(ms: 1)
    }

    private func export(_ id: String, _ name: String, node: String = "z") -> JSONValue {
        ["type": "nbd", "id": .string(id), "node-name": .string(node), "name": .string(name)]
    }

    private func text(_ answer: JSONValue) -> String? { answer["error"]?["desc"]?.string }

    @Test("of two exports that are made at once with one id, one is refused; so with one name")
    func reserved() throws {
        for (one, other, refusal) in [
            (("e", "a"), ("e", "b"), "Block export id 'e' is already in use"),
            (("e", "a"), ("f", "a"), "NBD server already has export named 'a'"),
        ] {
            let bench = Bench()
            try bench.run {
                let (a, b, c) = try await prepare(bench)
                try await hold(bench, a)
                try await b.send("block-export-add", export(one.0, one.1))
                try await c.send("block-export-add", export(other.0, other.1))
                let answers = [try await b.answer(), try await c.answer()]
                #expect(answers.compactMap(text) == [refusal])
                _ = try await a.answer()
                #expect(try await a.call("query-block-exports")["return"]?.array?.count == 1)
                // What was reserved is free again once it is gone.
                #expect(try await a.call("block-export-del", ["id": .string(one.0)])["return"] != nil)
                #expect(try await a.call("block-export-add", export(one.0, one.1))["return"] != nil)
            }
        }
    }

    @Test("an export that is deleted while the server stops goes once, and is told once")
    func deletedWhileStopping() throws {
        let bench = Bench()
        try bench.run {
            let (a, b, c) = try await prepare(bench)
            #expect(try await a.call("block-export-add", export("e", "a"))["return"] != nil)
            try await hold(bench, a)
            try await b.send("block-export-del", ["id": "e", "mode": "hard"])
            try await c.send("nbd-server-stop")
            #expect(text(try await b.answer()) == nil)
            #expect(text(try await c.answer()) == nil)
            _ = try await a.answer()
            #expect(try await a.call("query-block-exports")["return"] == [])
            #expect(a.events("BLOCK_EXPORT_DELETED") == [["id": "e"]])
        }
    }

    @Test("while the server stops there is none: nothing is exported, a second stop is refused, another can start")
    func stopping() throws {
        let bench = Bench()
        try bench.run {
            let (a, b, c) = try await prepare(bench)
            #expect(try await a.call("block-export-add", export("e", "a"))["return"] != nil)
            try await hold(bench, a)
            let start = bench.context.nowNs
            try await b.send("nbd-server-stop")
            await bench.context.sleep(ms: 1)
            #expect(text(try await c.call("block-export-add", export("f", "b"))) == "NBD server not running")
            #expect(text(try await c.call("nbd-server-stop")) == "NBD server not running")
            #expect(text(try await c.call("nbd-server-start", Self.address)) == nil)
            #expect(bench.context.nowNs - start < 1_000_000_000)
            let deletion = text(try await c.call("block-export-del", ["id": "e"]))
            #expect(deletion == "Export 'e' is already shutting down")
            try await c.send("block-export-add", export("f", "b"))
            #expect(text(try await b.answer()) == nil)
            #expect(text(try await c.answer()) == nil)
            _ = try await a.answer()
            // The new server and its export are untouched.
            let nbd = try await bench.nbd("b")
            try await nbd.send(1, at: 0, 0)
            nbd.close()
            let exports = try await a.call("query-block-exports")["return"]?.array ?? []
            #expect(exports.map { $0["id"] } == ["f"])
        }
    }

    @Test("a hard deletion under a client is answered at once, and told when the client's requests have ended")
    func hardDeletion() throws {
        let bench = Bench()
        try bench.run {
            let (a, _, _) = try await prepare(bench)
            #expect(try await a.call("block-export-add", export("e", "a", node: "slow"))["return"] != nil)
            let nbd = try await bench.nbd("a")
            try await nbd.send(0, at: 0, 512)
            await bench.context.sleep(ms: 10)
            let start = bench.context.nowNs
            #expect(text(try await a.call("block-export-del", ["id": "e"])) == "export 'e' still in use")
            #expect(text(try await a.call("block-export-del", ["id": "e", "mode": "hard"])) == nil)
            #expect(bench.context.nowNs - start < 1_000_000_000)
            #expect(a.events("BLOCK_EXPORT_DELETED") == [])
            let ending = try await a.call("query-block-exports")["return"]?.array ?? []
            #expect(ending.map { $0["shutting-down"] } == [true])
            #expect(
                text(try await a.call("block-export-del", ["id": "e", "mode": "hard"]))
                    == "Export 'e' is already shutting down")
            await bench.context.sleep(ms: 4000)
            #expect(try await a.call("query-block-exports")["return"] == [])
            #expect(a.events("BLOCK_EXPORT_DELETED") == [["id": "e"]])
        }
    }

    @Test("without a client the deletion is told before it is answered")
    func quietDeletion() throws {
        let bench = Bench()
        try bench.run {
            let (a, _, _) = try await prepare(bench)
            #expect(try await a.call("block-export-add", export("e", "a"))["return"] != nil)
            try await a.send("block-export-del", ["id": "e", "mode": "hard"])
            _ = try await a.answer()
            #expect(a.messages.suffix(2).map { $0["event"]?.string } == ["BLOCK_EXPORT_DELETED", nil])
        }
    }

    @Test("a connection that the host did not let through is no reason to take no others")
    func acceptFailures() throws {
        let bench = Bench()
        bench.host.acceptFailures = [.permission, .io]
        try bench.run {
            let (a, _, _) = try await prepare(bench)
            #expect(try await a.call("block-export-add", export("e", "a"))["return"] != nil)
            let nbd = try await bench.nbd("a")
            try await nbd.send(3, at: 0, 0)
            #expect(try await nbd.reply() == 0)
            nbd.close()
        }
    }

    @Test("a number of one of the daemon's own descriptors is no name of a passed one")
    func foreignDescriptor() throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            let address: JSONValue = ["addr": ["type": "fd", "data": ["str": "7"]]]
            #expect(
                text(try await client.call("nbd-server-start", address))
                    == "File descriptor named '7' has not been found")
        }
    }

    @Test("an image that takes no more writes is told of, also where no client waits for a write")
    func fence() throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            let rule: JSONValue = ["event": "none", "iotype": "flush", "errno": 5]
            let file: JSONValue = ["driver": "file", "filename": "/image"]
            let faults: JSONValue = ["driver": "blkdebug", "image": file, "inject-error": [rule]]
            for (command, arguments) in [
                ("blockdev-add", ["driver": "qcow2", "node-name": "q", "file": faults]),
                ("nbd-server-start", Self.address),
                (
                    "block-export-add",
                    ["type": "nbd", "id": "e", "node-name": "q", "name": "a", "writable": true]
                ),
            ] as [(String, JSONValue)] {
                #expect(text(try await client.call(command, arguments)) == nil)
            }
            let nbd = try await bench.nbd("a")
            try await nbd.send(1, at: 0, 512, payload: [UInt8](repeating: 7, count: 512))
            #expect(try await nbd.reply() == 0)
            // Until the commit that nobody asked for.
            await bench.context.sleep(ms: 8000)
            let events = client.events("BLOCK_IO_ERROR")
            #expect(events.first?["node-name"] == "q")
            #expect(events.first?["operation"] == "write")
            nbd.close()
        }
    }

    @Test("an export is served on its I/O thread, which stays as long as the export")
    func ioThread() throws {
        let bench = Bench()
        try bench.run {
            let (a, _, _) = try await prepare(bench)
            func wanting(_ thread: String, id: String, fixed: Bool = false) -> JSONValue {
                guard case .object(var members) = export(id, id) else { return .null }
                members["iothread"] = .string(thread)
                members["fixed-iothread"] = .bool(fixed)
                return .object(members)
            }
            #expect(
                text(try await a.call("block-export-add", wanting("io1", id: "e")))
                    == #"iothread "io1" not found"#)
            for id in ["io1", "io2"] {
                let object: JSONValue = ["qom-type": "iothread", "id": .string(id)]
                #expect(try await a.call("object-add", object)["return"] != nil)
            }
            #expect(try await a.call("block-export-add", wanting("io1", id: "e"))["return"] != nil)
            #expect(
                text(try await a.call("block-export-add", wanting("io2", id: "f", fixed: true)))
                    == "Cannot change iothread of active block backend")
            // Where it may be another one it is the node's.
            #expect(try await a.call("block-export-add", wanting("io2", id: "f"))["return"] != nil)
            #expect(try await a.call("object-del", ["id": "io2"])["return"] != nil)
            let refusal = "object 'io1' is in use, can not be deleted"
            #expect(text(try await a.call("object-del", ["id": "io1"])) == refusal)
            let reader = try await bench.nbd("e")
            try await reader.send(3, at: 0, 0)
            #expect(try await reader.reply() == 0)
            for id in ["e", "f"] {
                #expect(text(try await a.call("object-del", ["id": "io1"])) == refusal)
                let deletion: JSONValue = ["id": .string(id), "mode": "hard"]
                #expect(try await a.call("block-export-del", deletion)["return"] != nil)
                await bench.context.sleep(ms: 1)
            }
            #expect(try await a.call("object-del", ["id": "io1"])["return"] != nil)
            #expect(bench.host.threads == 0)
        }
    }
}
