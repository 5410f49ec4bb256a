import Block
import BlockTestKit
import Bytes
import Digests
import Image
import Qcow2
import Testing

@Suite("convert, compare, measure and dd")
struct ConvertTests {
    /// A chain of two with data, holes and zeros, its content as it reads, and the same raw.
    private static func bench() throws -> (bench: Bench, content: [UInt8]) {
        let bench = Bench()
        try bench.create("base.qcow2", options: "cluster_size=4096", size: "1M")
        try bench.write("base.qcow2", [(0, 9000), (100_000, 5000), (700_000, 40_000)])
        try bench.create("top.qcow2", options: "cluster_size=4096", backing: "base.qcow2", backingFormat: "qcow2")
        try bench.write("top.qcow2", [(4096, 4096), (200_000, 100), (1_040_000, 8000)])
        let content = try bench.read("top.qcow2", count: 1 << 20)
        bench.files["top.raw"] = content
        return (bench, content)
    }

    private static func convert(_ bench: Bench, _ request: ConvertRequest) throws {
        try bench.run { try await $0.convert(request) }
    }

    private static func request(
        _ source: String, _ target: String, _ format: String, _ change: (inout ConvertRequest) -> Void = { _ in }
    ) -> ConvertRequest {
        var request = ConvertRequest(sources: [source], target: target)
        request.format = source.hasSuffix("raw") ? "raw" : "qcow2"
        request.targetFormat = format
        change(&request)
        return request
    }

    static let options = [
        "", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "compat=0.10", "refcount_bits=1",
        "compression_type=zstd", "preallocation=metadata", "data_file=d.raw",
    ]

    @Test("what is converted reads as its source, whatever the target's options", arguments: options)
    func sameContent(options: String) throws {
        for source in ["top.qcow2", "top.raw"] {
            for isCompressed in [false, true] {
                let (bench, content) = try Self.bench()
                if isCompressed, options.hasPrefix("preallocation") || options.hasPrefix("data") { continue }
                try Self.convert(
                    bench,
                    Self.request(source, "out.qcow2", "qcow2") {
                        $0.options = options.isEmpty ? OptionList() : OptionList(options)
                        $0.isCompressed = isCompressed
                    })
                #expect(try bench.read("out.qcow2", count: content.count) == content)
                #expect(MiniCheck(SparseBytes(bench.files["out.qcow2"])).isClean || options.hasPrefix("data"))
                #expect(bench.files.openNow == 0)
            }
        }
    }

    @Test("a hole stays a hole, and zeros in data become one where they are long enough")
    func sparse() throws {
        let (bench, content) = try Self.bench()
        try Self.convert(bench, Self.request("top.qcow2", "out.raw", "raw"))
        #expect(bench.files["out.raw"] == content)
        #expect(bench.files.allocated("out.raw") < 100_000)
        try Self.convert(bench, Self.request("top.qcow2", "full.raw", "raw") { $0.sparseSize = 0 })
        #expect(bench.files["full.raw"] == content)
        #expect(bench.files.allocated("full.raw") == UInt64(content.count))
    }

    @Test("several sources become one disk")
    func concatenated() throws {
        let (bench, content) = try Self.bench()
        var request = ConvertRequest(sources: ["top.raw", "top.raw"], target: "out.raw")
        request.format = "raw"
        try Self.convert(bench, request)
        #expect(bench.files["out.raw"] == content + content)
    }

