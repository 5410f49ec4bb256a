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
            ["ln", "-s", Subject.nacre, "qemu-img"],
        ] { try await scratch.ok(words) }
    }

    /// `URI` stands for the export's name.
    static let commands: [[String]] = [
        ["create", "-f", "qcow2", "URI", "16M"], ["create", "-f", "qcow2", "-o", "cluster_size=4k", "URI", "2M"],
        ["create", "-f", "raw", "URI", "1M"], ["create", "-f", "raw", "URI", "9M"],
        ["create", "-f", "raw", "-o", "preallocation=full", "URI", "1M"],
        ["create", "-f", "qcow2", "URI:absent", "1M"],
        ["convert", "-O", "qcow2", "a.qcow2", "URI"], ["convert", "-c", "-O", "qcow2", "a.qcow2", "URI"],
        ["convert", "-O", "raw", "a.qcow2", "URI"], ["convert", "-n", "-O", "raw", "a.qcow2", "URI"],
        ["convert", "-O", "qcow2", "a.qcow2", "URI:absent"],
        ["dd", "-f", "qcow2", "-O", "qcow2", "bs=64k", "count=40", "if=a.qcow2", "of=URI"],
        ["dd", "-f", "qcow2", "bs=1M", "count=2", "if=a.qcow2", "of=URI"],
    ]

    @Test("an image is made on an export as qemu-img makes it", arguments: commands)
    func made(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await Self.make(scratch)
            var found: [[String]] = []
            for program in ["qemu-img", scratch.file("qemu-img")] {
                // What was there before is a qcow2 image too.
                try await scratch.ok(
                    "bash", "-c",
                    "rm -f far; qemu-img create -q -f qcow2 old 1M && cp old export && truncate -s 8M export")
                let server = try scratch.start(
                    ["qemu-nbd", "-t", "-e", "9", "-k", scratch.file("far"), "-f", "raw", scratch.file("export")])
                guard try await scratch.appears("far") else { throw Trouble("the export does not come up") }
                let uri = "nbd+unix:///?socket=\(scratch.file("far"))"
                let ran = try await scratch.run(
                    [program] + words.map { $0.replacing("URI:absent", with: uri + "no").replacing("URI", with: uri) })
                var outcome = ["\(ran.status)", ran.out, ran.err]
                server.signal(15)
                _ = try await server.wait(seconds: 10)
                if ran.status == 0 {
                    outcome.append(try await scratch.ok("bash", "-c", "qemu-img info export | grep -v '^disk size'"))
                    let format = words.contains("qcow2") && !words.contains("raw") ? "qcow2" : "raw"
                    if format == "qcow2", words[0] != "dd" || words.contains("-O") {
                        try await scratch.expectClean("export")
                    }
                    try await scratch.ok("qemu-img", "convert", "-O", "raw", "export", "content")
                    outcome.append(try await scratch.ok("sha256sum", "content"))
                }
                found.append(outcome)
            }
            #expect(found[1] == found[0])
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
            var found: [[String]] = []
            for program in ["qemu-img", scratch.file("qemu-img")] {
                try await scratch.ok("bash", "-c", "rm -f out new.qcow2; qemu-img create -q -f qcow2 there.qcow2 4M")
                let ran = try await scratch.run([program] + words)
                var outcome = ["\(ran.status)", ran.out, ran.err]
                for file in ["out", "new.qcow2", "there.qcow2"] where scratch.exists(file) {
                    try await scratch.ok("qemu-img", "convert", "-O", "raw", file, "content")
                    outcome.append(try await scratch.ok("sha256sum", "content"))
                }
                found.append(outcome)
            }
            #expect(found[1] == found[0])
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
