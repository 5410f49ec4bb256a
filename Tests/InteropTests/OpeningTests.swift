import Testing

/// Images as a user names them, beyond plain file names: both programs understand the same.
@Suite("Opening images", .paced, .onlyNacre, .needs("qemu-img", "qemu-storage-daemon"))
struct OpeningTests {
    static let names: [[String]] = [
        ["info", "--image-opts", "driver=qcow2,file.filename=disk.qcow2"],
        ["info", "--image-opts", "driver=qcow2,file.driver=file,file.filename=disk.qcow2"],
        ["info", "--image-opts", "file.filename=disk.qcow2"], ["info", "file:disk.qcow2"],
        ["info", "-f", "file", "disk.qcow2"], ["info", "json:{\"driver\":\"file\",\"filename\":\"disk.qcow2\"}"],
        ["info", "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"disk.qcow2\"}}"],
        ["info", "json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\",\"lazy-refcounts\":true}"],
        ["info", "--image-opts", "driver=qcow2,file.driver=blkdebug,file.image.filename=disk.qcow2"],
        ["info", "--image-opts", "driver=raw,file.driver=null-co"],
        [
            "info", "--object", "throttle-group,id=g,x-iops-total=1000", "--image-opts",
            "driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=disk.qcow2",
        ],
        ["info", "--backing-chain", "json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"}"],
        ["map", "--output=json", "--image-opts", "driver=qcow2,file.filename=disk.qcow2"],
        ["map", "--output=json", "json:{\"driver\":\"qcow2\",\"backing\":null,\"file.filename\":\"disk.qcow2\"}"],
        ["map", "--output=json", "-f", "raw", "odd.raw"],
        ["check", "--image-opts", "driver=qcow2,file.filename=disk.qcow2"],
        ["check", "-T", "none", "-f", "qcow2", "disk.qcow2"], ["check", "-T", "directsync", "disk.qcow2"],
        ["snapshot", "-l", "--image-opts", "driver=qcow2,file.filename=disk.qcow2"],
        ["amend", "-t", "unsafe", "-f", "qcow2", "-o", "lazy_refcounts=on", "disk.qcow2"],
        ["resize", "--image-opts", "driver=qcow2,file.filename=disk.qcow2", "9M"],
    ]

    /// What both refuse, and in which words.
    static let refused: [[String]] = [
        ["info", "--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=disk.qcow2"],
        ["info", "--image-opts", "filename=disk.qcow2"], ["info", "--image-opts", "disk.qcow2"],
        ["info", "--image-opts", "driver=qcow2"], ["info", "--image-opts", "driver=nope,file.filename=disk.qcow2"],
        ["info", "--image-opts", "driver=qcow2,file.filename=absent"], ["info", "json:{\"driver\":\"qcow2\""],
        ["info", "nope:disk.qcow2"], ["info", "nbd:nope"], ["info", "-f", "nope", "disk.qcow2"],
        ["info", "--object", "nope,id=s", "disk.qcow2"], ["info", "--object", "throttle-group", "disk.qcow2"],
        ["check", "-T", "nope", "disk.qcow2"], ["amend", "-t", "nope", "-o", "compat=1.1", "disk.qcow2"],
        ["check", "-r", "all", "-U", "disk.qcow2"], ["snapshot", "-U", "-c", "s", "disk.qcow2"],
    ]

    private func made(_ scratch: Scratch) async throws {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "4M")
        try await scratch.io(["write -P 1 1M 64k"], "base.qcow2", format: "qcow2")
        try await scratch.ok(
            "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "disk.qcow2")
        try await scratch.io(["write -P 2 2M 64k"], "disk.qcow2", format: "qcow2")
        try await scratch.ok("sh", "-c", "head -c 1000 disk.qcow2 >odd.raw")
        try await scratch.ok("ln", "-s", Subject.nacre, "qemu-img")
    }

    @Test("a name with options, a protocol or a cache mode is opened as qemu-img opens it", arguments: names)
    func opens(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await made(scratch)
            // Each has a copy, so that both take the same room on the host.
            try await scratch.ok("mv", "disk.qcow2", "kept")
            try await scratch.ok("cp", "kept", "disk.qcow2")
            let theirs = try await scratch.run(["qemu-img"] + words)
            try await scratch.ok("cp", "kept", "disk.qcow2")
            let ours = try await scratch.run([scratch.file("qemu-img")] + words)
            #expect(theirs.status == 0, "\(theirs.err)")
            // How much room a copy takes is the host's affair.
            func told(_ text: String) -> [Substring] {
                text.split(separator: "\n").filter { !$0.contains("disk size") && !$0.contains("actual-size") }
            }
            #expect(
                ours.status == theirs.status && told(ours.out) == told(theirs.out),
                "\(ours.out)\(ours.err)\n\(theirs.out)")
        }
    }

    @Test("what qemu-img refuses we refuse in its words", arguments: refused)
    func refuses(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await made(scratch)
            let theirs = try await scratch.run(["qemu-img"] + words)
            let ours = try await scratch.run([scratch.file("qemu-img")] + words)
            #expect(theirs.status == 1 && ours.status == 1)
            #expect(ours.err == theirs.err)
        }
    }

    @Test("R23: names with options are the user's alone: in an image they are file names, and no more")
    func hostileNames() async throws {
        try await Scratch.use { scratch in
            try await made(scratch)
            for name in ["json:{\"driver\":\"null-co\"}", "nbd://127.0.0.1:1/x"] {
                try await scratch.ok(
                    "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", name, "-F", "raw", "evil.qcow2", "1M")
                let map = try await scratch.run(Subject.img + ["map", "evil.qcow2"])
                #expect(map.status == 1 && map.err.contains("is not a plain file name"), "\(map.err)")
            }
        }
    }
}
