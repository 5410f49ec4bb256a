import FoundationEssentials
import Testing

@Suite("Dirty bitmaps", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "qemu-storage-daemon"))
struct BitmapTests {
    private let mib: UInt64 = 1 << 20

    /// What `nbdinfo` and `qemu-img map` say of a bitmap: offset and length of what is dirty. Both have to agree.
    static func marks(_ scratch: Scratch, _ socket: String, _ export: String, _ bitmap: String) async throws
        -> [[UInt64]]
    {
        let uri = "nbd+unix:///\(export)?socket=\(scratch.file(socket))"
        let told = try await scratch.json(["nbdinfo", "--json", "--map=qemu:dirty-bitmap:\(bitmap)", uri])
        let dirty = told.items.filter { $0["type"] == 1 }.map {
            [$0["offset"]?.number ?? 0, $0["length"]?.number ?? 0]
        }
        let map = try await scratch.json([
            "qemu-img", "map", "--output=json", "--image-opts",
            "driver=nbd,export=\(export),server.type=unix,server.path=\(scratch.file(socket)),"
                + "x-dirty-bitmap=qemu:dirty-bitmap:\(bitmap)",
        ])
        // QEMU shows dirty as what is not data.
        let holes = map.items.filter { $0["data"] == false }.map {
            [$0["start"]?.number ?? 0, $0["length"]?.number ?? 0]
        }
        #expect(holes == dirty)
        return dirty
    }

