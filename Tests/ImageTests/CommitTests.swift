import Block
import BlockTestKit
import Bytes
import Image
import Qcow2
import Testing

@Suite("commit")
struct CommitTests {
    @discardableResult
    private func commit(
        _ bench: Bench, _ path: String = "top", base: String? = nil, keeps: Bool = false, rate: UInt64? = nil
    ) throws -> UInt64 {
        let request = CommitRequest(
            image: ImageReference(path, format: "qcow2"), base: base, keepsContents: keeps, bytesPerSecond: rate)
        return try bench.run {
            let began = $0.context.nowNs
            try await $0.commit(request)
            return $0.context.nowNs - began
        }
    }

    private func bench(size: String = "256K", base: String = "256K") throws -> Bench {
        let bench = Bench()
        try bench.create("base", options: "cluster_size=4096", size: base)
        try bench.write("base", [(0, 20000)])
        try bench.create("mid", options: "cluster_size=4096", backing: "base", backingFormat: "qcow2")
        try bench.write("mid", [(40960, 4096)])
        try bench.create(
            "top", options: "cluster_size=4096", backing: "mid", backingFormat: "qcow2", size: size)
        try bench.write("top", size == "64K" ? [(4096, 4096)] : [(4096, 4096), (100_000, 3000)])
        return bench
    }

    private func check(_ bench: Bench, _ path: String) -> MiniCheck { MiniCheck(SparseBytes(bench.files[path])) }

    @Test("what an image holds goes to the one below; then it is empty, small, and reads the same")
    func plain() throws {
        let bench = try self.bench()
        let before = try bench.read("top", count: 256 << 10)
        let base = bench.files["base"]
        try commit(bench)
        #expect(try bench.read("top", count: 256 << 10) == before)
        #expect(try bench.read("mid", count: 256 << 10) == before)
        #expect(bench.files["base"] == base && bench.files.openNow == 0)
        #expect(check(bench, "top").mapped.isEmpty && check(bench, "top").isClean && check(bench, "mid").isClean)
        #expect(check(bench, "mid").mapped.keys.sorted() == [1, 10, 24, 25])
        // The header, the refcount table and a block of it, an L1 table.
        #expect(bench.files["top"].count <= 6 * 4096)
    }

    @Test("-d keeps what the image holds; -b names an image further down, and keeps it too")
    func kept() throws {
        let bench = try self.bench()
        let before = try bench.read("top", count: 256 << 10)
        try commit(bench, keeps: true)
        #expect(check(bench, "top").mapped.keys.sorted() == [1, 24, 25])
        let (top, mid) = (bench.files["top"], bench.files["mid"])
        try commit(bench, base: "base")
        #expect(try bench.read("base", count: 256 << 10) == before)
        #expect(bench.files["top"] == top && bench.files["mid"] == mid)
        #expect(check(bench, "base").mapped.keys.sorted() == [0, 1, 2, 3, 4, 10, 24, 25])
        for name in ["none", "top", ""] {
            #expect(throws: ImageError("Did not find '\(name)' in the backing chain of 'top'")) {
                try commit(bench, base: name)
            }
        }
        #expect(throws: ImageError("Image does not have a backing file")) { try commit(bench, "base") }
    }

    @Test("a base grows to the image's size, and keeps what it has beyond a smaller one")
    func sizes() throws {
        let bench = try self.bench(size: "512K")
        try bench.write("top", [(400_000, 5000)])
        let before = try bench.read("top", count: 512 << 10)
        try commit(bench)
        #expect(check(bench, "mid").size == 512 << 10)
        #expect(try bench.read("top", count: 512 << 10) == before)
        // What lies beyond an image in between reads as zeros, whatever the base holds there.
        let other = try self.bench(size: "384K", base: "256K")
        try other.create("wide", options: "cluster_size=4096", size: "384K")
        try other.write("wide", [(0, 384 << 10)])
        try other.run {
            try await $0.rebase(
                RebaseRequest(
                    image: ImageReference("mid", format: "qcow2"), backingFile: "wide", backingFormat: "qcow2",
                    isUnsafe: true))
        }
        let wanted = try other.read("top", count: 384 << 10)
        #expect(wanted[300_000] == 0)
        try commit(other, base: "wide")
        #expect(try other.read("wide", count: 384 << 10) == wanted)
        let small = try self.bench(size: "64K")
        let (mid, disk) = (try small.read("mid", count: 256 << 10), try small.read("top", count: 64 << 10))
        try commit(small)
        #expect(try small.read("mid", count: 256 << 10) == disk + mid[(64 << 10)...])
    }

    @Test("bitmaps and internal snapshots of an emptied image stay, and the base's bitmaps record what came")
    func kinds() throws {
        let bench = try self.bench()
        for path in ["top", "mid"] {
            let add = BitmapRequest(
                image: ImageReference(path, format: "qcow2"), name: "b", commands: [.add], granularity: 4096,
                source: nil)
            try bench.run { try await $0.bitmap(add) }
        }
        try bench.run {
            try await $0.snapshot(
                ImageReference("top", format: "qcow2"), .create(.init(name: "s", dateSeconds: 1, dateNanoseconds: 0)))
        }
        let before = try bench.read("top", count: 256 << 10)
        try commit(bench)
        #expect(try bench.read("top", count: 256 << 10) == before)
        #expect(check(bench, "top").isClean && check(bench, "top").mapped.isEmpty)
        #expect(check(bench, "top").bitmaps.map(\.dirty) == [[]])
        #expect(check(bench, "mid").bitmaps.map(\.dirty) == [[1, 24, 25]])
        let remove = BitmapRequest(
            image: ImageReference("top", format: "qcow2"), name: "b", commands: [.remove], granularity: nil, source: nil
        )
        try bench.run { try await $0.bitmap(remove) }
        try bench.run { try await $0.snapshot(ImageReference("top", format: "qcow2"), .apply("s")) }
        #expect(bench.said == "")
        #expect(check(bench, "top").errors.isEmpty)
    }

    @Test("-r holds the work back to so many bytes a second")
    func rate() throws {
        #expect(try commit(try bench()) < 1_000_000_000)
        let time = try commit(try bench(), rate: 4096)
        // Three clusters of 4 KiB.
        #expect((2_900_000_000..<4_100_000_000).contains(time), "\(time)")
    }
}
