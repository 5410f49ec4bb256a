import FoundationEssentials
import Testing

/// Jobs that make images, beside QEMU's daemon, and images that the other one made.
@Suite("creation by jobs, beside QEMU", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "qemu-storage-daemon"))
struct CreationTests {
    /// Options of `blockdev-create`, of which each becomes a job.
    static let files: [JSONValue] = [
        ["filename": "/nonexistent/a", "size": 1_048_577], ["filename": "a.img", "size": 1_048_577],
        ["filename": "a.img", "size": 9_223_372_036_854_775_807], ["filename": "a.img", "size": .signed(-1)],
        ["filename": "a.img", "size": 512, "preallocation": "metadata"],
        ["filename": "a.img", "size": 65536, "preallocation": "falloc"],
        ["filename": "a.img", "size": 65536, "preallocation": "full"],
        ["filename": "a.img", "size": 65536, "extent-size-hint": 4_294_967_296],
        ["filename": "a.img", "size": 65536, "nocow": true, "extent-size-hint": 0],
    ]

    static let images: [JSONValue] = [
        ["size": 67_108_864], ["size": .signed(-1)], ["size": .signed(-512)], ["size": 1000],
        ["size": 512, "cluster-size": 100],
        ["size": 512, "cluster-size": 4_194_304], ["size": 1000, "file": "nofile"],
        ["size": 2_199_023_255_552, "cluster-size": 512], ["size": 512, "version": "v2", "refcount-bits": 8],
        ["size": 512, "version": "v2", "lazy-refcounts": true], ["size": 512, "version": "v2", "extended-l2": true],
        ["size": 512, "version": "v2", "compression-type": "zstd"], ["size": 512, "refcount-bits": 3],
        ["size": 512, "extended-l2": true, "cluster-size": 4096], ["size": 512, "backing-fmt": "raw"],
        ["size": 512, "backing-file": "x", "backing-fmt": "raw"],
        ["size": 512, "backing-file": .string(String(repeating: "x", count: 1024)), "backing-fmt": "raw"],
        ["size": 512, "backing-file": "x", "backing-fmt": "raw", "preallocation": "full"],
        ["size": 1_048_576, "preallocation": "full", "cluster-size": 4096, "refcount-bits": 1],
        ["size": 1_048_576, "preallocation": "metadata", "version": "v2"],
        ["size": 1_048_576, "preallocation": "falloc", "extended-l2": true, "compression-type": "zstd"],
        ["size": 1_048_576, "data-file": "d"], ["size": 1_048_576, "data-file": "d", "data-file-raw": true],
        ["size": 1_048_576, "data-file": "d", "preallocation": "full"], ["size": 1_048_576, "data-file": "nonode"],
        ["size": 512, "data-file": "d", "version": "v2"], ["size": 512, "data-file-raw": true],
        ["size": 512, "data-file": "d", "data-file-raw": true, "backing-file": "x", "backing-fmt": "raw"],
    ]

