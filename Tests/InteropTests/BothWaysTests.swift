import Testing

/// The matrix: every feature of the format, as QEMU's tools make and write it and as we do. Contents, info, map and check are
/// the same to both.
@Suite("qcow2, both ways", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "nbdcopy"))
struct BothWaysTests {
    @Test(
        "an image that QEMU wrote reads over NBD as it reads in QEMU, and both tools say the same of it",
        arguments: DiskUnderTest.all)
    func reads(disk: DiskUnderTest) async throws {
        try await Scratch.use { scratch in
            try await disk.make(in: scratch)
            try await scratch.expectAgreement(on: "disk.qcow2")
            let daemon = try await scratch.daemon(.init(image: scratch.file("disk.qcow2"), writable: false))
            try await scratch.expectSame(daemon.uri(), "raw", scratch.file("expected.raw"))
            try await scratch.ok("nbdcopy", daemon.uri(), scratch.file("copy.raw"))
            try await scratch.expectSameBytes(scratch.file("copy.raw"), scratch.file("expected.raw"))
            try await daemon.stop()
        }
    }

    @Test(
        "an image that QEMU wrote and we wrote on is clean, and equal to what was written", arguments: DiskUnderTest.all
    )
    func writes(disk: DiskUnderTest) async throws {
        try await Scratch.use { scratch in
            try await disk.make(in: scratch)
            let image = scratch.file("disk.qcow2")
            let expected = scratch.file("expected.raw")
            let daemon = try await scratch.daemon(
                .init(image: image, formatOptions: ["discard=unmap"], fileOptions: ["discard=unmap"]))
            let strokes = Stroke.mixture(seed: 7, size: disk.size, clusterSize: disk.clusterSize, count: 60)
            try await scratch.strike(strokes, daemon.uri())
            try await scratch.strikeRaw(strokes, expected, discardZeroes: disk.discardZeroes)
            try await scratch.expectSame(daemon.uri(), "raw", expected)
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.expectAgreement(on: "disk.qcow2")
            try await scratch.expectSame(image, "qcow2", expected)
            if case .snapshotted = disk.history {
                try await scratch.ok(
                    "qemu-img", "convert", "-l", "snapshot.name=first", "-f", "qcow2", "-O", "raw", image,
                    scratch.file("was.raw"))
                try await scratch.expectSame(scratch.file("was.raw"), "raw", scratch.file("first.raw"))
                try await scratch.ok("qemu-img", "snapshot", "-a", "first", image)
                try await scratch.expectClean(image)
                try await scratch.expectSame(image, "qcow2", scratch.file("first.raw"))
            }
        }
    }

    @Test(
        "an image that we made and wrote is clean, reads in QEMU as what was written, and both tools say the same of it",
        arguments: DiskUnderTest.ours)
    func made(disk: DiskUnderTest) async throws {
        try await Scratch.use { scratch in
            try await disk.make(in: scratch, byUs: true)
            let image = scratch.file("disk.qcow2")
            try await scratch.expectClean(image)
            try await scratch.expectAgreement(on: "disk.qcow2")
            try await scratch.expectSame(image, "qcow2", scratch.file("expected.raw"))
            // And QEMU goes on with it.
            try await scratch.io(["write -q -P 77 3k 70k", "read -q -P 77 3k 70k"], image, format: "qcow2")
            try await scratch.expectClean(image)
        }
    }

    @Test(
        "what many requests in flight have written is there, and the image is clean",
        arguments: [
            "aio=io_uring", "aio=threads", "aio=io_uring,cache.direct=on", "aio=threads,cache.direct=on",
            "aio=native,cache.direct=on",
        ])
    func manyInFlight(engine: String) async throws {
        try await Scratch.use { scratch in
            let image = scratch.file("disk.qcow2")
            let expected = scratch.file("expected.raw")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, "8M")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", expected, "8M")
            let daemon = try await scratch.daemon(.init(image: image, fileOptions: [engine]))
            // Neighbours that share a cluster, in flight together.
            let pieces = (0..<160).map { ($0 * 37 % 160 * 3072, 1 + $0 % 250) }
            try await scratch.io(
                pieces.map { "aio_write -q -P \($0.1) \($0.0) 3072" } + ["aio_flush"], daemon.uri())
            try await scratch.io(pieces.map { "write -q -P \($0.1) \($0.0) 3072" }, expected)
            try await scratch.expectSame(daemon.uri(), "raw", expected)
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.expectSame(image, "qcow2", expected)
        }
    }

    @Test("a full cluster written without unmap, zeroed and written again keeps its place in the file")
    func preallocatedZero() async throws {
        try await Scratch.use { scratch in
            let image = scratch.file("disk.qcow2")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", image, "4M")
            let daemon = try await scratch.daemon(.init(image: image))
            try await scratch.io(["write -P 1 0 1M", "write -z 0 1M"], daemon.uri())
            let zeroed = try await scratch.ok("nbdinfo", "--map", "--totals", daemon.uri())
            #expect(zeroed.contains("zero"), "\(zeroed)")
            try await scratch.io(["write -P 2 64k 64k", "read -P 0 0 64k", "read -P 2 64k 64k"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.io(
                ["read -P 0 0 64k", "read -P 2 64k 64k", "read -P 0 128k 896k"], image, format: "qcow2")
            let size = try await scratch.json(["qemu-img", "info", "--output=json", image])["actual-size"]?.number
            #expect((size ?? .max) <= 2 << 20, "the zeroed clusters were not written in place")
        }
    }
}
