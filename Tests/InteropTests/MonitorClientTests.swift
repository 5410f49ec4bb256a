import Testing

@Suite("QMP clients", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct MonitorClientTests {
    private func serve(_ scratch: Scratch, words: [String] = []) async throws -> Daemon {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "4M")
        return try await scratch.daemon(.init(image: scratch.file("disk.qcow2"), words: words))
    }

    @Test("the greeting names the generation that we follow, and the schema describes every command")
    func greeting() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let monitor = try await daemon.monitor()
            let version = monitor.greeting["QMP"]?["version"]
            #expect(version?["qemu"] == ["major": 7, "minor": 2, "micro": 22])
            #expect(monitor.greeting["QMP"]?["capabilities"] == ["oob"])
            if !Subject.isPeer { #expect(version?["package"]?.string?.contains("nacre") == true) }
            let schema = try await monitor.execute("query-qmp-schema").items
            let named = Set(schema.filter { $0["meta-type"] == "command" }.compactMap { $0["name"]?.string })
            let commands = try await monitor.execute("query-commands").items.compactMap { $0["name"]?.string }
            #expect(!commands.isEmpty && named == Set(commands))
            try await daemon.stop()
        }
    }

    @Test("several monitors work side by side, and all of them hear of events")
    func several() async throws {
        try await Scratch.use { scratch in
            let second = scratch.file("second.qmp")
            let daemon = try await serve(
                scratch,
                words: ["--chardev", "socket,id=m2,path=\(second),server=on,wait=off", "--monitor", "chardev=m2"])
            let one = try await daemon.monitor()
            let two = try await QMPSession(second)
            try await one.execute("block-export-del", ["id": "e0"])
            #expect(try await one.event("BLOCK_EXPORT_DELETED")?["data"]?["id"] == "e0")
            #expect(try await two.event("BLOCK_EXPORT_DELETED")?["data"]?["id"] == "e0")
            #expect(try await two.execute("query-block-exports") == [])
            try await daemon.stop()
        }
    }

    @Test("nodes come and go over QMP, and are refused with QEMU's words where that cannot be")
    func nodes() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let monitor = try await daemon.monitor()
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "other.qcow2", "2M")
            let other: JSONValue = [
                "driver": "qcow2", "node-name": "other",
                "file": ["driver": "file", "filename": .string(scratch.file("other.qcow2"))],
            ]
            try await monitor.execute("blockdev-add", other)
            #expect(
                try await monitor.refusal("blockdev-add", other).text == "Duplicate nodes with node-name='other'")
            #expect(
                try await monitor.refusal("blockdev-del", ["node-name": "disk"]).text == "Node disk is in use")
            #expect(
                try await monitor.refusal("blockdev-del", ["node-name": "absent"]).text
                    == "Failed to find node with node-name='absent'")
            let export: JSONValue = ["type": "nbd", "id": "e1", "node-name": "other", "name": "other"]
            try await monitor.execute("block-export-add", export)
            #expect(
                try await monitor.refusal("block-export-add", export).text == "Block export id 'e1' is already in use")
            try await scratch.io(["read -P 0 0 2M"], daemon.uri("other"), options: ["-r"])
            try await monitor.execute("block-export-del", ["id": "e1"])
            try await monitor.execute("blockdev-del", ["node-name": "other"])
            try await scratch.ok("qemu-io", "-f", "qcow2", "-c", "write 0 4k", "other.qcow2")
            try await daemon.stop()
        }
    }

    @Test("nbd-server-stop ends the server, and a new one can be started")
    func server() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let monitor = try await daemon.monitor()
            let address: JSONValue = [
                "addr": ["type": "unix", "data": ["path": .string(scratch.file("n.nbd"))]]
            ]
            #expect(try await monitor.refusal("nbd-server-start", address).text == "NBD server already running")
            try await monitor.execute("nbd-server-stop")
            #expect(try await monitor.event("BLOCK_EXPORT_DELETED") != nil)
            #expect(try await monitor.refusal("nbd-server-stop").text == "NBD server not running")
            try await monitor.execute("nbd-server-start", address)
            try await monitor.execute(
                "block-export-add", ["type": "nbd", "id": "e2", "node-name": "disk", "name": "again", "writable": true])
            try await scratch.io(
                ["write -P 1 0 64k", "read -P 1 0 64k"], "nbd+unix:///again?socket=\(scratch.file("n.nbd"))")
            try await daemon.stop()
            try await scratch.expectClean("disk.qcow2")
        }
    }

    @Test("a snapshot onto a file that holds something is refused, and the file stays", .onlyNacre)
    func overwrites() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let monitor = try await daemon.monitor()
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "precious.qcow2", "1M")
            let before = try ImageBytes(scratch.file("precious.qcow2")).bytes
            let arguments: JSONValue = [
                "node-name": "disk", "snapshot-file": .string(scratch.file("precious.qcow2")),
                "snapshot-node-name": "top",
            ]
            let refusal = try await monitor.refusal("blockdev-snapshot-sync", arguments)
            #expect(refusal.errorClass == "GenericError" && refusal.text.contains("precious.qcow2"), "\(refusal)")
            #expect(try ImageBytes(scratch.file("precious.qcow2")).bytes == before)
            try await scratch.io(["write -P 1 0 64k"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean("disk.qcow2")
        }
    }

    @Test("an overlay over a node that nobody uses stays, owned by the monitor", .onlyNacre)
    func ownedOverlay() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let monitor = try await daemon.monitor()
            try await monitor.execute("block-export-del", ["id": "e0"])
            try await monitor.execute(
                "blockdev-snapshot-sync",
                ["node-name": "disk", "snapshot-file": .string(scratch.file("top.qcow2")), "snapshot-node-name": "top"])
            try await monitor.execute(
                "block-export-add", ["type": "nbd", "id": "e1", "node-name": "top", "name": "top", "writable": true])
            try await scratch.io(["write -P 1 0 64k", "read -P 1 0 64k"], daemon.uri("top"))
            try await daemon.stop()
            try await scratch.expectClean("top.qcow2")
            try await scratch.io(["read -P 1 0 64k"], "top.qcow2", format: "qcow2")
            try await scratch.io(["read -P 0 0 64k"], "disk.qcow2", format: "qcow2")
        }
    }

    @Test(
        "nacre qmp runs one command, with arguments as words or as JSON, and its status tells how it went", .onlyNacre)
    func tool() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            let qmp = [Subject.nacre, "qmp", daemon.monitorPath]
            let version = try await scratch.json(qmp + ["query-version"])
            #expect(version["qemu"]?["major"] == 7)
            try await scratch.ok(
                qmp + ["blockdev-add", "driver=null-co", "node-name=n", "size=1048576", "read-zeroes=true"])
            try await scratch.ok(qmp + ["blockdev-add", "{\"driver\": \"null-co\", \"node-name\": \"m\"}"])
            let nodes = try await scratch.json(qmp + ["query-named-block-nodes", "flat=true"]).items
            let names = nodes.compactMap { $0["node-name"]?.string }
            #expect(names.contains("n") && names.contains("m") && names.contains("disk"), "\(names)")
            let refused = try await scratch.run(qmp + ["blockdev-del", "node-name=absent"])
            #expect(refused.status == 1)
            #expect((refused.out + refused.err).contains("Failed to find node with node-name='absent'"))
            let nobody = try await scratch.run([Subject.nacre, "qmp", scratch.file("absent.qmp"), "query-version"])
            #expect(nobody.status != 0 && !nobody.err.isEmpty)
            try await daemon.stop()
        }
    }
}
