import Testing

@Suite("internal snapshots", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct InternalSnapshotTests {
    @Test("the tool says what qemu-img says, and ends as it ends", .onlyNacre)
    func tool() async throws {
        try await Scratch.use { scratch in
            for name in ["theirs.qcow2", "ours.qcow2"] {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", name, "4M")
                try await scratch.io(["write -P 1 0 1M"], name, format: "qcow2")
            }
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "raw", "1M")
            let lines: [[String]] = [
                ["-c", "a"], ["-c", "b"], ["-c", "1"], ["-a", "2"], ["-a", "nope"], ["-d", "nope"], ["-d", "2"],
                ["-d", "a"], ["-c", ""], ["-c", String(repeating: "x", count: 300)], ["-l", "-c", "x"],
                ["-a", "x", "-d", "y"], [], ["-z"], ["-q", "-c", "quiet"],
            ]
            for words in lines {
                let theirs = try await scratch.run(["qemu-img", "snapshot"] + words + ["theirs.qcow2"])
                let ours = try await scratch.run(
                    Subject.img + ["snapshot"] + (words == ["-z"] ? [] : ["-f", "qcow2"]) + words + ["ours.qcow2"])
                #expect(ours.ending == theirs.ending, "\(words)")
                #expect(ours.out == theirs.out, "\(words)")
                #expect(
                    ours.err.replacing("nacre img", with: "qemu-img") == theirs.err, "\(words)")
                try await scratch.expectClean("ours.qcow2")
            }
            func list(_ tool: [String], _ image: String) async throws -> String {
                // Dates differ by the seconds between the two.
                try await scratch.ok(tool + ["snapshot", "-l", image]).replacing(
                    /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, with: "")
            }
            let theirs = try await list(["qemu-img"], "theirs.qcow2")
            #expect(theirs.contains("quiet"))
            #expect(try await list(Subject.img, "ours.qcow2") == theirs)
            #expect(try await list(["qemu-img"], "ours.qcow2") == theirs)
            #expect(try await list(Subject.img, "theirs.qcow2") == theirs)
        }
    }

    @Test("snapshots of a disk that is written to meanwhile are each of one instant, and QEMU reads them")
    func live() async throws {
        try await Scratch.use { scratch in
            let image = scratch.file("disk.qcow2")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, "16M")
            let daemon = try await scratch.daemon(.init(image: image))
            let monitor = try await daemon.monitor()
            // The first half is written before the snapshot of that number, the second half after it.
            for round in 1...3 {
                try await scratch.io(["write -q -P \(round) 0 8M"], daemon.uri())
                let writer = try scratch.start(
                    ["qemu-io", "-f", "raw"]
                        + (0..<64).flatMap { ["-c", "aio_write -q -P \(100 + round) \(8 << 20 + $0 * 65536) 64k"] }
                        + ["-c", "aio_flush", daemon.uri()])
                try await monitor.execute(
                    "blockdev-snapshot-internal-sync", ["device": "disk", "name": .string("r\(round)")])
                #expect(try await writer.wait(seconds: 60).ending == .exited(0))
            }
            let gone = try await monitor.execute(
                "blockdev-snapshot-delete-internal-sync", ["device": "disk", "name": "r2"])
            #expect(gone["id"] == "2" && gone["vm-state-size"] == 0 && gone["icount"] == nil)
            let nodes = try await monitor.execute("query-named-block-nodes", ["flat": true])
            let disk = nodes.items.first { $0["node-name"] == "disk" }
            #expect(disk?["image"]?["snapshots"]?.items.map { $0["name"] } == ["r1", "r3"])
            monitor.close()
            try await daemon.stop()
            try await scratch.expectClean(image)
            for round in [1, 3] {
                try await scratch.ok(
                    "qemu-img", "convert", "-l", "snapshot.name=r\(round)", "-f", "qcow2", "-O", "raw", image,
                    scratch.file("was.raw"))
                try await scratch.io(["read -q -P \(round) 0 8M"], scratch.file("was.raw"))
            }
            try await scratch.ok("qemu-img", "snapshot", "-a", "r1", image)
            try await scratch.expectClean(image)
        }
    }
}
