import Testing

@Suite("Clients that talk nonsense", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "python3"))
struct NonsenseTests {
    static let cases = [
        "garbage", "vanish_in_handshake", "huge_option", "long_name", "inner_lengths", "unknown_option", "wrong_flags",
        "wrong_magic", "past_the_end", "too_long", "unknown_command", "vanish_in_payload", "vanish_with_replies",
        "idle",
        "disconnects",
    ]

    private func serve(_ scratch: Scratch) async throws -> Daemon {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "64M")
        try await scratch.io(["write -P 5 2M 2M"], "disk.qcow2", format: "qcow2")
        return try await scratch.daemon(.init(image: scratch.file("disk.qcow2")))
    }

    @Test("R30, R36: an NBD client that talks nonsense or vanishes loses its own connection only", arguments: cases)
    func nbd(name: String) async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            // An honest client that is in the middle of its work, and goes on.
            let witness = try scratch.start(
                ["qemu-io", "-f", "raw", "-c", "write -P 6 8M 1M", "-c", "sleep 1000", "-c", "read -P 6 8M 1M"]
                    + ["-c", "read -P 5 2M 2M", daemon.uri()])
            try await scratch.ok(
                "python3", Tool.script("nbd_nonsense.py"), scratch.file(daemon.socket), "disk", name, seconds: 40)
            let seen = try await witness.wait()
            #expect(seen.status == 0 && !seen.out.contains("failed"), "\(seen.out) \(seen.err)")
            try await scratch.io(["read -P 5 2M 2M", "write -P 7 4M 1M", "read -P 7 4M 1M"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean("disk.qcow2")
        }
    }

    @Test("a QMP client that talks nonsense or vanishes hurts nobody who comes after it")
    func qmp() async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch)
            try await scratch.ok("python3", Tool.script("qmp_nonsense.py"), daemon.monitorPath, seconds: 90)
            try await scratch.io(["read -P 5 2M 2M"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean("disk.qcow2")
        }
    }
}
