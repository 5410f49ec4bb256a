import Testing

/// Images made inside a remote export, which cannot be made itself: what is there is written over.
@Suite("Images on exports", .paced, .needs("qemu-img", "qemu-io", "qemu-nbd"))
struct ExportTargetTests {
    /// A source, and an export of 8 MiB whose old contents nobody may take for the new ones.
    private static func make(_ scratch: Scratch) async throws {
        for words: [String] in [
            ["qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "4M"],
            ["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 128k", "-c", "write -P 2 1M 100k", "a.qcow2"],
            ["qemu-img", "create", "-q", "-f", "qcow2", "there.qcow2", "4M"],
            ["qemu-img", "create", "-q", "-f", "raw", "large.raw", "9M"],
            ["ln", "-s", Subject.nacre, "qemu-img"],
        ] { try await scratch.ok(words) }
    }

    /// `URI` stands for the export's name.
    static let commands: [[String]] = [
        ["create", "-f", "qcow2", "URI", "16M"], ["create", "-f", "qcow2", "-o", "cluster_size=4k", "URI", "2M"],
        ["create", "-f", "raw", "URI", "1M"], ["create", "-f", "raw", "URI", "9M"],
        ["create", "-f", "raw", "-o", "preallocation=full", "URI", "1M"],
        ["create", "-f", "qcow2", "URI:absent", "1M"],
        ["create", "-f", "qcow2", "-o", "data_file=d.raw", "URI:absent", "1M"],
        ["create", "-f", "qcow2", "-o", "preallocation=metadata", "URI", "4M"],
        ["convert", "-O", "raw", "large.raw", "URI"],
        ["convert", "-O", "qcow2", "-o", "data_file=d.raw", "a.qcow2", "URI:absent"],
        ["convert", "-O", "qcow2", "a.qcow2", "URI"], ["convert", "-c", "-O", "qcow2", "a.qcow2", "URI"],
        ["convert", "-O", "raw", "a.qcow2", "URI"], ["convert", "-n", "-O", "raw", "a.qcow2", "URI"],
        ["convert", "-O", "qcow2", "a.qcow2", "URI:absent"],
        ["dd", "-f", "qcow2", "-O", "qcow2", "bs=64k", "count=40", "if=a.qcow2", "of=URI"],
        ["dd", "-f", "qcow2", "bs=1M", "count=2", "if=a.qcow2", "of=URI"],
    ]

    /// Holds what our program comes to against what qemu-img does.
    private static func expectAlike(_ scratch: Scratch, _ outcome: (_ program: String) async throws -> [String])
        async throws
    {
        let theirs = try await outcome("qemu-img")
        let ours = try await outcome(scratch.file("qemu-img"))
        #expect(ours == theirs)
    }

    /// What an image reads as, by its checksum.
    private static func content(_ scratch: Scratch, of image: String) async throws -> String {
        try await scratch.ok("qemu-img", "convert", "-O", "raw", image, "content")
        return try await scratch.ok("sha256sum", "content")
    }

    @Test(
        "an image is made on an export as qemu-img makes it, and what is refused leaves everything as it was",
        arguments: commands)
    func made(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await Self.make(scratch)
            try await Self.expectAlike(scratch) { program in
                // What was there before is a qcow2 image too, and more behind it.
                try await scratch.ok(
                    "bash", "-c",
                    """
                    rm -f far; echo precious > d.raw; qemu-img create -q -f qcow2 old 1M
                    head -c 8M /dev/zero | tr '\\0' x > export; dd if=old of=export conv=notrunc status=none
                    """)
                let before = try await scratch.ok("sha256sum", "export")
                let server = try scratch.start(
                    ["qemu-nbd", "-t", "-e", "9", "-k", scratch.file("far"), "-f", "raw", scratch.file("export")])
                guard try await scratch.appears("far") else { throw Trouble("the export does not come up") }
                let uri = "nbd+unix:///?socket=\(scratch.file("far"))"
                let ran = try await scratch.run(
                    [program] + words.map { $0.replacing("URI:absent", with: uri + "no").replacing("URI", with: uri) })
                server.signal(15)
                _ = try await server.wait(seconds: 10)
                var outcome = ["\(ran.status)", ran.out, ran.err, try await scratch.ok("cat", "d.raw")]
                guard ran.status == 0 else {
                    #expect(try await scratch.ok("sha256sum", "export") == before)
                    return outcome
                }
                outcome.append(try await scratch.ok("bash", "-c", "qemu-img info export | grep -v '^disk size'"))
                if outcome.last?.contains("file format: qcow2") == true { try await scratch.expectClean("export") }
                outcome.append(try await Self.content(scratch, of: "export"))
                return outcome
            }
        }
    }

