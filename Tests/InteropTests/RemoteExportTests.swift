import FoundationEssentials
import Glibc
import Testing

/// Remote exports of other programs as nodes of ours, seen through our own export.
@Suite("Remote exports", .paced, .needs("qemu-img", "qemu-io", "qemu-nbd", "nbdkit"))
struct RemoteExportTests {
    /// Starts a server and waits for its socket.
    private func server(_ scratch: Scratch, _ words: [String], _ socket: String) async throws -> Child {
        let child = try scratch.start(words)
        guard try await scratch.appears(socket) else { throw Trouble("\(words) does not come up") }
        return child
    }

    private func qemuNBD(_ scratch: Scratch, _ image: String, format: String, _ more: [String] = []) async throws
        -> Child
    {
        try await server(
            scratch, ["qemu-nbd", "-t", "-e", "9", "-k", scratch.file("far"), "-f", format] + more + [image], "far")
    }

    /// A daemon whose node `disk` stands on the remote export at the socket `far`.
    private func daemon(_ scratch: Scratch, format: String = "raw", _ options: String = "") async throws -> Daemon {
        try await scratch.daemon(
            words: Subject.daemon + Subject.allowing(scratch.path) + [
                "--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off", "--monitor", "chardev=m",
                "--blockdev",
                "driver=nbd,node-name=far,server.type=unix,server.path=\(scratch.file("far")),discard=unmap\(options)",
                "--blockdev", "driver=\(format),node-name=disk,file=far,discard=unmap",
                "--nbd-server", "addr.type=unix,addr.path=\(scratch.file("d.nbd"))",
                "--export", "type=nbd,id=e0,node-name=disk,name=disk,writable=on",
            ])
    }

    private static let strokes = [
        "write -P 1 0 1M", "write -P 2 1000 3000", "write -z 64k 64k", "write -z -u 256k 64k", "discard 512k 64k",
        "write -f -P 3 900k 4k", "flush",
    ]
    private static let looks = [
        "read -P 1 0 1000", "read -P 2 1000 3000", "read -P 0 64k 64k", "read -P 0 256k 64k", "read -P 3 900k 4k",
    ]

    private func strokeAndLook(_ scratch: Scratch, _ daemon: Daemon, _ image: String) async throws {
        try await scratch.io(Self.strokes, daemon.uri(), format: "raw")
        try await scratch.io(Self.looks, daemon.uri(), format: "raw")
        try await daemon.stop()
        try await scratch.io(Self.looks, image, format: "raw")
    }