    @Test("what clients change is told alike by nbdinfo and qemu-img, sums included, and as QEMU's daemon has it")
    func overNBD() async throws {
        try await Scratch.use { scratch in
            var told: [[JSONValue]] = []
            for isOurs in [true, false] {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "16M")
                let name = isOurs ? "ours" : "qemu"
                let ours = scratch.daemonWords(.init(image: "disk.qcow2", formatOptions: ["discard=unmap"]), name: name)
                let theirs = ["qemu-storage-daemon"] + ours.dropFirst(Subject.daemon.count + Subject.allowing("").count)
                let child = try scratch.start(isOurs ? ours : theirs)
                guard try await scratch.appears("\(name).qmp") else { throw Trouble("no monitor: \(child.err)") }
                let monitor = try await QMPSession(scratch.file("\(name).qmp"))
                for (bitmap, granularity) in [("fine", 512), ("rough", 1 << 20)] as [(String, UInt64)] {
                    try await monitor.execute(
                        "block-dirty-bitmap-add",
                        ["node": "disk", "name": .string(bitmap), "granularity": .unsigned(granularity)])
                }
                let uri = "nbd+unix:///disk?socket=\(scratch.file("\(name).nbd"))"
                try await scratch.io(
                    ["write -P 1 1000 1", "write -P 1 3M 70k", "write -z 5M 1M", "discard 8M 128k", "read 0 4M"], uri)
                let names: JSONValue = ["fine", ["node": "disk", "name": "rough"]]
                try await monitor.execute(
                    "block-export-add",
                    ["type": "nbd", "id": "e1", "node-name": "disk", "name": "map", "writable": true, "bitmaps": names])
                let fine = try await Self.marks(scratch, "\(name).nbd", "map", "fine")
                let fineMarks: [[UInt64]] = [[512, 512], [3 * mib, 71680], [5 * mib, mib], [8 * mib, 131_072]]
                #expect(fine == fineMarks)
                let rough = try await Self.marks(scratch, "\(name).nbd", "map", "rough")
                let roughMarks: [[UInt64]] = [[0, mib], [3 * mib, mib], [5 * mib, mib], [8 * mib, mib]]
                #expect(rough == roughMarks)
                var sums: [JSONValue] = []
                for bitmap in ["fine", "rough"] {
                    sums.append(
                        try await monitor.execute(
                            "x-debug-block-dirty-bitmap-sha256", ["node": "disk", "name": .string(bitmap)]))
                }
                told.append(sums + [.string("\(fine)\(rough)")])
                child.signal(15)
                try await child.wait(seconds: 20)
            }
            #expect(told.first == told.last)
        }
    }

    /// The bitmaps in an image's format specific information, as a program tells them.
    private func listed(_ scratch: Scratch, _ tool: [String], _ image: String) async throws -> JSONValue? {
        try await scratch.json(tool + ["info", "--output=json", image])["format-specific"]?["data"]?["bitmaps"]
    }

    /// The sum of a bitmap of a closed image, by one program.
    private func sum(_ scratch: Scratch, ours isOurs: Bool, _ image: String, _ bitmap: String) async throws -> JSONValue
    {
        let name = isOurs ? "so" : "st"
        let ours = scratch.daemonWords(.init(image: image), name: name)
        let theirs = ["qemu-storage-daemon"] + ours.dropFirst(Subject.daemon.count + Subject.allowing("").count)
        let child = try scratch.start(isOurs ? ours : theirs)
        guard try await scratch.appears("\(name).qmp") else { throw Trouble("no monitor: \(child.err)") }
        let monitor = try await QMPSession(scratch.file("\(name).qmp"))
        let answer = try await monitor.execute(
            "x-debug-block-dirty-bitmap-sha256", ["node": "disk", "name": .string(bitmap)])
        child.signal(15)
        try await child.wait(seconds: 20)
        try await scratch.ok("rm", "-f", "\(name).qmp", "\(name).nbd")
        return answer
    }

    @Test(
        "persistent bitmaps go both ways between QEMU and us: kept, recorded, checked and listed alike",
        arguments: ["cluster_size=64k", "cluster_size=4k,refcount_bits=64", "cluster_size=512", "cluster_size=2M"])
    func persistent(options: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "back.qcow2", "40M")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", scratch.file("back.qcow2"), "-F",
                "qcow2", "disk.qcow2")
            try await scratch.ok("qemu-img", "bitmap", "--add", "-g", "4k", "disk.qcow2", "theirs")
            try await scratch.io(["write -P 1 1M 100k"], "disk.qcow2", format: "qcow2")
            try await scratch.ok(Subject.img + ["bitmap", "-f", "qcow2", "--add", "-g", "512", "disk.qcow2", "ours"])
            try await scratch.ok(
                Subject.img + ["bitmap", "-f", "qcow2", "--add", "--disable", "disk.qcow2", "off"])
            for tool in [["qemu-img"], Subject.img] {
                let list = try await listed(scratch, tool, "disk.qcow2")
                #expect(list?.items.map { $0["name"] } == ["theirs", "ours", "off"])
                #expect(list?.items.map { $0["flags"] } == [["auto"], ["auto"], []])
                try await scratch.ok(tool + ["check", "disk.qcow2"])
            }
            let daemon = try await scratch.daemon(.init(image: "disk.qcow2"))
            try await scratch.io(["write -P 2 5M 3M", "write -P 2 39M 512", "write -z 20M 1M"], daemon.uri())
            try await daemon.stop()
            for bitmap in ["theirs", "ours", "off"] {
                let mine = try await sum(scratch, ours: true, "disk.qcow2", bitmap)
                #expect(try await sum(scratch, ours: false, "disk.qcow2", bitmap) == mine)
            }
            // QEMU goes on with them, and we go on with what it stored.
            try await scratch.io(["write -P 3 30M 2M"], "disk.qcow2", format: "qcow2")
            try await scratch.ok("qemu-img", "bitmap", "--merge", "ours", "disk.qcow2", "off")
            try await scratch.ok(Subject.img + ["bitmap", "-f", "qcow2", "--remove", "disk.qcow2", "ours"])
            let mine = try await sum(scratch, ours: true, "disk.qcow2", "off")
            #expect(try await sum(scratch, ours: false, "disk.qcow2", "off") == mine)
            for name in ["theirs", "off"] {
                try await scratch.ok("qemu-img", "check", "disk.qcow2")
                try await scratch.ok(Subject.img + ["bitmap", "-f", "qcow2", "--remove", "disk.qcow2", name])
            }
            try await scratch.ok("qemu-img", "check", "disk.qcow2")
            #expect(try await listed(scratch, ["qemu-img"], "disk.qcow2") == nil)
            try await scratch.io(["read -P 3 30M 2M", "read -P 2 5M 3M"], "disk.qcow2", format: "qcow2")
            #expect(try await scratch.ok("qemu-img", "info", "disk.qcow2").contains("back.qcow2"))
        }
    }

    @Test("after a kill a bitmap is in use: shown as inconsistent by both, of no use, and removable")
    func killed() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "16M")
            try await scratch.ok("qemu-img", "bitmap", "--add", "disk.qcow2", "b")
            let daemon = try await scratch.daemon(.init(image: "disk.qcow2"))
            try await scratch.io(["write -P 2 5M 64k"], daemon.uri())
            try await daemon.crash()
            for tool in [["qemu-img"], Subject.img] {
                #expect(try await listed(scratch, tool, "disk.qcow2")?.items.first?["flags"] == ["in-use", "auto"])
            }
            let refusal = "Operation clear on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used"
            for tool in [["qemu-img"], Subject.img] {
                let outcome = try await scratch.run(tool + ["bitmap", "-f", "qcow2", "--clear", "disk.qcow2", "b"])
                #expect(outcome.err.contains(refusal), "\(outcome.err)")
            }
            try await scratch.ok(Subject.img + ["bitmap", "-f", "qcow2", "--remove", "disk.qcow2", "b"])
            #expect(try await listed(scratch, ["qemu-img"], "disk.qcow2") == nil)
            try await scratch.ok("qemu-img", "check", "disk.qcow2")
        }
    }

    @Test("the image tool refuses what qemu-img refuses, in its words")
    func words() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "v2.qcow2", "1M")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "big.qcow2", "64T")
            try await scratch.ok("qemu-img", "bitmap", "--add", "disk.qcow2", "k")
            for words in [
                "--add disk.qcow2", "disk.qcow2 x", "--add -g 100 disk.qcow2 x", "-g 4096 --clear disk.qcow2 k",
                "--merge nope disk.qcow2 k", "-b v2.qcow2 --add disk.qcow2 x", "--remove disk.qcow2 nope",
                "--add nofile x", "--add disk.qcow2 k", "--bogus disk.qcow2 k", "--add -g 5x disk.qcow2 z",
                "-F qcow2 --merge k disk.qcow2 k", "--merge", "-b nofile --merge k disk.qcow2 k",
                "--enable --add disk.qcow2 ff",
            ] {
                let arguments = ["bitmap", "-f", "qcow2"] + words.split(separator: " ").map(String.init)
                let theirs = try await scratch.run(["qemu-img"] + arguments)
                let ours = try await scratch.run(Subject.img + arguments)
                #expect(ours.err.replacing("nacre img", with: "qemu-img") == theirs.err, "\(words)")
                #expect(ours.ending == theirs.ending, "\(words)")
            }
            for (words, text) in [
                ("--add v2.qcow2 x", "Cannot store dirty bitmaps in qcow2 v2 files"),
                ("--add -g 512 big.qcow2 x", "Too much space will be occupied by the bitmap. Use larger granularity"),
            ] {
                let arguments = ["bitmap", "-f", "qcow2"] + words.split(separator: " ").map(String.init)
                for tool in [["qemu-img"], Subject.img] {
                    #expect(try await scratch.run(tool + arguments).err.contains(text))
                }
            }
        }
    }
}