    static let names: [[String]] = [
        ["create", "json:{\"driver\":\"raw\"}", "1M"], ["create", "foo:bar", "1M"], ["create", "null-co://", "1M"],
        ["create", "-f", "qcow2", "blkdebug::a.qcow2", "1M"], ["create", "-f", "qcow2", "file:new.qcow2", "1M"],
        ["convert", "-O", "qcow2", "a.qcow2", "null-co://"], ["convert", "-n", "-O", "raw", "a.qcow2", "null-co://"],
        ["convert", "a.qcow2", "foo:bar"], ["convert", "-n", "a.qcow2", "foo:bar"],
        ["convert", "--target-image-opts", "-O", "qcow2", "a.qcow2", "driver=qcow2,file.filename=there.qcow2"],
        ["convert", "--target-image-opts", "-n", "-O", "qcow2", "a.qcow2", "driver=qcow2,file.filename=there.qcow2"],
        ["convert", "--target-image-opts", "-n", "a.qcow2", "driver=qcow2,file.filename=there.qcow2"],
        ["convert", "--target-image-opts", "-n", "a.qcow2", "there.qcow2"],
        ["convert", "--image-opts", "-f", "raw", "driver=qcow2,file.filename=a.qcow2", "out"],
        ["convert", "-n", "-O", "qcow2", "a.qcow2", "json:{\"driver\":\"qcow2\",\"file.filename\":\"there.qcow2\"}"],
        ["compare", "--image-opts", "-f", "raw", "driver=qcow2,file.filename=a.qcow2", "a.qcow2"],
        ["dd", "--image-opts", "if=driver=qcow2,file.filename=a.qcow2", "of=out"],
        ["dd", "--image-opts", "-f", "raw", "if=driver=qcow2,file.filename=a.qcow2", "of=out"],
        ["dd", "if=json:{\"driver\":\"qcow2\",\"file.filename\":\"a.qcow2\"}", "of=out", "bs=1M", "count=1"],
        ["dd", "if=json:{}", "of=out"], ["dd", "if=a.qcow2", "of=null-co://"],
    ]

    @Test("every name of an image means what it means to qemu-img", arguments: names)
    func named(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await Self.make(scratch)
            try await Self.expectAlike(scratch) { program in
                try await scratch.ok("bash", "-c", "rm -f out new.qcow2; qemu-img create -q -f qcow2 there.qcow2 4M")
                let ran = try await scratch.run([program] + words)
                var outcome = ["\(ran.status)", ran.out, ran.err]
                for file in ["out", "new.qcow2", "there.qcow2"] where scratch.exists(file) {
                    outcome.append(try await Self.content(scratch, of: file))
                }
                return outcome
            }
        }
    }

    @Test("what is said comes in qemu-img's order where both outputs are one pipe")
    func order() async throws {
        try await Scratch.use { scratch in
            try await Self.make(scratch)
            try await scratch.ok("bash", "-c", "printf '[inject-error]\\nevent = \"read_aio\"\\n' > rules")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "none.qcow2", "0")
            let script = "PROGRAM compare blkdebug:rules:a.qcow2 none.qcow2 2>&1 | cat"
            let theirs = try await scratch.ok("bash", "-c", script.replacing("PROGRAM", with: "qemu-img"))
            let ours = try await scratch.ok("bash", "-c", script.replacing("PROGRAM", with: scratch.file("qemu-img")))
            #expect(ours == theirs)
            #expect(ours.split(separator: "\n").count == 2)
            // What is made is told before it fails.
            let large = "PROGRAM create -f qcow2 large.qcow2 1E 2>&1 | cat"
            let told = try await scratch.ok("bash", "-c", large.replacing("PROGRAM", with: scratch.file("qemu-img")))
            #expect(told == (try await scratch.ok("bash", "-c", large.replacing("PROGRAM", with: "qemu-img"))))
            #expect(told.hasPrefix("Formatting "))
        }
    }
}
