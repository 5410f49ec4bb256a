import Testing

@Suite("Real kills", .paced, .serialized, .needs("qemu-img", "qemu-io", "fio", "python3"), .onlyNacre)
struct KillTests {
    /// Runs `scripts/kills` on the program under test, its images in the scratch folder.
    private func kills(_ words: [String], _ scratch: Scratch) async throws -> Child.Outcome {
        try await scratch.run(
            ["python3", "\(Tool.package)/scripts/kills", "--nacre", Subject.released] + words, seconds: 300,
            environment: ["TMPDIR": scratch.path])
    }

    @Test("what was flushed outlives kills of the daemon under load")
    func flushedSurvives() async throws {
        try await Scratch.use { scratch in
            let outcome = try await kills(["--kills", "8", "--seed", "1"], scratch)
            #expect(outcome.status == 0, "\(outcome.out) \(outcome.err)")
            #expect(outcome.out.hasPrefix("none: 8 kills, "))
            #expect(outcome.out.contains(" 0 lost, 0 third values\n"), "\(outcome.out)")
        }
    }

    @Test(
        "a daemon whose flushes reach no disk is found out when its file system crashes",
        .needs("strace", "mkfs.ext4", "mount"), .needsRoot)
    func droppedFlushIsFound() async throws {
        try await Scratch.use { scratch in
            guard try await scratch.mountSmall("probe", mebibytes: 1) != nil else {
                try Test.cancel("skipped: the host does not let us mount a file system")
            }
            let strace = "strace -D -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:retval=0"
            let words = ["--filesystem", "ext4", "--kills", "200", "--seed", "71", "--under", strace]
            let outcome = try await kills(words, scratch)
            #expect(outcome.status == 1)
            #expect(outcome.out.contains("the images are in"), "\(outcome.out) \(outcome.err)")
            #expect(outcome.out.hasPrefix("qemu-img check") || outcome.out.contains("lost"), "\(outcome.out)")
        }
    }
}
