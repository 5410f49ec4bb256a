import FoundationEssentials
import Testing

/// One kind of qcow2 image, and how it is made: by QEMU's tools, or by ours. All kinds together are the matrix of what the format
/// has (`BothWaysTests`).
struct DiskUnderTest: Sendable, CustomTestStringConvertible {
    /// What the image has been through before we see it.
    enum History: Sendable {
        /// Created and written to.
        case written
        /// Stands on a chain of written images, the first a raw file; sizes in bytes, the base first.
        case backed(by: [UInt64])
        /// Made by `qemu-img convert -c`, so every cluster with data is compressed.
        case compressed
        /// Written to, an internal snapshot taken, written to again.
        case snapshotted
        /// Gets a bitmap that records what is written.
        case marked
    }

    let name: String
    var options = ""
    var size: UInt64 = 4 << 20
    var history = History.written

    var testDescription: String { name }

    private func option(_ name: String) -> String? {
        options.split(separator: ",").first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
    }

    var clusterSize: UInt64 { option("cluster_size").flatMap { UInt64($0) } ?? 65536 }
    var isVersion2: Bool { option("compat") == "0.10" }

    /// Version 2 cannot mark a cluster as zero, so that over a backing file a discard changes nothing.
    var discardZeroes: Bool {
        if case .backed = history { return !isVersion2 }
        return true
    }

    static let all: [DiskUnderTest] =
        (9...21).map { bits in
            DiskUnderTest(
                name: "cluster size \(1 << bits)", options: "cluster_size=\(1 << bits)",
                size: max(2 << 20, 6 << bits) + 512)
        }
        + [1, 2, 4, 8, 16, 32, 64].map { bits in
            DiskUnderTest(name: "refcount width \(bits)", options: "cluster_size=4096,refcount_bits=\(bits)")
        } + [
            DiskUnderTest(name: "version 2", options: "compat=0.10,cluster_size=4096"),
            DiskUnderTest(
                name: "version 2 with a backing file", options: "compat=0.10,cluster_size=4096",
                history: .backed(by: [4 << 20])),
            DiskUnderTest(name: "lazy refcounts", options: "cluster_size=4096,lazy_refcounts=on"),
            DiskUnderTest(name: "preallocated metadata", options: "preallocation=metadata,cluster_size=16384"),
            DiskUnderTest(name: "fully preallocated", options: "preallocation=falloc,cluster_size=65536"),
            DiskUnderTest(name: "a backing file as long", history: .backed(by: [4 << 20])),
            DiskUnderTest(
                name: "a shorter backing file", options: "cluster_size=4096", history: .backed(by: [(1 << 20) + 1536])),
            DiskUnderTest(name: "a longer backing file", options: "cluster_size=4096", history: .backed(by: [9 << 20])),
            DiskUnderTest(
                name: "a chain of five", options: "cluster_size=8192",
                history: .backed(by: [3 << 20, 6 << 20, 2 << 20, 5 << 20])),
            DiskUnderTest(name: "deflate", options: "compression_type=zlib", history: .compressed),
            DiskUnderTest(
                name: "deflate, small clusters", options: "compression_type=zlib,cluster_size=4096",
                history: .compressed),
            DiskUnderTest(name: "deflate, version 2", options: "compat=0.10", history: .compressed),
            DiskUnderTest(
                name: "deflate, clusters of 2 MiB", options: "cluster_size=2097152", size: 12 << 20,
                history: .compressed),
            DiskUnderTest(name: "zstd", options: "compression_type=zstd", history: .compressed),
            DiskUnderTest(
                name: "zstd, small clusters", options: "compression_type=zstd,cluster_size=2048", history: .compressed),
            DiskUnderTest(name: "an internal snapshot", options: "cluster_size=4096", history: .snapshotted),
            DiskUnderTest(
                name: "an internal snapshot, version 2", options: "compat=0.10,cluster_size=8192",
                history: .snapshotted),
            DiskUnderTest(name: "a bitmap", options: "cluster_size=4096", history: .marked),
            DiskUnderTest(
                name: "a bitmap beside subclusters", options: "extended_l2=on,refcount_bits=64", history: .marked),
        ] + extended + apart

    /// Those that we make as well: of cluster sizes the smallest, the usual and the largest.
    static let ours = all.filter { disk in
        if case .compressed = disk.history { return false }
        return !disk.name.hasPrefix("cluster size")
            || ["512", "65536", "2097152"].contains { disk.name.hasSuffix(" \($0)") }
    }

