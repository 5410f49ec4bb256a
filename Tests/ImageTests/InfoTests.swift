import Graph
import Image
import Testing

@Suite("info")
struct InfoTests {
    private func info(_ bench: Bench, _ path: String, format: String? = nil, chain: Bool = false) throws {
        try bench.run { try await $0.info(ImageReference(path, format: format), form: .human, chain: chain) }
    }

    @Test("a qcow2 image is told as qemu-img tells it")
    func human() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        try info(bench, "a.qcow2")
        #expect(
            bench.said == """
                image: a.qcow2
                file format: qcow2
                virtual size: 1 MiB (1048576 bytes)
                disk size: \(SizeText.describe(bench.files.allocated("a.qcow2")))
                cluster_size: 65536
                Format specific information:
                    compat: 1.1
                    compression type: zlib
                    lazy refcounts: false
                    refcount bits: 16
                    corrupt: false
                    extended l2: false

                """)
    }

    @Test("R23, R24: info opens one file, whatever the image names, and writes nothing")
    func oneFile() throws {
        let bench = Bench()
        let hostile = "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}"
        try bench.create(
            "a.qcow2", backing: hostile, backingFormat: "qcow2", size: "1M", checksBacking: false)
        let before = (opened: bench.files.opened.count, writes: bench.files.writes)
        try info(bench, "a.qcow2")
        #expect(bench.said.contains("backing file: \(hostile)\n"))
        #expect(bench.files.opened.dropFirst(before.opened) == ["a.qcow2"])
        #expect(bench.files.writes == before.writes)
        #expect(bench.files.specs.last?.isReadOnly == true && bench.files.specs.last?.within == nil)
        #expect(bench.files.openNow == 0)
    }

    @Test("R21: a chain is followed inside the image's folder, and not out of it")
    func chain() throws {
        let bench = Bench()
        try bench.create("d/base.qcow2", size: "1M")
        try bench.create("d/top.qcow2", backing: "base.qcow2", backingFormat: "qcow2")
        try info(bench, "d/top.qcow2", chain: true)
        #expect(bench.said.components(of: "image: ") == 2)
        #expect(bench.files.specs.last?.within == ["d/"])
        try bench.create(
            "d/evil.qcow2", backing: "json:{}", backingFormat: "qcow2", size: "1M", checksBacking: false)
        #expect(throws: ImageError("Could not open 'd/evil.qcow2': 'json:{}' is not a plain file name")) {
            try info(bench, "d/evil.qcow2", chain: true)
        }
    }

    @Test("R14: a chain that returns to itself ends with an error")
    func loop() throws {
        let bench = Bench()
        try bench.create("b.qcow2", backing: "a.qcow2", backingFormat: "qcow2", size: "1M", checksBacking: false)
        try bench.create("a.qcow2", backing: "b.qcow2", backingFormat: "qcow2", size: "1M", checksBacking: false)
        #expect(throws: ImageError.self) { try info(bench, "a.qcow2", chain: true) }
        #expect(bench.files.openNow == 0)
    }

    @Test("raw is told in whole sectors, and a raw file is no qcow2")
    func raw() throws {
        let bench = Bench()
        bench.files["r.raw"] = [UInt8](repeating: 1, count: 1000)
        try info(bench, "r.raw")
        #expect(
            bench.said == """
                image: r.raw
                file format: raw
                virtual size: 1 KiB (1024 bytes)
                disk size: 4 KiB

                """)
        #expect(throws: ImageError("Could not open 'r.raw': Image is not in qcow2 format")) {
            try info(bench, "r.raw", format: "qcow2")
        }
        #expect(throws: ImageError("Could not open 'no.raw': Could not open 'no.raw': No such file or directory")) {
            try info(bench, "no.raw")
        }
    }

    @Test("every header cut short, and every header field at its extremes, is an error or an answer, never a trap")
    func damage() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        let whole = bench.files["a.qcow2"]
        for length in Array(0...120) + [511, 512, 65535] {
            bench.files["a.qcow2"] = Array(whole.prefix(length))
            _ = try? info(bench, "a.qcow2", format: "qcow2")
        }
        for offset in 4..<112 {
            for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff] {
                var bytes = whole
                bytes[offset] = value
                bench.files["a.qcow2"] = bytes
                _ = try? info(bench, "a.qcow2", format: "qcow2")
            }
        }
        #expect(bench.files.openNow == 0)
    }
}

extension String {
    /// How often `part` stands in the text.
    fileprivate func components(of part: String) -> Int { ranges(of: part).count }
}
