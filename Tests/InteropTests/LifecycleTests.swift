import FoundationEssentials
import Glibc
import Testing

@Suite("Start and end", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct LifecycleTests {
    private func create(_ scratch: Scratch, _ options: String = "cluster_size=4096") async throws -> String {
        let image = scratch.file("disk.qcow2")
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, "16M")
        return image
    }

    @Test("--daemonize returns once the export can be used, and --pidfile names the process and goes with it")
    func daemonize() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch)
            let pidFile = scratch.file("pid")
            let words = scratch.daemonWords(.init(image: image, words: ["--pidfile", pidFile, "--daemonize"]))
            let started = try await scratch.run(words, seconds: 30)
            let text = try String(contentsOfFile: pidFile, encoding: .utf8)
            let pid = try #require(pid_t(text.trimmed))
            scratch.adopt(pid)
            #expect(started.ending == .exited(0), "\(started.err)")
            let uri = "nbd+unix:///disk?socket=\(scratch.file("d.nbd"))"
            try await scratch.io(["write -P 1 0 1M"], uri)
            kill(pid, SIGTERM)
            let gone = try await eventually(within: 20) { kill(pid, 0) == 0 ? nil : true }
            #expect(gone == true)
            #expect(!scratch.exists("pid"))
            try await scratch.expectClean(image)
            try await scratch.io(["read -P 1 0 1M"], image, format: "qcow2")
        }
    }

    @Test("--daemonize tells the caller what went wrong, and nothing stays behind")
    func daemonizeFails() async throws {
        try await Scratch.use { scratch in
            let words = scratch.daemonWords(
                .init(image: scratch.file("absent"), words: ["--pidfile", scratch.file("pid"), "--daemonize"]))
            let outcome = try await scratch.run(words, seconds: 20)
            #expect(outcome.ending == .exited(1))
            #expect(outcome.err.contains("No such file or directory"), "\(outcome.err)")
            #expect(!scratch.exists("pid"))
        }
    }

    /// Command lines of the daemon, and how it has to end.
    static let commandLines: [([String], Int32, String)] = [
        (["--version"], 0, ""), (["--help"], 0, ""), (["--nonsense"], 1, "nonsense"),
        (["--blockdev", "driver=nope,node-name=a"], 1, "Parameter 'driver' does not accept value 'nope'"),
        (["--blockdev", "driver=file,node-name=a"], 1, "Parameter 'filename' is missing"),
        (["--blockdev", "driver=file,filename=x"], 1, "'node-name' must be specified for the root node"),
        (
            ["--blockdev", "driver=file,node-name=a,filename=absent"], 1,
            "Could not open 'absent': No such file or directory"
        ),
        (["--blockdev", "{\"driver\":"], 1, "JSON parse error"),
        (["--blockdev", "driver=null-co,node-name=a,bogus=1"], 1, "Parameter 'bogus' is unexpected"),
        (["--export", "type=nbd,id=e,node-name=a"], 1, "Cannot find device='' nor node-name='a'"),
        (["--chardev", "socket,id=m"], 1, ""), (["--monitor", "chardev=absent"], 1, "absent"),
    ]

    @Test(
        "a wrong word on the command line ends the daemon with status 1 and QEMU's words",
        arguments: commandLines.indices)
    func commandLine(index: Int) async throws {
        let (words, status, text) = Self.commandLines[index]
        try await Scratch.use { scratch in
            let outcome = try await scratch.run(Subject.daemon + words, seconds: 20)
            #expect(outcome.ending == .exited(status), "\(outcome.err)")
            #expect(outcome.err.contains(text), "\(outcome.err)")
        }
    }

    @Test(
        "SIGTERM, SIGINT, SIGHUP and quit end the daemon in order while a client writes",
        arguments: [
            "TERM", "INT", "HUP", "quit",
        ])
    func orderly(how: String) async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch)
            let daemon = try await scratch.daemon(.init(image: image))
            let monitor = try await daemon.monitor()
            let writes = (0..<400).map { "aio_write -q -P 3 \($0 * 32768) 32768" }
            let client = try scratch.start(
                ["qemu-io", "-f", "raw"] + writes.flatMap { ["-c", $0] } + ["-c", "aio_flush", daemon.uri()])
            try await Task.sleep(for: .milliseconds(60))
            switch how {
            case "TERM": daemon.child.signal(SIGTERM)
            case "INT": daemon.child.signal(SIGINT)
            case "HUP": daemon.child.signal(SIGHUP)
            default: try await monitor.execute("quit")
            }
            #expect(try await daemon.child.wait(seconds: 30).ending == .exited(0))
            await client.end()
            #expect(!scratch.exists("d.qmp"), "the monitor's socket is still there")
            try await scratch.expectClean(image)
        }
    }

    @Test(
        "what was acknowledged as durable is there after a kill, and the image has leaks at most",
        arguments: [
            ("cluster_size=4096", 40), ("cluster_size=4096", 120), ("cluster_size=65536", 80),
            ("cluster_size=512", 150),
            ("lazy_refcounts=on,cluster_size=4096", 100),
        ])
    func killed(options: String, afterMs: Int) async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, options)
            let daemon = try await scratch.daemon(
                .init(image: image, formatOptions: ["discard=unmap"], fileOptions: ["discard=unmap"]))
            // Each line that the client prints for a forced write says that this write is durable.
            let writes = (0..<1000).map { "write -f -P \(1 + $0 % 200) \($0 * 13 % 1000 * 16384) 5000" }
            let client = try scratch.start(["qemu-io", "-f", "raw"] + writes.flatMap { ["-c", $0] } + [daemon.uri()])
            _ = try await eventually(within: 10) { client.out.contains("wrote") ? true : nil }
            try await Task.sleep(for: .milliseconds(afterMs))
            try await daemon.crash()
            let outcome = try await client.wait()
            let durable = outcome.out.split(separator: "\n").filter { $0.hasPrefix("wrote 5000/5000") }.count
            #expect(durable > 0)
            let check = try await scratch.run(["qemu-img", "check", "--output=json", image])
            let report = try JSONValue(parsing: check.out)
            let isLazy = options.hasPrefix("lazy")
            #expect(isLazy || (report["corruptions"]?.number ?? 0) == 0, "\(check.out)")
            #expect(report["check-errors"]?.number == 0, "\(check.out)")
            // Opened for writing by another program: no repair by hand is asked for.
            let reads = (0..<durable).map { "read -P \(1 + $0 % 200) \($0 * 13 % 1000 * 16384) 5000" }
            for start in stride(from: 0, to: reads.count, by: 200) {
                let some = Array(reads[start..<min(start + 200, reads.count)])
                let out = try await scratch.io(some, image, format: "qcow2")
                #expect(!out.contains("Pattern verification failed"), "\(out.suffix(500))")
            }
            let again = try await scratch.daemon(.init(image: image), name: "again")
            try await scratch.io(["write -P 9 0 16M"], again.uri())
            try await again.stop()
            try await scratch.ok("qemu-img", "check", "-r", "leaks", image)
            try await scratch.expectClean(image)
            try await scratch.io(["read -P 9 0 16M"], image, format: "qcow2")
        }
    }
}
