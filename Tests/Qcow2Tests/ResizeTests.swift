import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

@Suite(.enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct ResizeTests {
    @Test(
        "growing and shrinking at random keeps what is inside and leaves the image clean",
        arguments: [
            "cluster_size=512,refcount_bits=64", "cluster_size=512,refcount_bits=1", "cluster_size=4096",
            "cluster_size=65536",
            "cluster_size=4096,compat=0.10",
        ], [false, true])
    func random(_ options: String, _ hasBacking: Bool) throws {
        let folder = try Folder()
        var base = SparseBytes(length: 3 << 20)
        base.write([UInt8](repeating: 0xbb, count: 3 << 20).byteSpan, at: 0)
        try folder.write(base, "base.raw")
        try folder.image(
            "t.qcow2", size: "1M", options: options, arguments: hasBacking ? ["-b", "base.raw", "-F", "raw"] : [])
        let bench = try Bench(folder.read("t.qcow2"), backing: hasBacking ? base : nil)
        var start = DiskModel(length: 1 << 20)
        if hasBacking { start.write([UInt8](repeating: 0xbb, count: 1 << 20), at: 0) }
        let run = Program(bench, model: start, seed: 4)
        var random = SeededRandom(seed: 8)
        for _ in 0..<8 {
            try run.concurrently(clients: 3, operations: 15)
            let size = (1 << 17) + (random.below(5 << 20 as UInt64) & ~511)
            try bench.resize(size)
            run.model.resize(to: size)
            try run.verify()
            if random.chance(50) { try bench.reopen() }
        }
        try bench.close()
        let check = try folder.check(bench.disk.contents)
        #expect(check.status == 0, "\(check.text)")
        try folder.write(bench.disk.contents, "t.qcow2")
        try run.verify(folder.guestBytes("t.qcow2"))
    }

    @Test("a size that cannot be is refused in QEMU's words")
    func refusals() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "compat=0.10")
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        let bench = try Bench(folder.read("t.qcow2"))
        #expect(bench.image.resizeRefusal(1000)?.message == "The new size must be a multiple of 512")
        #expect(bench.image.resizeRefusal(1 << 21)?.message == "Can't resize a v2 image which has snapshots")
        #expect(throws: BlockError.unsupported) { try bench.resize(1 << 21) }
        let plain = try Bench(FailureTests.create())
        #expect(plain.image.resizeRefusal(1 << 62)?.message == "Failed to grow the L1 table: File too large")
        #expect(throws: BlockError.limit) { try plain.resize(1 << 62) }
    }

    @Test("a disk grown to 8 TiB takes a write at its end, with the refcount table grown to match")
    func hugeGrowth() throws {
        let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: 65536))
        try bench.resize(8 << 40)
        try bench.write([1, 2, 3], at: 8 << 40 - 3)
        try bench.reopen()
        #expect(try bench.read(8 << 40 - 4, 4) == [0, 1, 2, 3])
        try bench.close()
    }

    @Test("an L1 table of many more clusters than a refcount block counts lies in a row, with the blocks before it")
    func longTable() throws {
        // 768 KiB of L1 table, and one whose blocks are named by more than one sector of a longer refcount table.
        for (refcountBits, size) in [(16, 3 << 30), (64, 5 << 30)] as [(Int, UInt64)] {
            let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: 512, refcountBits: refcountBits))
            try bench.write(bytes(1, 1 << 20), at: 0)
            try bench.resize(size)
            try bench.write(bytes(2, 512), at: size - 512)
            try bench.reopen()
            #expect(try bench.read(size - 512, 512) == bytes(2, 512))
            #expect(try bench.read(0, 1 << 20) == bytes(1, 1 << 20))
            _ = try bench.closedClean()
            #expect(bench.disk.length < 6 << 20)
        }
    }

    @Test("a row that the disk has no room for is refused, and nothing has changed")
    func noRow() throws {
        let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: 512))
        bench.disk.capacity = bench.disk.length + 100_000
        #expect(throws: BlockError.noSpace) { try bench.resize(3 << 30) }
        #expect(bench.image.length == 1 << 20 && bench.fences.isEmpty)
        try bench.write(bytes(1, 512), at: 0)
        let check = try bench.closedClean()
        #expect(check.size == 1 << 20)
    }

    @Test("the tail of a sparse file of terabytes is cut at once", .timeLimit(.minutes(1)))
    func longTail() throws {
        var contents = try FailureTests.create(size: 1 << 20, clusterSize: 512)
        let end = contents.length.roundedUp(to: 512) ?? 0
        contents.resize(to: 1 << 46)
        let bench = try Bench(contents)
        try bench.context.complete { [io = bench.io] in try await io.cutTail() }
        #expect(bench.disk.length == end)
        try bench.close()
    }

    @Test("a snapshot keeps its bytes while the disk above it shrinks, grows and is rewritten")
    func snapshot() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "2M", options: "cluster_size=4096", io: ["write -P 5 0 2M"])
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        let bench = try Bench(folder.read("t.qcow2"))
        #expect(bench.image.snapshots.map(\.name) == ["s"])
        #expect(bench.image.snapshots.first?.diskSize == 2 << 20)
        try bench.resize(1 << 20)
        try bench.write([UInt8](repeating: 9, count: 100_000), at: 5000)
        try bench.resize(3 << 20)
        #expect(try bench.read(1 << 20, 1 << 20) == [UInt8](repeating: 0, count: 1 << 20))
        try bench.close()
        let check = try folder.check(bench.disk.contents)
        #expect(check.status == 0, "\(check.text)")
        try folder.write(bench.disk.contents, "t.qcow2")
        try QemuTool.mustRun("qemu-img", ["snapshot", "-a", "s", "t.qcow2"], in: folder.url)
        let old = try folder.guestBytes("t.qcow2").bytes(ByteRange(at: 0, count: 2 << 20))
        #expect(old.allSatisfy { $0 == 5 })
    }

    @Test("a disk that grows from the middle of a cluster takes no place for what reads as zeros already")
    func growsFromZeros() throws {
        let bench = try Bench(FailureTests.create(size: 1 << 20))
        try bench.resize((1 << 19) + 512)
        try bench.resize(2 << 20)
        try bench.close()
        let empty = MiniCheck(bench.disk.contents)
        #expect(empty.mapped.isEmpty && empty.zeros.isEmpty)
        // What was cut off there does not come back.
        try bench.reopen()
        try bench.write(bytes(1, 4096), at: 1 << 19)
        try bench.resize((1 << 19) + 512)
        try bench.resize(2 << 20)
        #expect(try bench.read(1 << 19, 4096) == bytes(1, 512) + bytes(0, 3584))
        _ = try bench.closedClean()
    }
}
