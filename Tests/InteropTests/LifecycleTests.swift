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
        (["--chardev", "socket,id=m"], 1, "chardev: socket: no path given"),
        (["--chardev", "socket,id=m,host=127.0.0.1,server=on"], 1, "chardev: socket: no port given"),
        (["--chardev", "socket,path=s,server=on"], 1, "chardev: no id specified"),
        (["--chardev", "id=a"], 1, "chardev: \"a\" missing backend"),
        (["--chardev", "nope,id=a"], 1, "'nope' is not a valid char driver name"),
        (["--chardev", "null,id=a,foo=1"], 1, "Invalid parameter 'foo'"),
        (["--chardev", "null,id=0a"], 1, "Parameter 'id' expects an identifier"),
        (["--chardev", "socket,id=m,path=s,server=maybe"], 1, "Parameter 'server' expects 'on' or 'off'"),
        (
            ["--chardev", "socket,id=m,path=absent/s,server=on,wait=off"], 1,
            "--chardev socket,id=m,path=absent/s,server=on,wait=off: Failed to bind socket to absent/s: No such file"
        ),
        (
            ["--chardev", "socket,id=m,path=absent/s"], 1,
            "Failed to connect to 'absent/s': No such file or directory"
        ),
        (
            ["--chardev", "socket,id=m,path=s,wait=on"], 1,
            "'wait' option is incompatible with socket in client connect mode"
        ),
        (
            ["--chardev", "socket,id=m,path=s,server=on,reconnect=5"], 1,
            "'reconnect' option is incompatible with socket in server listen mode"
        ),
        (
            ["--chardev", "stdio,id=a", "--chardev", "stdio,id=b"], 1,
            "cannot use stdio by multiple character devices"
        ),
        (["--daemonize", "--chardev", "stdio,id=b"], 1, "cannot use stdio with -daemonize"),
        (["--monitor", "chardev=absent"], 1, "chardev \"absent\" not found"),
        (["--monitor", "mode=control"], 1, "Parameter 'chardev' is missing"),
        (["--chardev", "null,id=a", "--monitor", "a", "--monitor", "a"], 1, "Device 'a' is in use"),
        (["--chardev", "null,id=a", "--monitor", "a,mode=readline"], 1, "Only QMP is supported"),
        (["--chardev", "null,id=a", "--monitor", "a,mode=x"], 1, "Parameter 'mode' does not accept value 'x'"),
        (["--chardev", "null,id=a", "--monitor", "a,foo=x"], 1, "Parameter 'foo' is unexpected"),
    ]

    @Test("the pid file is the owner's alone, and goes when a detached daemon ends, wherever it was started")
    func pidFile() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("mkdir", "place")
            let start = try await scratch.run(
                Subject.daemon + ["--daemonize", "--pidfile", "place/pid"], seconds: 20)
            #expect(start.ending == .exited(0), "\(start.err)")
            #expect(try await scratch.ok("stat", "-c", "%a", "place/pid") == "600\n")
            try await scratch.ok("sh", "-c", "kill $(cat place/pid)")
            #expect(try await eventually(within: 10) { scratch.exists("place/pid") ? nil : true } == true)
        }
    }

    @Test("short forms of a character device's options mean what they mean to QEMU, with a warning")
    func shortForms() async throws {
        try await Scratch.use { scratch in
            let daemon = try scratch.start(
                Subject.daemon + ["--chardev", "socket,id=m,path=\(scratch.file("s")),server,nowait", "--monitor", "m"])
            _ = try await eventually(within: 10) { scratch.exists("s") ? true : nil }
            let monitor = try await QMPSession(scratch.file("s"))
            try await monitor.execute("quit")
            let outcome = try await daemon.wait()
            #expect(outcome.ending == .exited(0))
            #expect(outcome.err.contains("short-form boolean option 'nowait' deprecated"), "\(outcome.err)")
        }
    }

    @Test("with wait=on the options that follow wait for a client")
    func waits() async throws {
        try await Scratch.use { scratch in
            let daemon = try scratch.start(
                Subject.daemon + [
                    "--chardev", "socket,id=m,path=\(scratch.file("s")),server=on,wait=on", "--monitor", "m",
                    "--pidfile", scratch.file("pid"),
                ])
            _ = try await eventually(within: 10) { scratch.exists("s") ? true : nil }
            try await Task.sleep(for: .milliseconds(200))
            #expect(!scratch.exists("pid"))
            let monitor = try await QMPSession(scratch.file("s"))
            #expect(scratch.exists("pid"))
            try await monitor.execute("quit")
            #expect(try await daemon.wait().ending == .exited(0))
        }
    }

    @Test("a daemon that waits for a client ends when it is told to")
    func endsWaiting() async throws {
        try await Scratch.use { scratch in
            let daemon = try scratch.start(
                Subject.daemon + ["--chardev", "socket,id=m,path=\(scratch.file("s")),server=on,wait=on"])
            _ = try await eventually(within: 10) { scratch.exists("s") ? true : nil }
            daemon.signal(SIGTERM)
            #expect(try await daemon.wait(seconds: 10).ending == .exited(0))
            #expect(!scratch.exists("s"))
        }
    }

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