    @Test("a disk on qemu-nbd reads as it was written, through us and without us")
    func qemu() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "8M", "disk.raw")
            let far = try await qemuNBD(scratch, scratch.file("disk.raw"), format: "raw", ["--discard=unmap"])
            try await strokeAndLook(scratch, try await daemon(scratch), scratch.file("disk.raw"))
            await far.end()
        }
    }

    @Test("a qcow2 image behind a remote export: written, snapshot over it, checked by qemu-img")
    func qcow2() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "image.qcow2", "4M")
            // The export does not grow: room for all of it.
            try await scratch.ok("truncate", "-s", "8M", "image.qcow2")
            let far = try await qemuNBD(scratch, scratch.file("image.qcow2"), format: "raw")
            let near = try await daemon(scratch, format: "qcow2")
            try await scratch.io(Self.strokes, near.uri(), format: "raw")
            let monitor = try await near.monitor()
            try await monitor.execute(
                "blockdev-snapshot-sync",
                [
                    "node-name": "disk", "snapshot-file": .string(scratch.file("over.qcow2")),
                    "snapshot-node-name": "over",
                ])
            try await scratch.io(["write -P 9 2M 64k", "read -P 2 1000 3000"], near.uri(), format: "raw")
            try await near.stop()
            await far.end()
            try await scratch.io(Self.looks + ["read -P 0 2M 64k"], scratch.file("image.qcow2"), format: "qcow2")
            let checked = try await scratch.run(["qemu-img", "check", "-f", "qcow2", scratch.file("image.qcow2")])
            #expect(checked.status == 0, "\(checked.out)")
        }
    }

    @Test(
        "nbdkit's awkward disks are served: slow ones, and those that take whole blocks of their own size only",
        arguments: [
            ["--filter=delay", "memory", "8M", "rdelay=5ms", "wdelay=5ms"],
            [
                "--filter=blocksize-policy", "memory", "8M", "blocksize-minimum=4096", "blocksize-preferred=65536",
                "blocksize-maximum=131072", "blocksize-error-policy=error",
            ],
            ["--filter=blocksize", "memory", "8M", "minblock=4096", "maxdata=64k"],
            ["--filter=nozero", "memory", "8M"],
            ["--filter=noextents", "memory", "8M"], ["--no-sr", "memory", "8M"],
            ["--mask-handshake=0", "memory", "8M"],
        ])
    func awkward(words: [String]) async throws {
        try await Scratch.use { scratch in
            let far = try await server(scratch, ["nbdkit", "-f", "-U", scratch.file("far")] + words, "far")
            let near = try await daemon(scratch)
            try await scratch.io(Self.strokes, near.uri(), format: "raw")
            try await scratch.io(Self.looks, near.uri(), format: "raw")
            try await near.stop()
            await far.end()
        }
    }

    @Test("nbdkit's errors are the errors of the requests, and nothing else")
    func errors() async throws {
        try await Scratch.use { scratch in
            let words = [
                "nbdkit", "-f", "-U", scratch.file("far"), "--filter=error", "memory", "8M", "error-pread=EIO",
                "error-pread-rate=100%", "error-pread-file=\(scratch.file("fail"))",
            ]
            let far = try await server(scratch, words, "far")
            let near = try await daemon(scratch)
            try await scratch.io(["write -P 1 0 64k", "read -P 1 0 64k"], near.uri(), format: "raw")
            try await scratch.ok("touch", "fail")
            let failed = try await scratch.run(["qemu-io", "-f", "raw", "-c", "read 0 64k", near.uri()])
            #expect(failed.out.contains("Input/output error"))
            try await scratch.ok("rm", "fail")
            try await scratch.io(["read -P 1 0 64k"], near.uri(), format: "raw")
            try await near.stop()
            await far.end()
        }
    }

    @Test("a server that is killed and comes back within reconnect-delay is not noticed, and loses nothing")
    func killed() async throws {
        try await Scratch.use { scratch in
            // Behind qcow2 a killed qemu-nbd forgets what it had not flushed.
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "image.qcow2", "8M")
            let first = try await qemuNBD(scratch, scratch.file("image.qcow2"), format: "qcow2")
            let near = try await daemon(scratch, ",reconnect-delay=30")
            let client = try scratch.start(
                ["qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", "-c", "sleep 1500"]
                    + ["-c", "write -P 2 1M 1M", "-c", "flush", near.uri()])
            try await Task.sleep(for: .milliseconds(700))
            first.signal(SIGKILL)
            try await first.wait()
            try await scratch.ok("rm", "far")
            try await Task.sleep(for: .milliseconds(1500))
            let second = try await qemuNBD(scratch, scratch.file("image.qcow2"), format: "qcow2")
            let outcome = try await client.wait(seconds: 60)
            #expect(outcome.ending == .exited(0), "\(outcome.out)\(outcome.err)")
            second.signal(SIGKILL)
            try await second.wait()
            try await scratch.io(["read -P 1 0 1M", "read -P 2 1M 1M"], scratch.file("image.qcow2"), format: "qcow2")
            try await near.stop()
        }
    }

    @Test("query-named-block-nodes names a remote export as QEMU does")
    func names() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "1M", "disk.raw")
            let far = try await qemuNBD(scratch, scratch.file("disk.raw"), format: "raw", ["-x", "a b"])
            let near = try await daemon(scratch, ",export=a b")
            let monitor = try await near.monitor()
            let nodes = try await monitor.execute("query-named-block-nodes", ["flat": true])
            let name = JSONValue.string("nbd+unix:///a b?socket=\(scratch.file("far"))")
            #expect(nodes.items.count == 2)
            for node in nodes.items { #expect(node["file"] == name && node["image"]?["filename"] == name) }
            let far0: JSONValue = ["type": "unix", "path": .string(scratch.file("far"))]
            try await monitor.execute(
                "blockdev-add", ["driver": "nbd", "node-name": "lone", "server": far0, "export": "a b"])
            let refusal = try await monitor.refusal("block_resize", ["node-name": "lone", "size": 4096])
            #expect(refusal.text == "Cannot resize NBD nodes")
            try await near.stop()
            await far.end()
        }
    }

    @Test("the image tool takes the names of remote exports from the user")
    func tool() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "1M", "disk.raw")
            let far = try await qemuNBD(scratch, scratch.file("disk.raw"), format: "raw", ["-x", "e"])
            for name in [
                "nbd+unix:///e?socket=\(scratch.file("far"))", "nbd:unix:\(scratch.file("far")):exportname=e",
            ] {
                let told = try await scratch.ok(Subject.img + ["info", "-f", "raw", name])
                #expect(told.contains("virtual size: 1 MiB"))
            }
            // The words for a server before there was `server`.
            let old = "driver=nbd,path=\(scratch.file("far")),export=e"
            #expect(try await scratch.ok(Subject.img + ["info", "--image-opts", old]).contains("virtual size: 1 MiB"))
            let missing = "nbd+unix:///x?socket=\(scratch.file("far"))"
            let refused = try await scratch.run(Subject.img + ["info", "-f", "raw", missing])
            #expect(refused.err.contains("Could not open '\(missing)': Requested export not available"))
            await far.end()
        }
    }
}
