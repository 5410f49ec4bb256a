import Testing

/// A field of the qcow2 header: where it is, and what an error about it has to mention.
struct HeaderField: Sendable, CustomTestStringConvertible {
    let name: String
    let offset: Int
    let width: Int
    /// Values that no image may have, each of which has to be refused by an error with one of `words`.
    let bad: [UInt64]
    let words: [String]

    var testDescription: String { name }

    /// Values at the edges, whether they are allowed or not.
    var edges: [UInt64] {
        width == 4
            ? [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
            : [0, 1, 0x1ff, 0x200, 0x10000, 0xffff_ffff, 1 << 40, 1 << 56, 0x7fff_ffff_ffff_ffff, 1 << 63, .max]
    }

    static let all: [HeaderField] = [
        .init(name: "magic", offset: 0, width: 4, bad: [0, 1, 0x5146_49fa], words: ["qcow2 format"]),
        .init(name: "version", offset: 4, width: 4, bad: [0, 1, 4, 0xffff_ffff], words: ["version"]),
        .init(name: "backing file offset", offset: 8, width: 8, bad: [0x20000, 1 << 63], words: ["backing"]),
        .init(name: "backing file size", offset: 16, width: 4, bad: [], words: ["backing"]),
        .init(name: "cluster_bits", offset: 20, width: 4, bad: [0, 8, 22, 64, 0xffff_ffff], words: ["cluster"]),
        .init(name: "size", offset: 24, width: 8, bad: [1 << 63, .max], words: ["size", "l1"]),
        .init(name: "crypt_method", offset: 32, width: 4, bad: [3, 0xffff_ffff], words: ["encrypt", "crypt"]),
        .init(name: "l1_size", offset: 36, width: 4, bad: [0, 0x400_0001, 0xffff_ffff], words: ["l1"]),
        .init(name: "l1_table_offset", offset: 40, width: 8, bad: [1, 0x200, 1 << 63, .max], words: ["l1"]),
        .init(name: "refcount_table_offset", offset: 48, width: 8, bad: [1, 0x200, 1 << 63], words: ["ref"]),
        .init(name: "refcount_table_clusters", offset: 56, width: 4, bad: [0, 129, 0xffff_ffff], words: ["ref"]),
        .init(name: "nb_snapshots", offset: 60, width: 4, bad: [65537, 0xffff_ffff], words: ["snapshot"]),
        .init(name: "snapshots_offset", offset: 64, width: 8, bad: [], words: ["snapshot"]),
        .init(name: "incompatible_features", offset: 72, width: 8, bad: [1 << 63, 0x100], words: ["feature"]),
        .init(name: "refcount_order", offset: 96, width: 4, bad: [7, 0xffff_ffff], words: ["ref"]),
        .init(name: "header_length", offset: 100, width: 4, bad: [0, 103, 0x20000, 0xffff_ffff], words: ["header"]),
    ]
}

@Suite("Hostile images", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct HostileImageTests {
    private func create(_ scratch: Scratch) async throws -> ImageBytes {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "good.qcow2", "4M")
        try await scratch.io(["write -P 9 0 128k", "write -P 8 2M 64k"], "good.qcow2", format: "qcow2")
        try await scratch.ok("qemu-img", "snapshot", "-c", "first", "good.qcow2")
        try await scratch.ok("cp", "good.qcow2", "disk.qcow2")
        return try ImageBytes(scratch.file("disk.qcow2"))
    }

    /// Runs a command on a damaged image: it ends by itself and in time, with one of a tool's statuses.
    @discardableResult
    private func survives(_ words: [String], _ scratch: Scratch, _ about: String) async throws -> Child.Outcome {
        let clock = ContinuousClock()
        let began = clock.now
        let outcome = try await scratch.run(words, seconds: 10)
        let took = clock.now - began
        if case .killed(let signal) = outcome.ending {
            Issue.record("\(about): \(words.dropFirst().prefix(2)) died of signal \(signal): \(outcome.err)")
        }
        #expect(outcome.status <= 3 || outcome.status == 63, "\(about): status \(outcome.status)")
        #expect(took < .seconds(2), "\(about): \(words.dropFirst().prefix(2)) took \(took)")
        return outcome
    }

    /// Serves a damaged image and uses it; the daemon may refuse it, and otherwise lives until it is told to end.
    private func serve(_ scratch: Scratch, writable: Bool, _ about: String) async throws {
        let words = scratch.daemonWords(.init(image: scratch.file("disk.qcow2"), writable: writable))
        let child = try scratch.start(words)
        let uri = "nbd+unix:///disk?socket=\(scratch.file("d.nbd"))"
        let up = try await eventually(within: 10) { () -> Bool? in
            guard child.isRunning else { return false }
            return scratch.exists("d.nbd") ? true : nil
        }
        if up == true {
            var commands = ["-c", "read 0 64k", "-c", "read 2M 64k", "-c", "read 3M 1M"]
            if writable {
                commands += ["-c", "write 1M 64k", "-c", "write 0 4k", "-c", "discard 2M 64k", "-c", "flush"]
            }
            _ = try await scratch.run(["qemu-io", "-f", "raw"] + (writable ? [] : ["-r"]) + commands + [uri])
            child.signal(15)
        }
        let outcome = try await child.wait(seconds: 20)
        if case .killed(let signal) = outcome.ending, signal != 15 {
            Issue.record("\(about): the daemon died of signal \(signal): \(outcome.err)")
        }
    }

    @Test("no value of a header field makes us trap, hang or take what the file claims", arguments: HeaderField.all)
    func edges(field: HeaderField) async throws {
        try await Scratch.use { scratch in
            let good = try await create(scratch)
            for value in field.edges + field.bad {
                var damaged = good
                damaged.set(value, at: field.offset, width: field.width)
                try damaged.save()
                let about = "\(field.name) = \(String(value, radix: 16))"
                try await survives(Subject.img + ["info", "-f", "qcow2", "disk.qcow2"], scratch, about)
                try await survives(Subject.img + ["check", "-f", "qcow2", "disk.qcow2"], scratch, about)
                try await serve(scratch, writable: value % 2 == 0, about)
                try await scratch.ok("rm", "-f", "d.nbd", "d.qmp")
            }
        }
    }

    @Test(
        "a header field with a value that no image may have is refused, and the error names both",
        arguments: HeaderField.all)
    func refused(field: HeaderField) async throws {
        try await Scratch.use { scratch in
            let good = try await create(scratch)
            for value in field.bad {
                var damaged = good
                damaged.set(value, at: field.offset, width: field.width)
                try damaged.save()
                let outcome = try await survives(
                    Subject.img + ["info", "-f", "qcow2", "disk.qcow2"], scratch, field.name)
                #expect(outcome.status == 1, "\(field.name) = \(value) was accepted")
                guard !Subject.isPeer else { continue }
                let text = outcome.err.lowercased()
                // QEMU's words, which scripts know.
                if field.name == "size", text.contains("image is too big") { continue }
                #expect(field.words.contains { text.contains($0) }, "\(field.name) = \(value): \(outcome.err)")
                let named = ["\(value)", String(value, radix: 16), "\(Int64(bitPattern: value))"]
                let isAboutValue = field.name != "magic"
                #expect(
                    !isAboutValue || named.contains { text.contains($0) }, "\(field.name) = \(value): \(outcome.err)")
            }
        }
    }

