import Testing

@Suite("Image locks", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct LockTests {
    private func served(_ scratch: Scratch, writable: Bool) async throws -> Daemon {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "4M")
        return try await scratch.daemon(.init(image: scratch.file("disk.qcow2"), writable: writable))
    }

    @Test("R89: QEMU's tools are refused the image that we write to, with their own words")
    func foreignWriter() async throws {
        try await Scratch.use { scratch in
            let daemon = try await served(scratch, writable: true)
            let io = try await scratch.run(["qemu-io", "-f", "qcow2", "-c", "write 0 4k", "disk.qcow2"])
            #expect(io.status == 1 && io.err.contains("Failed to get \"write\" lock"), "\(io.err)")
            let info = try await scratch.run(["qemu-img", "info", "disk.qcow2"])
            #expect(info.status == 1 && info.err.contains("Failed to get shared \"write\" lock"), "\(info.err)")
            #expect(info.err.contains("Is another process using the image [disk.qcow2]?"))
            try await daemon.stop()
            try await scratch.ok("qemu-io", "-f", "qcow2", "-c", "write 0 4k", "disk.qcow2")
        }
    }

    @Test("a reader who shares is admitted beside the writer")
    func sharingReader() async throws {
        try await Scratch.use { scratch in
            let daemon = try await served(scratch, writable: true)
            try await scratch.ok("qemu-img", "info", "-U", "disk.qcow2")
            let sharing = Daemon.Setting(
                image: scratch.file("disk.qcow2"), writable: false, formatOptions: ["force-share=on"],
                fileOptions: ["force-share=on"])
            let reader = try await scratch.daemon(sharing, name: "r")
            try await scratch.io(["read -P 0 0 4M"], reader.uri(), options: ["-r"])
            try await reader.stop()
            try await scratch.ok(Subject.img + ["info", "-U", "disk.qcow2"])
            try await daemon.stop()
        }
    }

    @Test("two readers share an image, and no writer comes between")
    func readers() async throws {
        try await Scratch.use { scratch in
            let daemon = try await served(scratch, writable: false)
            try await scratch.ok("qemu-img", "info", "disk.qcow2")
            let second = try await scratch.daemon(
                .init(image: scratch.file("disk.qcow2"), writable: false), name: "second")
            let io = try await scratch.run(["qemu-io", "-f", "qcow2", "-c", "write 0 4k", "disk.qcow2"])
            #expect(io.status == 1 && io.err.contains("Failed to get \"write\" lock"), "\(io.err)")
            try await second.stop()
            try await daemon.stop()
        }
    }

    @Test("R89: we are refused the image that another writes to, ours or QEMU's", arguments: [true, false])
    func refused(byQEMU: Bool) async throws {
        try await Scratch.use { scratch in
            let holder: Child
            if byQEMU {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "4M")
                holder = try scratch.start([
                    "qemu-storage-daemon", "--blockdev", "driver=file,node-name=f,filename=disk.qcow2", "--blockdev",
                    "driver=qcow2,node-name=q,file=f", "--nbd-server", "addr.type=unix,addr.path=h.nbd", "--export",
                    "type=nbd,id=e,node-name=q,writable=on", "--pidfile", "held",
                ])
                #expect(try await scratch.appears("held"))
            } else {
                holder = try await served(scratch, writable: true).child
            }
            let writer = try await scratch.run(
                scratch.daemonWords(.init(image: scratch.file("disk.qcow2")), name: "w"), seconds: 20)
            #expect(writer.status == 1 && writer.err.contains("Failed to get \"write\" lock"), "\(writer.err)")
            let info = try await scratch.run(Subject.img + ["info", "disk.qcow2"])
            #expect(info.status == 1 && info.err.contains("Failed to get shared \"write\" lock"), "\(info.err)")
            // The kernel tells us who it is; called as QEMU's program we say what that says.
            if !Subject.isPeer {
                let program = byQEMU ? "qemu-storage-daemon" : "nacre"
                let sentence = "It is open in \(program) (process \(holder.pid))."
                #expect(
                    info.err.contains("Is another process using the image [disk.qcow2]?\n\(sentence)\n"), "\(info.err)")
                #expect(writer.err.contains(sentence), "\(writer.err)")
                try await scratch.ok("ln", "-s", Subject.nacre, "qemu-img")
                let asQEMU = try await scratch.run([scratch.file("qemu-img"), "info", "disk.qcow2"])
                let theirs = try await scratch.run(["qemu-img", "info", "disk.qcow2"])
                #expect(asQEMU.err == theirs.err)
            }
            holder.signal(15)
            #expect(try await holder.wait().ending == .exited(0))
            let again = try await scratch.daemon(.init(image: scratch.file("disk.qcow2")), name: "again")
            try await again.stop()
        }
    }

    @Test("the backing file of a served chain is nobody else's to write")
    func backing() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "4M")
            try await scratch.ok(
                "qemu-img", "create", "-q", "-f", "qcow2", "-b", scratch.file("base.qcow2"), "-F", "qcow2", "disk.qcow2"
            )
            let daemon = try await scratch.daemon(.init(image: scratch.file("disk.qcow2")))
            let io = try await scratch.run(["qemu-io", "-f", "qcow2", "-c", "write 0 4k", "base.qcow2"])
            #expect(io.status == 1 && io.err.contains("Failed to get \"write\" lock"), "\(io.err)")
            try await scratch.ok("qemu-img", "info", "base.qcow2")
            try await daemon.stop()
        }
    }
}
