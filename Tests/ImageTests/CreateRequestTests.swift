import Image
import Qcow2
import Testing

@Suite("What create asks for")
struct CreateRequestTests {
    @Test(
        "the line that create prints is qemu-img's",
        arguments: [
            (
                "qcow2", "",
                "cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
            ),
            (
                "qcow2", "cluster_size=4k,compat=0.10,preallocation=metadata",
                "cluster_size=4096 extended_l2=off preallocation=metadata compression_type=zlib size=1048576 compat=0.10 lazy_refcounts=off refcount_bits=16"
            ),
            (
                "qcow2", "backing_file=a b,,c.qcow2,backing_fmt=qcow2,nolazy_refcounts",
                "cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 backing_file=a b,,c.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
            ),
            ("raw", "preallocation=full", "size=1048576 preallocation=full"),
        ])
    func formatting(format: String, options: String, line: String) throws {
        let list = options.isEmpty ? OptionList() : OptionList(options)
        let request = try CreateRequest(path: "x.img", format: format, options: list, size: "1M")
        #expect(request.formattingLine(size: 1 << 20) == "Formatting 'x.img', fmt=\(format) \(line)")
    }

    @Test(
        "a wrong option is refused in qemu-img's words before anything is made",
        arguments: [
            ("nope=1", "x.img: Invalid parameter 'nope'"),
            ("=3", "x.img: Invalid parameter ''"),
            ("lazy_refcounts=maybe", "x.img: Parameter 'lazy_refcounts' expects 'on' or 'off'"),
            ("refcount_bits=x", "x.img: Parameter 'refcount_bits' expects a number"),
            (
                "cluster_size=-1",
                """
                x.img: Parameter 'cluster_size' expects a non-negative number below 2^64
                Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
                and exabytes, respectively.
                """
            ),
            ("size=100", "x.img: The image size must be specified only once"),
        ])
    func refuses(options: String, message: String) {
        #expect(throws: ImageError(message)) {
            try CreateRequest(path: "x.img", format: "qcow2", options: OptionList(options), size: "1M")
        }
    }

    @Test(
        "what the format cannot be is refused",
        arguments: [
            ("compat=0.9", "x.img: Parameter 'version' does not accept value '0.9'"),
            ("compression_type=foo", "x.img: Parameter 'compression-type' does not accept value 'foo'"),
            ("preallocation=foo", "x.img: Parameter 'preallocation' does not accept value 'foo'"),
            ("encrypt.format=luks", "x.img: Encryption is not supported"),
        ])
    func refusesFormat(options: String, message: String) throws {
        let request = try CreateRequest(path: "x.img", format: "qcow2", options: OptionList(options), size: "1M")
        #expect(throws: ImageError(message)) { try request.qcow2Options(size: 1 << 20) }
    }

    @Test("a file's own name is no backing file, and raw has none")
    func backing() {
        #expect(throws: ImageError("x: Error: Trying to create an image with the same filename as the backing file")) {
            try CreateRequest(path: "x", format: "qcow2", options: OptionList(), backingFile: "x", backingFormat: "raw")
        }
        #expect(throws: ImageError("x: Backing file not supported for file format 'raw'")) {
            try CreateRequest(path: "x", format: "raw", options: OptionList(), backingFile: "y")
        }
        #expect(throws: ImageError("x: Unknown file format 'nope'")) {
            try CreateRequest(path: "x", format: "nope", options: OptionList())
        }
    }

    @Test("a disk has whole sectors")
    func sectors() throws {
        let request = try CreateRequest(path: "x", format: "qcow2", options: OptionList(), size: "100")
        #expect(try request.qcow2Options(size: 100).size == 512)
    }

    @Test("an option list keeps doubled commas, bare words and the last of equals")
    func lists() {
        let list = OptionList("a=1,b,noc,d=x,,y,a=2,e=")
        #expect(list["a"] == "2")
        #expect(list["b"] == "on")
        #expect(list["c"] == "off")
        #expect(list["d"] == "x,y")
        #expect(list["e"] == "")
        #expect(list["f"] == nil)
    }
}