    @Test(
        "a truncated image is refused or read as far as it goes",
        arguments: [
            0, 1, 71, 72, 103, 104, 112, 511, 512, 4096, 65535, 65536, 131_072, 196_608, 262_144, 300_000,
        ])
    func truncated(length: Int) async throws {
        try await Scratch.use { scratch in
            var damaged = try await create(scratch)
            damaged.truncate(to: length)
            try damaged.save()
            try await survives(Subject.img + ["info", "-f", "qcow2", "disk.qcow2"], scratch, "\(length) bytes")
            try await survives(Subject.img + ["check", "-f", "qcow2", "disk.qcow2"], scratch, "\(length) bytes")
            try await serve(scratch, writable: true, "\(length) bytes, writable")
        }
    }

    /// Table entries that point where they must not.
    static let strayEntries: [UInt64] = [
        1, 0x200, 0x8000_0000_0000_0000, 0x8000_0000_0000_0001, 0x8000_0000_0001_0000, 0x8000_0000_0003_0000,
        0x80ff_ffff_ffff_0000, 0xc000_0000_0000_0000, 0x4000_0000_0000_0000, 0x7fff_ffff_ffff_ffff, .max,
        0x4000_00ff_ffff_ff00,
    ]

    @Test("an L1, L2 or refcount entry that points astray costs that request at most", arguments: strayEntries)
    func entries(entry: UInt64) async throws {
        try await Scratch.use { scratch in
            let good = try await create(scratch)
            let table = Int(good.number(at: 48, width: 8))
            for (name, place) in [
                ("L1", good.l1Offset), ("L2", good.firstL2Offset), ("refcount table", table),
                ("refcount block", Int(good.number(at: table, width: 8))),
            ] {
                var damaged = good
                damaged.set(entry, at: place, width: 8)
                try damaged.save()
                let about = "\(name) entry \(String(entry, radix: 16))"
                try await survives(Subject.img + ["check", "-f", "qcow2", "disk.qcow2"], scratch, about)
                try await survives(Subject.img + ["map", "-f", "qcow2", "--output=json", "disk.qcow2"], scratch, about)
                try await serve(scratch, writable: true, about)
                try await scratch.ok("rm", "-f", "d.nbd", "d.qmp")
            }
        }
    }

