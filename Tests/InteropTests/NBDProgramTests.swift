import FoundationEssentials
import Glibc
import Testing

/// `nacre` called as qemu-nbd beside QEMU's own.
@Suite("nacre nbd", .paced, .onlyNacre, .needs("qemu-img", "qemu-io", "qemu-nbd", "nbdinfo", "nbdcopy"))
struct NBDProgramTests {
    private func prepare(_ scratch: Scratch) async throws {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "64M")
        try await scratch.ok("qemu-img", "bitmap", "--add", "disk.qcow2", "marks")
        try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "disk.raw", "1M")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.file("qemu-nbd"), withDestinationPath: Subject.nacre)
    }

    /// Starts a server on the socket `s`, and waits until it listens.
    private func serve(_ scratch: Scratch, _ program: String, _ words: [String]) async throws -> Child {
        let child = try scratch.start([program, "-k", scratch.file("s")] + words)
        guard try await scratch.appears("s") else { throw Trouble("\(child.command): \(child.err)") }
        return child
    }

    private func uri(_ scratch: Scratch, _ name: String = "") -> String {
        "nbd+unix:///\(name)?socket=\(scratch.file("s"))"
    }

    static let exports: [[String]] = [
        ["-t", "disk.qcow2"], ["-t", "-f", "raw", "-o", "524288", "disk.raw"],
        ["-t", "-e", "0", "-x", "name", "-D", #"a "text""#, "-A", "-B", "marks", "-r", "disk.qcow2"],
        ["-t", "-s", "disk.qcow2"], ["-t", "-e", "5", "--image-opts", "driver=raw,file.filename=disk.raw,size=4096"],
        ["-t", "--cache=none", "--discard=unmap", "--detect-zeroes=unmap", "-f", "qcow2", "disk.qcow2"],
    ]

    @Test("both servers show the same, and both lists tell it in the same words", arguments: exports)
    func listing(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            let ours = scratch.file("qemu-nbd")
            var lists: [String] = []
            for server in ["qemu-nbd", ours] {
                let child = try await serve(scratch, server, words)
                for client in ["qemu-nbd", ours] {
                    lists.append(try await scratch.ok([client, "-L", "-k", scratch.file("s")]))
                }
                child.signal(15)
                #expect(try await child.wait(seconds: 10).ending == .exited(0))
                #expect(!scratch.exists("s"))
            }
            #expect(lists[0].hasPrefix("exports available: 1\n"))
            #expect(Set(lists).count == 1, "\(lists)")
        }
    }

    static let refused: [[String]] = [
        ["absent"], ["-e", "x", "disk.raw"], ["-o", "x", "disk.raw"], ["-f", "raw", "-o", "2097152", "disk.raw"],
        ["--cache=bad", "disk.raw"], ["-n", "--cache", "none", "disk.raw"], ["--aio=bad", "disk.raw"],
        ["--aio=native", "-f", "raw", "disk.raw"], ["--discard=bad", "disk.raw"], ["--detect-zeroes=bad", "disk.raw"],
        ["--detect-zeroes=unmap", "disk.raw"], ["-f", "foo", "disk.raw"], ["--image-opts", "-f", "raw", "disk.raw"],
        ["-k", "rel", "disk.raw"], ["-k", "/absent/s", "-f", "raw", "disk.raw"],
        ["-c", "/dev/absent", "-f", "raw", "disk.raw"],
        ["-d", "/dev/absent"], ["-L", "a"], ["-L", "-k", "/absent"], ["-L", "-x", "name"],
        ["-B", "absent", "-r", "disk.qcow2"], ["-l", "absent", "disk.qcow2"],
        ["-l", "absent", "-f", "raw", "disk.raw"], ["--object", "foo", "disk.raw"],
        ["--pid-file=/absent/pid", "-f", "raw", "-p", "0", "disk.raw"], ["-b", "192.0.2.1", "-f", "raw", "disk.raw"],
        ["-p", "x", "-f", "raw", "disk.raw"],
    ]

    @Test("what qemu-nbd refuses is refused with its words and status")
    func refusals() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            for words in Self.refused {
                let theirs = try await scratch.run(["qemu-nbd"] + words, seconds: 10)
                let ours = try await scratch.run([scratch.file("qemu-nbd")] + words, seconds: 10)
                #expect(ours.ending == .exited(1) && theirs.ending == .exited(1), "\(words)")
                #expect(ours.err == theirs.err && ours.out == theirs.out, "\(words)")
            }
        }
    }

    @Test("one client is served at a time, and with the last one the server ends; who only asks is no client")
    func oneClient() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            var child = try await serve(scratch, scratch.file("qemu-nbd"), ["-t", "-f", "raw", "disk.raw"])
            let first = try scratch.start(
                ["qemu-io", "-f", "raw", "-c", "write -q -P 5 0 64k", "-c", "sleep 700", "-c", "flush", uri(scratch)])
            _ = try await eventually(within: 10) {
                try ImageBytes(scratch.file("disk.raw")).bytes.prefix(1) == [5] ? true : nil
            }
            // Held up until the first has gone.
            let begun = ContinuousClock.now
            try await scratch.ok("qemu-io", "-f", "raw", "-c", "read -q -P 5 0 64k", uri(scratch))
            #expect(ContinuousClock.now - begun > .milliseconds(200))
            #expect(try await first.wait(seconds: 10).ending == .exited(0))
            child.signal(15)
            #expect(try await child.wait(seconds: 10).ending == .exited(0))
            child = try await serve(scratch, scratch.file("qemu-nbd"), ["-f", "raw", "disk.raw"])
            try await scratch.ok("qemu-nbd", "-L", "-k", scratch.file("s"))
            #expect(child.isRunning)
            try await scratch.ok("qemu-io", "-f", "raw", "-c", "read -q -P 5 0 64k", uri(scratch))
            #expect(try await child.wait(seconds: 10).ending == .exited(0))
            #expect(!scratch.exists("s"))
        }
    }

    @Test(
        "in the background the server is ready when the program returns, and its id is in the file as long as it runs")
    func background() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            let program = scratch.file("qemu-nbd")
            try await scratch.ok([
                program, "-k", scratch.file("s"), "--fork", "--pid-file=\(scratch.file("pid"))", "-t", "-f", "raw",
                "disk.raw",
            ])
            let text = try String(contentsOfFile: scratch.file("pid"), encoding: .utf8)
            let process = try #require(pid_t(text.dropLast()))
            scratch.adopt(process)
            try await scratch.ok("nbdcopy", "disk.raw", uri(scratch))
            kill(process, SIGTERM)
            let isGone = try await eventually(within: 10) { scratch.exists("pid") || scratch.exists("s") ? nil : true }
            #expect(isGone == true)
            let failed = try await scratch.run([program, "--fork", "-k", scratch.file("s"), "absent"])
            #expect(failed.ending == .exited(1) && failed.err.contains("No such file or directory"))
        }
    }

    @Test("what is written to an overlay that is thrown away does not reach the image")
    func overlay() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            let before = try ImageBytes(scratch.file("disk.qcow2")).bytes
            let child = try await serve(scratch, scratch.file("qemu-nbd"), ["-s", "-f", "qcow2", "disk.qcow2"])
            try await scratch.io(["write -P 5 1M 1M", "read -P 5 1M 1M", "read -P 0 0 1M"], uri(scratch))
            #expect(try await child.wait(seconds: 10).ending == .exited(0))
            #expect(try ImageBytes(scratch.file("disk.qcow2")).bytes == before)
        }
    }

    @Test("an internal snapshot is served as the disk was, by name, by id, or by both")
    func internalSnapshot() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            try await scratch.io(["write -P 5 1M 1M"], "disk.qcow2", format: "qcow2")
            try await scratch.ok("qemu-img", "snapshot", "-c", "before", "disk.qcow2")
            try await scratch.io(["write -P 6 1M 2M"], "disk.qcow2", format: "qcow2")
            for name in ["before", "1", "snapshot.id=1,snapshot.name=before"] {
                let child = try await serve(
                    scratch, scratch.file("qemu-nbd"), ["-l", name, "-f", "qcow2", "disk.qcow2"])
                try await scratch.ok([
                    "qemu-io", "-r", "-f", "raw", "-c", "read -P 5 1M 1M", "-c", "read -P 0 2M 1M", uri(scratch),
                ])
                #expect(try await child.wait(seconds: 10).ending == .exited(0))
            }
        }
    }

    @Test("R20: a client cannot make a disk that was guessed to be raw look like an image")
    func guessed() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            let child = try await serve(scratch, scratch.file("qemu-nbd"), ["-t", "disk.raw"])
            #expect(child.err.contains("Image format was not specified for 'disk.raw' and probing guessed raw."))
            let write = try await scratch.run(["qemu-io", "-f", "raw", "-c", "write -s disk.qcow2 0 64k", uri(scratch)])
            #expect(write.ending == .exited(1))
            try await scratch.io(["read -P 0 0 64k", "write -P 5 0 64k"], uri(scratch))
            child.signal(15)
            #expect(try await child.wait(seconds: 10).ending == .exited(0))
            let own = try await scratch.run([Subject.nacre, "nbd", "-k", scratch.file("t"), "disk.raw"])
            #expect(own.ending == .exited(1) && own.err.contains("say -f raw"))
        }
    }

    @Test("a server that was started for a socket serves on it", .needs("python3"))
    func activation() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            let script = """
                import os, socket, sys
                s = socket.socket(socket.AF_UNIX); s.bind("s"); s.listen(1)
                os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
                os.environ["LISTEN_FDS"] = "1"; os.environ["LISTEN_PID"] = str(os.getpid())
                os.execv(sys.argv[1], sys.argv[1:])
                """
            let child = try scratch.start(
                ["python3", "-c", script, scratch.file("qemu-nbd"), "-f", "raw", "disk.raw"])
            #expect(try await scratch.appears("s"))
            #expect(try await scratch.ok("nbdinfo", "--size", uri(scratch)) == "1048576\n")
            #expect(try await child.wait(seconds: 10).ending == .exited(0))
        }
    }
}
