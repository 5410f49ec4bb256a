import Block
import BlockTestKit
import Bytes
import Graph
import Image
import Qcow2
import Testing

@Suite("rebase")
struct RebaseTests {
    private func rebase(
        _ bench: Bench, _ path: String, to name: String?, _ format: String? = "qcow2", isUnsafe: Bool = false
    ) throws {
        let request = RebaseRequest(
            image: ImageReference(path, format: "qcow2"), backingFile: name, backingFormat: format, isUnsafe: isUnsafe)
        try bench.run { try await $0.rebase(request) }
    }

    private func map(_ bench: Bench, _ path: String) throws -> String {
        try bench.run {
            try await $0.map(ImageReference(path, format: "qcow2"), form: .json, start: 0, count: nil)
        }
        return bench.said
    }

    private func header(_ bench: Bench, _ path: String) throws -> Header {
        try bench.run { [files = bench.files] _ in
            let file = try await files.open(FileSpec(filename: path))
            let image = try await Qcow2Image.open(file: file, options: Options(isReadOnly: true))
            try await image.close()
            await file.close()
            return image.header
        }
    }

    /// Two bases that differ in a few places, and an overlay of the first with something of its own.
    private func bench(_ options: String = "cluster_size=4096") throws -> Bench {
        let bench = Bench()
        try bench.create("old", options: options, size: "256K")
        try bench.write("old", [(0, 20000), (100_000, 5000)])
        try bench.create("new", options: options, size: "256K")
        try bench.write("new", [(8192, 8192), (200_000, 4000)])
        try bench.create("top", options: options, backing: "old", backingFormat: "qcow2", size: "256K")
        try bench.write("top", [(4096, 4096)])
        return bench
    }

    @Test("the disk reads as before, and only what reads otherwise over the new backing file is copied")
    func copies() throws {
        let bench = try self.bench()
        let (before, old, new) = (try bench.read("top", count: 256 << 10), bench.files["old"], bench.files["new"])
        try rebase(bench, "top", to: "new")
        #expect(try bench.read("top", count: 256 << 10) == before)
        #expect(try header(bench, "top").backingFile == "new" && header(bench, "top").backingFormat == "qcow2")
        #expect(bench.files["old"] == old && bench.files["new"] == new && bench.files.openNow == 0)
        #expect(MiniCheck(SparseBytes(bench.files["top"])).isClean)
        // Clusters 2 and 3 read the same in both; 1 is the image's own; zeros of the old file are copied as data.
        let check = MiniCheck(SparseBytes(bench.files["top"]))
        #expect(check.mapped.keys.sorted() == [0, 1, 4, 24, 25, 48, 49])
        #expect(check.zeros.isEmpty)
    }

    @Test("without a backing file everything is the image's own, and zeros are none of it")
    func flatten() throws {
        let bench = try self.bench()
        let before = try bench.read("top", count: 256 << 10)
        try rebase(bench, "top", to: "", nil)
        bench.files["old"] = []
        #expect(try bench.read("top", count: 256 << 10) == before)
        #expect(try header(bench, "top").backingFile == nil && header(bench, "top").backingFormat == nil)
        #expect(MiniCheck(SparseBytes(bench.files["top"])).mapped.keys.sorted() == [0, 1, 2, 3, 4, 24, 25])
    }

    @Test(
        "past the end of the old backing file the disk stays zero, in whole clusters without data", arguments: [2, 3])
    func shorter(version: Int) throws {
        let bench = Bench()
        try bench.create("old", options: "cluster_size=4096", size: "10K")
        try bench.write("old", [(0, 10240)])
        try bench.create("new", options: "cluster_size=4096", size: "64K")
        try bench.write("new", [(0, 65536)])
        try bench.create(
            "top", options: "cluster_size=4096,compat=\(version == 2 ? "0.10" : "1.1")", backing: "old",
            backingFormat: "qcow2", size: "64K")
        let before = try bench.read("top", count: 65536)
        try rebase(bench, "top", to: "new")
        #expect(try bench.read("top", count: 65536) == before)
        let check = MiniCheck(SparseBytes(bench.files["top"]))
        #expect(check.isClean)
        #expect(check.mapped.keys.sorted() == (version == 2 ? Array(2..<16) : [2]))
        #expect(check.zeros == (version == 2 ? [] : Set(3..<16)))
    }