    /// With subclusters.
    static let extended: [DiskUnderTest] =
        [14, 16, 21].map { bits in
            DiskUnderTest(
                name: "subclusters of \(1 << bits / 32)", options: "extended_l2=on,cluster_size=\(1 << bits)",
                size: max(2 << 20, 6 << bits) + 512)
        } + [
            DiskUnderTest(
                name: "subclusters over a chain", options: "extended_l2=on",
                history: .backed(by: [(1 << 20) + 1536, 3 << 20, 9 << 20])),
            DiskUnderTest(
                name: "subclusters, preallocated", options: "extended_l2=on,preallocation=metadata,cluster_size=32768"),
            DiskUnderTest(
                name: "subclusters, compressed", options: "extended_l2=on,compression_type=zstd", history: .compressed),
            DiskUnderTest(
                name: "subclusters under an internal snapshot", options: "extended_l2=on,cluster_size=32768",
                history: .snapshotted),
        ]

    /// With the data in a file of its own.
    static let apart: [DiskUnderTest] = [
        DiskUnderTest(name: "a data file", options: "data_file=disk.data,cluster_size=4096"),
        DiskUnderTest(name: "a raw data file", options: "data_file=disk.data,data_file_raw=on"),
        DiskUnderTest(
            name: "a data file over a backing file", options: "data_file=disk.data", history: .backed(by: [3 << 20])),
        DiskUnderTest(
            name: "a data file with subclusters", options: "data_file=disk.data,extended_l2=on,cluster_size=16384"),
    ]

    /// Makes `disk.qcow2` and `expected.raw`, the bytes it reads as, in the scratch directory: without our help, or with our
    /// tools and daemon alone.
    func make(in scratch: Scratch, byUs: Bool = false) async throws {
        let image = scratch.file("disk.qcow2")
        let expected = scratch.file("expected.raw")
        let tool = byUs ? Subject.img : ["qemu-img"]
        try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", expected, "\(size)")
        let strokes = Stroke.mixture(seed: 1, size: size, clusterSize: clusterSize, count: 24)
        switch history {
        case .written:
            try await create(image, size, tool, in: scratch)
            try await both(strokes, scratch, byUs)
        case .backed(let sizes):
            let base = try await chain(sizes, in: scratch)
            try await create(image, size, tool, backing: base, in: scratch)
            try await expectChain(sizes.count, scratch)
            try await both(Array(strokes.prefix(6)), scratch, byUs)
        case .compressed:
            try await scratch.strikeRaw(strokes, expected)
            let list = options.isEmpty ? [] : ["-o", options]
            try await scratch.ok(
                ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"] + list + [expected, image])
        case .snapshotted:
            try await create(image, size, tool, in: scratch)
            try await both(strokes, scratch, byUs)
            try await scratch.ok(tool + ["snapshot", "-c", "first"] + Self.format(byUs) + [image])
            try await scratch.ok("cp", expected, scratch.file("first.raw"))
            let more = Stroke.mixture(seed: 2, size: size, clusterSize: clusterSize, count: 6)
            try await both(more, scratch, byUs)
        case .marked:
            try await create(image, size, tool, in: scratch)
            try await scratch.ok(tool + ["bitmap", "--add", "-g", "4096"] + Self.format(byUs) + [image, "marks"])
            try await both(strokes, scratch, byUs)
        }
    }

    /// What we write to is never guessed.
    private static func format(_ byUs: Bool) -> [String] { byUs ? ["-f", "qcow2"] : [] }

    private func create(
        _ image: String, _ size: UInt64, _ tool: [String] = ["qemu-img"], backing: String? = nil, in scratch: Scratch
    ) async throws {
        let list = options.isEmpty ? [] : ["-o", options]
        let base = backing.map { ["-b", $0, "-F", $0.hasSuffix(".raw") ? "raw" : "qcow2"] } ?? []
        try await scratch.ok(tool + ["create", "-q", "-f", "qcow2"] + list + base + [image, "\(size)"])
    }

    private func both(_ strokes: [Stroke], _ scratch: Scratch, _ byUs: Bool) async throws {
        let image = scratch.file("disk.qcow2")
        if byUs {
            let daemon = try await scratch.daemon(
                .init(image: image, formatOptions: ["discard=unmap"], fileOptions: ["discard=unmap"]))
            try await scratch.strike(strokes, daemon.uri())
            try await daemon.stop()
        } else {
            try await scratch.strike(strokes, image, format: "qcow2")
        }
        try await scratch.strikeRaw(strokes, scratch.file("expected.raw"), discardZeroes: discardZeroes)
    }

    /// The images under the one under test; answers the last of them.
    private func chain(_ sizes: [UInt64], in scratch: Scratch) async throws -> String {
        var below = scratch.file("base0.raw")
        try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", below, "\(sizes[0])")
        for (level, size) in sizes.enumerated() {
            let strokes = Stroke.mixture(seed: UInt64(100 + level), size: size, clusterSize: 8192, count: 10)
            let image = level == 0 ? below : scratch.file("base\(level).qcow2")
            if level > 0 { try await create(image, size, backing: below, in: scratch) }
            try await scratch.strike(strokes, image, format: level == 0 ? "raw" : "qcow2")
            below = image
        }
        return below
    }

    /// What the fresh overlay has to read as: the chain as QEMU reads it, cut or filled with zeros.
    private func expectChain(_ levels: Int, _ scratch: Scratch) async throws {
        try await scratch.ok(
            "qemu-img", "convert", "-f", "qcow2", "-O", "raw", scratch.file("disk.qcow2"), scratch.file("expected.raw"))
    }
}

extension Scratch {
    /// What QEMU's checker says of an image: no error, no leak.
    func expectClean(_ image: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let outcome = try await run(["qemu-img", "check", "--output=json", image])
        let report = (try? JSONValue(parsing: outcome.out)) ?? .null
        let clean =
            outcome.status == 0 && report["check-errors"]?.number == 0
            && (report["leaks"]?.number ?? 0) == 0 && (report["corruptions"]?.number ?? 0) == 0
        #expect(clean, "\(image) is not clean: \(outcome.out) \(outcome.err)", sourceLocation: sourceLocation)
    }

