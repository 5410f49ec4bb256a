import Testing

@Suite("What stands on the host", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct HostTests {
    @Test("a raw window serves its part of the file and leaves the rest alone")
    func window() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "disk.raw", "8M")
            try await scratch.io(["write -P 1 0 8M"], "disk.raw")
            let daemon = try await scratch.daemon(
                .init(image: "disk.raw", format: "raw", formatOptions: ["offset=1049088", "size=2097152"]))
            #expect(try await scratch.ok("nbdinfo", "--size", daemon.uri()).trimmed == "2097152")
            try await scratch.io(["read -P 1 0 2M", "write -P 2 0 1000", "write -P 3 2096152 1000"], daemon.uri())
            let past = try await scratch.run(["qemu-io", "-f", "raw", "-c", "write 2M 512", daemon.uri()])
            #expect(past.status == 1)
            try await daemon.stop()
            try await scratch.io(
                [
                    "read -P 1 0 1049088", "read -P 2 1049088 1000", "read -P 1 1050088 2095152",
                    "read -P 3 3145240 1000", "read -P 1 3146240 5242368",
                ], "disk.raw")
        }
    }

    @Test(
        "a block device of the host is served, and an image on it too", .needs("losetup"), .needsRoot,
        arguments: [
            "raw", "qcow2",
        ])
    func blockDevice(format: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "16M", "backing")
            let made = try await scratch.run(["losetup", "-f", "--show", "backing"])
            guard made.status == 0 else { try Test.cancel("skipped: no loop device can be had") }
            let device = made.out.trimmed
            do {
                try await serve(device, format, scratch)
            } catch {
                try await scratch.run(["losetup", "-d", device])
                throw error
            }
            try await scratch.ok("losetup", "-d", device)
        }
    }

    private func serve(_ device: String, _ format: String, _ scratch: Scratch) async throws {
        if format == "qcow2" { try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", device, "8M") }
        var words = scratch.daemonWords(.init(image: device, format: format, fileOptions: ["discard=unmap"]))
        words = words.map { $0.hasPrefix("driver=file,") ? "driver=host_device," + $0.dropFirst(12) : $0 }
        let daemon = try await scratch.daemon(words: words)
        try await scratch.io(
            ["write -P 1 0 4M", "write -z 1M 1M", "discard 2M 1M", "write -P 2 6M 1000", "flush"], daemon.uri())
        try await scratch.io(
            ["read -P 1 0 1M", "read -P 0 1M 1M", "read -P 1 3M 1M", "read -P 2 6M 1000"], daemon.uri())
        try await daemon.stop()
        if format == "qcow2" { try await scratch.expectClean(device) }
        try await scratch.io(["read -P 1 0 1M", "read -P 0 1M 1M", "read -P 2 6M 1000"], device, format: format)
    }

    @Test("under aio=threads each file operation is a call that a tracer sees", .needs("strace"))
    func traced() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "4M")
            let words = scratch.daemonWords(.init(image: "disk.qcow2", fileOptions: ["aio=threads", "discard=unmap"]))
            let calls = "pread64,preadv,preadv2,pwrite64,pwritev,pwritev2,fdatasync,fsync,fallocate"
            let daemon = try await scratch.daemon(
                words: ["strace", "-f", "-qq", "-y", "-e", "trace=\(calls)", "-o", "trace"] + words)
            try await scratch.io(["write -P 1 0 1M", "flush", "read 0 4k", "write -z -u 0 1M", "flush"], daemon.uri())
            let trace = try await scratch.ok("cat", "trace")
            let onImage = trace.split(separator: "\n").filter { $0.contains("disk.qcow2") }
            for name in ["pwrite", "fdatasync", "pread"] {
                #expect(onImage.contains { $0.contains(name) }, "no \(name) on the image")
            }
            // The tracer ends as the traced daemon does.
            let pid = try await scratch.ok("pgrep", "-P", "\(daemon.child.pid)").trimmed
            try await scratch.ok("kill", pid)
            #expect(try await daemon.child.wait(seconds: 20).ending == .exited(0))
            try await scratch.expectClean("disk.qcow2")
        }
    }

    @Test(
        "under aio=threads each request on a raw disk is one call on its file, in the order of the requests",
        .needs("strace"), .onlyNacre)
    func oneCallEach() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "4M", "disk.raw")
            let words = scratch.daemonWords(
                .init(
                    image: "disk.raw", format: "raw", formatOptions: ["discard=unmap"],
                    fileOptions: ["aio=threads", "discard=unmap"]))
            let calls = "pread64,preadv,preadv2,pwrite64,pwritev,pwritev2,fdatasync,fsync,fallocate"
            let daemon = try await scratch.daemon(
                words: ["strace", "-f", "-qq", "-y", "-e", "trace=\(calls)", "-o", "trace"] + words)
            try await scratch.io(
                [
                    "write -P 1 0 64k", "write -P 1 128k 200k", "read 0 64k", "read 1M 512", "flush", "write -z 0 64k",
                    "discard 128k 64k", "flush",
                ], daemon.uri(), options: ["-t", "writeback"])
            let pid = try await scratch.ok("pgrep", "-P", "\(daemon.child.pid)").trimmed
            try await scratch.ok("kill", pid)
            #expect(try await daemon.child.wait(seconds: 20).ending == .exited(0))
            let names = try await scratch.ok("cat", "trace").split(separator: "\n").compactMap { line in
                line.firstMatch(of: /^\d+ +(\w+)\(\d+<[^>]*disk\.raw>/).map { String($0.1) }
            }
            let wanted = [
                "pwritev", "pwritev", "preadv2", "preadv2", "fdatasync", "fallocate", "fallocate", "fdatasync",
            ]
            #expect(names.prefix(wanted.count) == wanted[...])
            // The client flushes once more as it goes, and so do the nodes as they close.
            #expect(Set(names.dropFirst(wanted.count)) == ["fdatasync"])
        }
    }
}