    @Test("within its own chain nothing is copied but what the images in between say")
    func inChain() throws {
        let bench = try self.bench()
        try bench.create("more", options: "cluster_size=4096", backing: "top", backingFormat: "qcow2")
        let before = try bench.read("more", count: 256 << 10)
        try rebase(bench, "more", to: "old")
        #expect(try bench.read("more", count: 256 << 10) == before)
        #expect(MiniCheck(SparseBytes(bench.files["more"])).mapped.isEmpty)
        try bench.write("top", [(65536, 4096)])
        try rebase(bench, "more", to: "top", isUnsafe: true)
        let changed = try bench.read("more", count: 256 << 10)
        #expect(changed != before)
        try rebase(bench, "more", to: "old")
        #expect(try bench.read("more", count: 256 << 10) == changed)
        #expect(MiniCheck(SparseBytes(bench.files["more"])).mapped.keys.sorted() == [16])
    }

    @Test("-u changes the name and opens nothing else")
    func unsafely() throws {
        let bench = try self.bench()
        let map = try self.map(bench, "top")
        let opened = bench.files.opened.count
        try rebase(bench, "top", to: "gone", "vmdk", isUnsafe: true)
        #expect(bench.files.opened.dropFirst(opened) == ["top"])
        #expect(try header(bench, "top").backingFile == "gone" && header(bench, "top").backingFormat == "vmdk")
        try rebase(bench, "top", to: "old", isUnsafe: true)
        #expect(try self.map(bench, "top") == map)
        try rebase(bench, "top", to: nil, isUnsafe: true)
        #expect(try header(bench, "top").backingFile == nil)
    }

    @Test("names go to and fro in the header without running out of room")
    func names() throws {
        let bench = try self.bench("cluster_size=1024")
        let long = String(repeating: "n", count: 200)
        for turn in 0..<40 {
            let name = turn % 2 == 0 ? long : "old"
            try rebase(bench, "top", to: name, isUnsafe: true)
            #expect(try header(bench, "top").backingFile == name)
        }
        #expect(try header(bench, "top").featureNames.isEmpty == false)
        #expect(MiniCheck(SparseBytes(bench.files["top"])).isClean)
    }

    @Test("what is copied counts as changed to the image's bitmaps")
    func bitmaps() throws {
        let bench = try self.bench()
        let add = BitmapRequest(
            image: ImageReference("top", format: "qcow2"), name: "b", commands: [.add], granularity: 4096, source: nil)
        try bench.run { try await $0.bitmap(add) }
        try rebase(bench, "top", to: "new")
        let bitmap = try #require(MiniCheck(SparseBytes(bench.files["top"])).bitmaps.first)
        #expect(!bitmap.isInUse && bitmap.dirty == [0, 4, 24, 25, 48, 49])
    }

    @Test("refusals in qemu-img's words leave the image as it was")
    func refusals() throws {
        let bench = try self.bench()
        bench.files["raw"] = [UInt8](repeating: 1, count: 4096)
        let before = bench.files["top"]
        func expect(_ message: String, _ request: RebaseRequest) {
            #expect(throws: ImageError(message)) { try bench.run { try await $0.rebase(request) } }
        }
        func request(_ name: String?, _ format: String?, path: String = "top", isUnsafe: Bool = false) -> RebaseRequest
        {
            RebaseRequest(
                image: ImageReference(path, format: path == "raw" ? "raw" : "qcow2"), backingFile: name,
                backingFormat: format,
                isUnsafe: isUnsafe)
        }
        expect("Invalid format name: 'foo'", request("new", "foo"))
        expect(
            "Could not open new backing file 'none': Could not open 'none': No such file or directory",
            request("none", "qcow2"))
        expect(
            "Could not change the backing file to 'old': backing format must be specified", request("old", nil))
        expect("Could not open new backing file 'nbd:x': Unknown protocol 'nbd'", request("nbd:x", "raw"))
        expect(
            "Could not change the backing file to 'old': Operation not supported",
            request("old", "qcow2", path: "raw", isUnsafe: true))
        let long = String(repeating: "x", count: 1024)
        expect("Could not change the backing file to '\(long)': Invalid argument", request(long, "raw", isUnsafe: true))
        #expect(bench.files["top"] == before && bench.files.openNow == 0)
        #expect(throws: ImageError.self) {
            try bench.run { try await $0.rebase(RebaseRequest(image: ImageReference("top"), backingFile: "")) }
        }
        let small = try self.bench("cluster_size=512")
        let name = String(repeating: "x", count: 500)
        #expect(throws: ImageError("Could not change the backing file to '\(name)': No space left in the file header"))
        {
            try rebase(small, "top", to: name, isUnsafe: true)
        }
    }
}