    @Test("R14: an image that names itself as its backing file is refused", .onlyNacre)
    func loop() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M")
            try await scratch.ok(
                "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "disk.qcow2")
            for words in [["check", "disk.qcow2"], ["map", "disk.qcow2"], ["info", "--backing-chain", "disk.qcow2"]] {
                let outcome = try await survives(Subject.img + words, scratch, "\(words)")
                #expect(outcome.status == 1 || words[0] == "check", "\(words) \(outcome.out)")
            }
            let served = try await survives(
                scratch.daemonWords(.init(image: scratch.file("disk.qcow2"))), scratch, "daemon")
            #expect(served.status == 1)
        }
    }

    @Test(
        "R24: a backing file name is a plain file name: neither json: nor a protocol is opened", .onlyNacre,
        arguments: [
            "json:{\"driver\":\"null-co\"}", "nbd://127.0.0.1:1/x", "nbd+unix:///x?socket=/s", "file:other.qcow2",
            "/dev/zero",
        ])
    func backingName(name: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "other.qcow2", "1M")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", "disk.qcow2", "1M")
            let served = try await survives(
                scratch.daemonWords(.init(image: scratch.file("disk.qcow2"))), scratch, name)
            #expect(served.status == 1, "\(served.err)")
            let info = try await scratch.json(Subject.img + ["info", "--output=json", "disk.qcow2"])
            #expect(info["backing-filename"] == .string(name))
        }
    }

    @Test("R21: the daemon opens no file that only an image names, unless its folder is allowed", .onlyNacre)
    func authority() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "disk.qcow2", "1M")
            let words = scratch.daemonWords(.init(image: scratch.file("disk.qcow2")))
            let bare = words.filter { $0 != "--allow-path" && $0 != scratch.path }
            #expect(try await survives(bare, scratch, "no --allow-path").status == 1)
            let allowed = try await scratch.daemon(words: words)
            try await allowed.stop()
            let sealed = [Subject.nacre, "daemon", "--sealed"] + bare.dropFirst(2)
            #expect(try await survives(sealed, scratch, "--sealed").status == 1)
        }
    }

    @Test("called by QEMU's names, the program follows QEMU's rules for chains and for overlays", .onlyNacre)
    func byName() async throws {
        try await Scratch.use { scratch in
            for name in ["qemu-img", "qemu-storage-daemon"] {
                try await scratch.ok("ln", "-s", Subject.nacre, name)
            }
            try await scratch.ok("mkdir", "inside")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
            try await scratch.io(["write -P 3 0 64k"], "base.raw")
            let image = scratch.file("inside/disk.qcow2")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-b", scratch.file("base.raw"), "-F", "raw", image)
            for words in [["info", "--output=json", "--backing-chain", image], ["map", image], ["check", image]] {
                let ours = try await scratch.run([scratch.file("qemu-img")] + words)
                let theirs = try await scratch.run(["qemu-img"] + words)
                #expect(ours.status == theirs.status, "\(words) \(ours.err)")
                if words.contains("--output=json") {
                    #expect(try JSONValue(parsing: ours.out) == JSONValue(parsing: theirs.out))
                } else {
                    #expect(ours.out == theirs.out)
                }
            }
            let words = scratch.daemonWords(.init(image: image)).drop { $0 != "--chardev" }
            let daemon = try await scratch.daemon(words: [scratch.file("qemu-storage-daemon")] + words)
            try await scratch.io(["read -P 3 0 64k"], daemon.uri())
            // QEMU's daemon overwrites what is there.
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "old.qcow2", "1M")
            let monitor = try await daemon.monitor()
            try await monitor.execute(
                "blockdev-snapshot-sync",
                ["node-name": "disk", "snapshot-file": .string(scratch.file("old.qcow2")), "snapshot-node-name": "top"])
            try await daemon.stop()
            try await scratch.expectClean("old.qcow2")
        }
    }
}
