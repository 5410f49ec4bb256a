import FoundationEssentials
import Testing

@Suite("nacre serve", .paced, .onlyNacre, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct ServeTests {
    /// Starts `nacre serve`, and answers what it prints once it is ready.
    private func serve(_ scratch: Scratch, _ words: [String]) async throws -> (child: Child, text: String) {
        let child = try scratch.start([Subject.nacre, "serve"] + words)
        let ready = try await eventually(within: 30) {
            child.out.contains("Ctrl-C") || !child.isRunning ? true : nil
        }
        guard ready == true, child.isRunning else { throw Trouble("serve ended: \(child.out) \(child.err)") }
        return (child, child.out)
    }

    /// The printed command that starts with this word, run by a shell as a user would paste it.
    private func paste(_ word: String, from text: String, _ scratch: Scratch) async throws -> String {
        let line = text.split(separator: "\n").first { $0.contains("\(word) ") }
        let found = try #require(line, "no \(word) in: \(text)")
        let command = found[try #require(found.firstRange(of: "\(word) ")).lowerBound...]
        let folder = Subject.nacre.split(separator: "/").dropLast().joined(separator: "/")
        return try await scratch.ok(["sh", "-c", "PATH=/\(folder):$PATH; \(command)"])
    }

    @Test("the printed commands work as they stand: look at it, snapshot it, and Ctrl-C leaves a clean chain")
    func story() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "base.raw", "8M")
            try await scratch.io(["write -P 5 1M 1M"], "base.raw")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "disk.qcow2")
            let (child, text) = try await serve(scratch, ["disk.qcow2"])
            #expect(text.contains("qcow2") && text.contains("base.raw") || child.err.contains("base.raw"), "\(text)")
            let looked = try await paste("nbdinfo", from: text, scratch)
            #expect(looked.contains("export-size: 8388608"), "\(looked)")
            let uri = try #require(text.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("nbd+unix://") })
            try await scratch.io(["read -P 5 1M 1M", "write -P 6 2M 1M", "flush"], String(uri))
            let before = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
            _ = try await paste("nacre qmp", from: text, scratch)
            let after = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
            let new = Set(after).subtracting(before).filter { $0.hasSuffix(".qcow2") }
            let overlay = try #require(new.first)
            try await scratch.io(["write -P 7 3M 1M", "read -P 6 2M 1M"], String(uri))
            child.signal(2)
            #expect(try await child.wait(seconds: 20).ending == .exited(0))
            for image in ["disk.qcow2", overlay] { try await scratch.expectClean(image) }
            try await scratch.io(
                ["read -P 5 1M 1M", "read -P 6 2M 1M", "read -P 7 3M 1M"], overlay, format: "qcow2")
            try await scratch.io(["read -P 6 2M 1M", "read -P 0 3M 1M"], "disk.qcow2", format: "qcow2")
        }
    }

    @Test("R20: a raw image is served only where its format is said")
    func raw() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "disk.raw", "4M")
            let guessed = try await scratch.run([Subject.nacre, "serve", "disk.raw"], seconds: 20)
            #expect(guessed.status == 1 && guessed.err.contains("--format raw"), "\(guessed.err)")
            let (child, text) = try await serve(
                scratch, ["disk.raw", "--format", "raw", "--socket", scratch.file("s.nbd"), "--name", "mine"])
            #expect(text.contains("nbd+unix:///mine?socket="))
            // A guest that writes a header into its raw disk still has a raw disk.
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "header.qcow2", "1M")
            let uri = "nbd+unix:///mine?socket=\(scratch.file("s.nbd"))"
            try await scratch.io(["write -s header.qcow2 0 64k", "read -P 0 1M 1M"], uri)
            child.signal(15)
            #expect(try await child.wait(seconds: 20).ending == .exited(0))
        }
    }

    @Test("a read-only service refuses writes, and the file is untouched")
    func readOnly() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "4M")
            let before = try ImageBytes(scratch.file("disk.qcow2")).bytes
            let (child, _) = try await serve(
                scratch, ["disk.qcow2", "--read-only", "--socket", scratch.file("s.nbd"), "--name", "mine"])
            let uri = "nbd+unix:///mine?socket=\(scratch.file("s.nbd"))"
            #expect(
                try await scratch.json(["nbdinfo", "--json", uri])["exports"]?.items.first?["is_read_only"] == true)
            child.signal(15)
            #expect(try await child.wait(seconds: 20).ending == .exited(0))
            #expect(try ImageBytes(scratch.file("disk.qcow2")).bytes == before)
        }
    }

    @Test("R21: a backing file outside the image's folder is not opened")
    func outside() async throws {
        try await Scratch.use { scratch in
            try FileManager.default.createDirectory(
                atPath: scratch.file("inside"), withIntermediateDirectories: true)
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
            for name in [scratch.file("base.raw"), "../base.raw"] {
                try await scratch.ok(
                    "qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", "inside/disk.qcow2")
                let outcome = try await scratch.run([Subject.nacre, "serve", "inside/disk.qcow2"], seconds: 20)
                #expect(outcome.status == 1 && outcome.err.contains("base.raw"), "\(outcome.err)")
                let info = try await scratch.run([Subject.nacre, "img", "check", "inside/disk.qcow2"])
                #expect(info.status <= 3)
            }
        }
    }
}
