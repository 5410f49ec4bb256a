import Image
import Testing

@Suite("create")
struct CreateTests {
    @Test("an overlay takes its backing file's size, looked up beside the overlay")
    func overlay() throws {
        let bench = Bench()
        try bench.create("d/base.qcow2", size: "3M")
        try bench.create("d/top.qcow2", backing: "base.qcow2", backingFormat: "qcow2")
        #expect(bench.said.contains("size=3145728 backing_file=base.qcow2 backing_fmt=qcow2"))
        try bench.run { try await $0.info(ImageReference("d/top.qcow2", format: nil), form: .human, chain: false) }
        #expect(bench.said.contains("virtual size: 3 MiB (3145728 bytes)\n"))
        #expect(
            bench.said.contains("backing file: base.qcow2 (actual path: d/base.qcow2)\nbacking file format: qcow2\n"))
    }

    @Test("a backing file without its format is refused, and so is one that is not there")
    func backing() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        #expect(
            throws: ImageError("b.qcow2: Backing file specified without backing format\nDetected format of qcow2.")
        ) { try bench.create("b.qcow2", backing: "a.qcow2") }
        #expect(
            throws: ImageError(
                "c.qcow2: Could not open 'none.qcow2': No such file or directory\nCould not open backing image.")
        ) { try bench.create("c.qcow2", backing: "none.qcow2", backingFormat: "qcow2") }
        #expect(throws: ImageError("c.qcow2: 'json:{}' is not a plain file name\nCould not open backing image.")) {
            try bench.create("c.qcow2", backing: "json:{}", backingFormat: "qcow2")
        }
        #expect(!bench.files.holds("b.qcow2") && !bench.files.holds("c.qcow2"))
        try bench.create("c.qcow2", backing: "none.qcow2", backingFormat: "qcow2", size: "1M", checksBacking: false)
        #expect(bench.files.holds("c.qcow2"))
        #expect(bench.files.openNow == 0)
    }

    @Test("without a size there is no image, and a wrong option leaves an old file alone")
    func sizes() throws {
        let bench = Bench()
        #expect(throws: ImageError("x.qcow2: Image creation needs a size parameter")) { try bench.create("x.qcow2") }
        bench.files["x.qcow2"] = [1, 2, 3]
        #expect(throws: ImageError("x.qcow2: Cluster size must be a power of two between 512 and 2048k")) {
            try bench.create("x.qcow2", options: "cluster_size=3", size: "1M")
        }
        #expect(bench.files["x.qcow2"] == [1, 2, 3])
        #expect(throws: ImageError.self) { try bench.create("big.qcow2", size: "64P") }
        #expect(!bench.files.holds("big.qcow2"))
        #expect(
            throws: ImageError("/nonexistent/x: Could not create '/nonexistent/x': No such file or directory")
        ) { try bench.create("/nonexistent/x", size: "1M") }
    }

    @Test("a raw image is a file of its size in whole sectors")
    func raw() throws {
        let bench = Bench()
        try bench.create("r.raw", "raw", size: "1000")
        #expect(bench.said == "Formatting 'r.raw', fmt=raw size=1000\n")
        #expect(bench.files["r.raw"] == [UInt8](repeating: 0, count: 1024))
        #expect(throws: ImageError("r.raw: invalid parameter value: nope")) {
            try bench.create("r.raw", "raw", options: "preallocation=nope", size: "64k")
        }
    }
}