    /// Our image tool says of an image what QEMU's says: its info, its map, and what a check finds.
    func expectAgreement(on image: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        // What a check counts of snapshots the two do not count alike.
        let moving: Set = ["actual-size", "fragmented-clusters", "allocated-clusters"]
        for verb in ["info", "map", "check"] {
            let theirs = try await run(["qemu-img", verb, "--output=json", image])
            let ours = try await run(Subject.img + [verb, "--output=json", image])
            let (found, expected) = (try JSONValue(parsing: ours.out), try JSONValue(parsing: theirs.out))
            #expect(ours.status == theirs.status, "\(ours.err)", sourceLocation: sourceLocation)
            // How much of a file the host holds may change from one moment to the next, and where a place is a hole of the host's
            // the two look at it in pieces of other sizes.
            let same =
                found.without(moving) == expected.without(moving)
                || verb == "map" && found.layers == expected.layers
            #expect(same, "\(verb)", sourceLocation: sourceLocation)
        }
    }

    /// What QEMU reads from the two is the same, byte for byte and in length.
    func expectSame(
        _ first: String, _ firstFormat: String, _ second: String, _ secondFormat: String = "raw",
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let outcome = try await run(
            ["qemu-img", "compare", "-f", firstFormat, "-F", secondFormat, first, second], seconds: 120)
        #expect(
            outcome.status == 0 && !outcome.out.contains("Warning"),
            "\(first) and \(second): \(outcome.out) \(outcome.err)",
            sourceLocation: sourceLocation)
    }

    /// Two files hold the same bytes.
    func expectSameBytes(_ first: String, _ second: String, sourceLocation: SourceLocation = #_sourceLocation)
        async throws
    {
        let outcome = try await run(["cmp", first, second])
        #expect(outcome.status == 0, "\(outcome.out) \(outcome.err)", sourceLocation: sourceLocation)
    }
}

extension JSONValue {
    /// Of a map: which layer has what, neighbours of one layer in one.
    fileprivate var layers: [JSONValue] {
        without(["offset", "data", "zero"]).items.reduce(into: []) { all, extent in
            if let last = all.last, last.without(["start", "length"]) == extent.without(["start", "length"]) {
                let length = (last["length"]?.number ?? 0) + (extent["length"]?.number ?? 0)
                all[all.count - 1]["length"] = .unsigned(length)
            } else {
                all.append(extent)
            }
        }
    }
}