    /// What `query-jobs` tells of each, and of what came about `qemu-img info`.
    private func outcomes(_ words: [String], _ scratch: Scratch) async throws -> [JSONValue] {
        let child = try scratch.start(words)
        guard try await scratch.appears("d.qmp") else { throw Trouble("no monitor: \(child.err)") }
        let monitor = try await QMPSession(scratch.file("d.qmp"))
        var outcomes: [JSONValue] = []
        func make(_ driver: String, _ options: JSONValue) async throws {
            var options = options
            options["driver"] = .string(driver)
            try await monitor.execute("blockdev-create", ["job-id": "j", "options": options])
            var jobs = JSONValue.null
            for _ in 0..<1000 where jobs.items.first?["status"]?.string != "concluded" {
                try await Task.sleep(for: .milliseconds(20))
                jobs = try await monitor.execute("query-jobs")
            }
            outcomes.append(jobs)
            try await monitor.execute("job-dismiss", ["id": "j"])
        }
        for options in Self.files {
            try await make("file", options)
            if scratch.exists("a.img") {
                outcomes.append(try await scratch.json(["qemu-img", "info", "--output=json", "-f", "raw", "a.img"]))
                try await scratch.ok("rm", "a.img")
            }
        }
        try await make("file", ["filename": "q.img", "size": 0])
        try await make("file", ["filename": "d.raw", "size": 0])
        for (node, file) in [("f", "q.img"), ("d", "d.raw")] {
            try await monitor.execute(
                "blockdev-add", ["driver": "file", "node-name": .string(node), "filename": .string(file)])
        }
        for options in Self.images {
            var options = options
            if options["file"] == nil { options["file"] = "f" }
            try await make("qcow2", options)
            if outcomes.last?.items.first?["error"] == nil {
                outcomes.append(try await scratch.json(["qemu-img", "info", "-U", "--output=json", "q.img"]))
                // Its backing file is not there.
                guard options["backing-file"] == nil else { continue }
                try await scratch.ok("qemu-img", "check", "-q", "-U", "q.img")
            }
        }
        // The conflict is between users whom only QEMU, which opens the image then, has names for.
        try await make("qcow2", ["size": 512, "file": "f", "data-file": "f"])
        let refusal = outcomes.removeLast().items.first?["error"]?.string ?? ""
        #expect(refusal.hasPrefix("Permission conflict on node 'f'"), "an image is not its own data file: \(refusal)")
        monitor.close()
        child.signal(15)
        try await child.wait(seconds: 20)
        try await scratch.ok("rm", "-f", "q.img", "d.qmp")
        return outcomes.map { $0.without(["actual-size"]) }
    }

    @Test("each ends with the same words or the same image")
    func same() async throws {
        try await Scratch.use { scratch in
            let words = [
                "--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off", "--monitor", "chardev=m",
            ]
            let expected = try await outcomes(["qemu-storage-daemon"] + words, scratch)
            let found = try await outcomes(Subject.daemon + words, scratch)
            // A file that could not be made is not there afterwards; QEMU leaves an empty one.
            let images = expected.filter { $0["filename"]?.string != "a.img" || $0["virtual-size"] != 0 }
            for (mine, theirs) in zip(found, images) { #expect(mine == theirs) }
            #expect(found.count == images.count)
        }
    }

    @Test("what is written through compress is read and checked by QEMU's tools", arguments: ["zlib", "zstd"])
    func compress(codec: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "source.raw", "4M")
            try await scratch.io(
                ["write -P 1 0 1M", "write -P 2 1M 700k", "write -P 3 3000k 512"], "source.raw", format: "raw")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-o", "compression_type=\(codec)", "disk.qcow2", "4M")
            var setting = Daemon.Setting(image: "disk.qcow2")
            setting.words = [
                "--blockdev", "driver=qcow2,node-name=q,file.driver=file,file.filename=\(scratch.file("disk2.qcow2"))",
                "--blockdev", "driver=compress,node-name=z,file=q",
                "--export", "type=nbd,id=e1,node-name=z,name=z,writable=on",
            ]
            try await scratch.ok("cp", "disk.qcow2", "disk2.qcow2")
            let daemon = try await scratch.daemon(setting)
            try await scratch.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "source.raw", daemon.uri("z"))
            try await scratch.ok("qemu-io", "-f", "raw", "-c", "write -P 9 100k 3k", "-c", "flush", daemon.uri("z"))
            try await daemon.stop()
            try await scratch.io(["write -P 9 100k 3k"], "source.raw", format: "raw")
            try await scratch.expectSame("source.raw", "raw", "disk2.qcow2", "qcow2")
            try await scratch.expectClean("disk2.qcow2")
            let check = try await scratch.json(["qemu-img", "check", "--output=json", "disk2.qcow2"])
            #expect((check["compressed-clusters"]?.number ?? 0) > 20)
            // And QEMU overwrites them.
            try await scratch.io(["write -P 7 64k 200k", "read -P 7 64k 200k"], "disk2.qcow2", format: "qcow2")
            try await scratch.expectClean("disk2.qcow2")
        }
    }
}
