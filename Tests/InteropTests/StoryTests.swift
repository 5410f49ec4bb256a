import FoundationEssentials
import Testing

@Suite(
    "The story", .paced, .serialized, .needs("qemu-img", "qemu-io", "nbdinfo", "nbdcopy", "fio"), .needsPythonClient)
struct StoryTests {
    /// How often the story is told; NACRE_STORY_RUNS asks for more.
    static let runs = ProcessInfo.processInfo.environment["NACRE_STORY_RUNS"].flatMap { Int($0) } ?? 1

    private func fioWords(_ target: [String], seed: Int) -> [String] {
        [
            "fio", "--name=story", "--rw=randwrite", "--size=24M", "--bsrange=4k-32k", "--iodepth=16",
            "--randseed=\(seed)",
            "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--output-format=terse",
        ] + target
    }

    @Test(
        "ten snapshots while fio writes and verifies leave a clean chain that holds what was written",
        arguments: 1...runs)
    func story(run: Int) async throws {
        let python = try #require(Tool.pythonWithQMP)
        try await Scratch.use { scratch in
            let base = scratch.file("base.qcow2")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", base, "32M")
            try await scratch.io(["write -P 77 28M 2M"], base, format: "qcow2")
            let daemon = try await scratch.daemon(.init(image: base))
            let target = ["--ioengine=nbd", "--uri=\(daemon.uri())"]
            let teller = try scratch.start([
                python, Tool.script("story.py"), daemon.monitorPath, scratch.path, base, "32M", "10", "0.2",
            ])
            // fio writes all its blocks and then verifies them, again and again until the last snapshot has been taken.
            var seed = run * 1000
            repeat {
                seed += 1
                try await scratch.ok(fioWords(target, seed: seed), seconds: 180)
            } while teller.isRunning
            let told = try await teller.wait(seconds: 60)
            try #require(told.ending == .exited(0), "\(told.out) \(told.err)")
            let top = told.out.trimmed

            try await scratch.ok("nbdcopy", daemon.uri(), "served.raw", seconds: 120)
            try await daemon.stop()
            try await expectChain(top, scratch)
            try await scratch.ok(
                "qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, "closed.raw", seconds: 120)
            try await scratch.expectSameBytes("served.raw", "closed.raw")
            try await scratch.io(["read -P 77 28M 2M"], "closed.raw")
            // fio knows its own blocks in the copy of the closed chain.
            try await scratch.ok(
                fioWords(["--ioengine=psync", "--filename=closed.raw", "--verify_only"], seed: seed), seconds: 120)
        }
    }

    /// Eleven layers, each of them clean.
    private func expectChain(_ top: String, _ scratch: Scratch) async throws {
        let chain = try await scratch.json(["qemu-img", "info", "--output=json", "--backing-chain", top]).items
        #expect(chain.count == 11)
        for layer in chain {
            let name = try #require(layer["filename"]?.string)
            try await scratch.expectClean(name)
        }
    }
}

extension String {
    /// Without blanks and line ends around it.
    var trimmed: String {
        String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}