    @Test("an internal snapshot is read as the disk was then")
    func snapshot() throws {
        let bench = Bench()
        try bench.create("disk.qcow2", size: "1M")
        try bench.write("disk.qcow2", [(0, 1000)])
        let before = try bench.read("disk.qcow2", count: 1 << 20)
        try bench.run {
            try await $0.snapshot(
                ImageReference("disk.qcow2", format: "qcow2"),
                .create(NewSnapshot(name: "then", dateSeconds: 0, dateNanoseconds: 0, instructionCount: 0)))
        }
        try bench.write("disk.qcow2", [(500_000, 1000)])
        try Self.convert(bench, Self.request("disk.qcow2", "then.raw", "raw") { $0.snapshot = .either("then") })
        #expect(bench.files["then.raw"] == before)
        try Self.convert(bench, Self.request("disk.qcow2", "now.raw", "raw"))
        #expect(bench.files["now.raw"] != before)
        #expect(throws: ImageError("Failed to load snapshot: Can't find snapshot")) {
            try Self.convert(bench, Self.request("disk.qcow2", "no.raw", "raw") { $0.snapshot = .either("never") })
        }
        #expect(!bench.files.holds("no.raw"))
    }

    // MARK: streams

    @Test("raw comes from standard input and goes to standard output, and the checksum is that of the disk")
    func rawStreams() throws {
        let (bench, content) = try Self.bench()
        bench.files.stdin.bytes = content
        try Self.convert(
            bench,
            Self.request("-", "out.qcow2", "qcow2") {
                $0.format = "raw"
                $0.digests = true
            })
        let digest = Hash.sha256.digest(content)?.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(bench.said == "sha256 \(digest ?? "")\n")
        #expect(try bench.read("out.qcow2", count: content.count) == content)
        #expect(try bench.run { try await $0.compare(CompareRequest("out.qcow2", "top.qcow2")) } == 0)
        try Self.convert(bench, Self.request("out.qcow2", "-", "raw") { $0.digests = true })
        #expect(bench.files.stdout.bytes == content)
        #expect(bench.reported.contains("sha256 \(digest ?? "")"))
    }

    @Test(
        "qcow2 goes to a pipe laid out from its map, and is read from a pipe again",
        arguments: ["", "cluster_size=512", "extended_l2=on", "refcount_bits=1"])
    func qcow2Streams(options: String) throws {
        let (bench, content) = try Self.bench()
        try Self.convert(
            bench,
            Self.request("top.qcow2", "-", "qcow2") {
                $0.options = options.isEmpty ? OptionList() : OptionList(options)
            })
        bench.files["sent.qcow2"] = bench.files.stdout.bytes
        #expect(MiniCheck(SparseBytes(bench.files.stdout.bytes)).isClean)
        #expect(try bench.read("sent.qcow2", count: content.count) == content)
        bench.files.stdin.bytes = bench.files.stdout.bytes
        try Self.convert(bench, Self.request("-", "back.raw", "raw") { $0.format = "qcow2" })
        #expect(bench.files["back.raw"] == content)
    }

    @Test("what cannot be streamed is refused before anything is made")
    func refusedStreams() throws {
        let (bench, _) = try Self.bench()
        for change: (inout ConvertRequest) -> Void in [
            { $0.isCompressed = true }, { $0.skipsCreation = true }, { $0.copiesBitmaps = true },
        ] {
            #expect(throws: ImageError.self) {
                try Self.convert(bench, Self.request("top.qcow2", "-", "qcow2", change))
            }
        }
        #expect(bench.files.stdout.bytes.isEmpty)
        // A stream that breaks off is no image.
        bench.files.stdin.bytes = Array(bench.files["top.raw"].prefix(70_000))
        bench.files.stdin.breaksAfter = 65_536
        #expect(throws: ImageError.self) {
            try Self.convert(bench, Self.request("-", "out.qcow2", "qcow2") { $0.format = "raw" })
        }
        #expect(!bench.files.holds("out.qcow2") && bench.files.unnamed == 0)
    }

    @Test("a qcow2 image whose stream broke off is an error, not zeros")
    func brokenStream() throws {
        let (bench, _) = try Self.bench()
        try Self.convert(
            bench, Self.request("top.qcow2", "-", "qcow2") { $0.options = OptionList("cluster_size=4096") })
        for count in [0, 100, 4096, 20_000, bench.files.stdout.bytes.count - 5000] {
            bench.files.stdin.bytes = Array(bench.files.stdout.bytes.prefix(count))
            #expect(throws: ImageError.self) {
                try Self.convert(bench, Self.request("-", "back\(count).raw", "raw") { $0.format = "qcow2" })
            }
            #expect(!bench.files.holds("back\(count).raw"))
        }
    }

    // MARK: others

    @Test("dd takes whole blocks of the disk")
    func blocks() throws {
        let (bench, content) = try Self.bench()
        try bench.run {
            try await $0.copyBlocks(
                try CopyBlocksRequest(["bs=1k", "skip=3", "count=200", "if=top.qcow2", "of=part.raw"]))
        }
        #expect(bench.files["part.raw"] == Array(content[3072..<204_800]))
    }
}
