import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// Internal snapshots that the image makes itself. Every write is held against the rules of order (O9), and QEMU's tools have
/// their say at each stage.
@Suite("internal snapshots", .enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct InternalSnapshotTests {
    private static let shapes = [
        "cluster_size=512", "cluster_size=512,refcount_bits=64", "cluster_size=4096,refcount_bits=4",
        "cluster_size=65536", "cluster_size=4096,compat=0.10", "cluster_size=2M,refcount_bits=8",
    ]

    private func pattern(_ seed: UInt64, _ count: Int) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return random.bytes(count)
    }

    @Test(
        "each snapshot reads in QEMU as the disk was, and each stage is clean, whoever made the one before",
        arguments: shapes)
    func bothWays(options: String) throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: options, io: ["write -P 1 0 300k", "write -z 512k 64k"])
        let first = try folder.guestBytes("t.qcow2")
        let bench = try Bench(folder.read("t.qcow2"))
        try bench.create("ours")
        try bench.write(pattern(1, 200_000), at: 100_000)
        try bench.zero(0, 65536, .mayUnmap)
        try bench.close()
        try folder.write(bench.disk.contents, "t.qcow2")
        #expect(try folder.check(bench.disk.contents).status == 0)
        #expect(try folder.guestBytes("t.qcow2", snapshot: "ours").array == first.array)
        let second = try folder.guestBytes("t.qcow2")

        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "theirs", "t.qcow2"], in: folder.url)
        try folder.io("t.qcow2", ["write -P 7 200k 600k"])
        let again = try Bench(folder.read("t.qcow2"))
        #expect(again.image.snapshots.map(\.name) == ["ours", "theirs"])
        #expect(again.image.snapshots.map(\.id) == ["1", "2"])
        try again.apply("2")
        #expect(try again.read(0, 1 << 20) == second.array)
        try again.delete("1")
        try again.write(pattern(2, 50_000), at: 0)
        try again.apply("2")
        try again.close()
        #expect(try folder.check(again.disk.contents).status == 0)
        try folder.write(again.disk.contents, "t.qcow2")
        #expect(try folder.guestBytes("t.qcow2").array == second.array)
        try QemuTool.mustRun("qemu-img", ["snapshot", "-d", "theirs", "t.qcow2"], in: folder.url)
        #expect(try folder.check(folder.read("t.qcow2")).status == 0)
        #expect(try folder.guestBytes("t.qcow2").array == second.array)
    }

    @Test(
        "an image whose snapshots have gone is as large as what it holds, give or take its metadata", arguments: shapes)
    func spaceComesBack(options: String) throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "512k", options: options, io: ["write -P 1 0 256k"])
        let bench = try Bench(folder.read("t.qcow2"))
        let before = MiniCheck(bench.disk.contents).refcounts.count
        for round in 0..<3 as Range<UInt64> {
            try bench.create("s")
            try bench.write(pattern(round, 256 << 10), at: 0)
            try bench.delete("1")
            let check = MiniCheck(bench.disk.contents)
            #expect(check.isClean, "\(check.errors)")
            #expect(bench.image.snapshots.isEmpty)
        }
        try bench.close()
        #expect(MiniCheck(bench.disk.contents).refcounts.count <= before + before / 10 + 4)
    }

    @Test("a snapshot keeps its disk's size, and applying it brings that back")
    func sizes() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=512", io: ["write -P 3 0 1M"])
        let bench = try Bench(folder.read("t.qcow2"))
        try bench.create("small")
        try bench.resize(3 << 20)
        try bench.write(pattern(1, 100_000), at: 2_500_000)
        try bench.create("large")
        try bench.apply("1")
        #expect(bench.image.length == 1 << 20)
        #expect(try bench.read(0, 1 << 20) == [UInt8](repeating: 3, count: 1 << 20))
        try bench.reopen()
        #expect(bench.image.snapshots.map(\.diskSize) == [1 << 20, 3 << 20])
        try bench.apply("2")
        #expect(bench.image.length == 3 << 20)
        #expect(try bench.read(2_500_000, 100_000) == pattern(1, 100_000))
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("a snapshot over a backing file, with zeroed and compressed clusters, comes back bit by bit")
    func kinds() throws {
        let folder = try Folder()
        var base = SparseBytes(length: 1 << 20)
        base.write([UInt8](repeating: 0xbb, count: 1 << 20).byteSpan, at: 0)
        try folder.write(base, "base.raw")
        try folder.image(
            "t.qcow2", size: "1M", options: "cluster_size=4096", arguments: ["-b", "base.raw", "-F", "raw"],
            io: ["write -P 1 0 64k", "write -c -P 2 64k 4k", "write -c -P 3 68k 4k", "write -z 128k 64k"])
        let bench = try Bench(folder.read("t.qcow2"), backing: base)
        let was = try bench.read(0, 1 << 20)
        try bench.create("s")
        try bench.write(pattern(1, 1 << 20), at: 0)
        try bench.apply("1")
        #expect(try bench.read(0, 1 << 20) == was)
        try bench.write([9], at: 70_000)
        try bench.delete("1")
        #expect(try bench.read(70_001, 1000) == Array(was[70_001..<71_001]))
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("a machine's saved state lies past the disk's end, and comes back with its snapshot")
    func machineState() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096", io: ["write -P 1 0 64k"])
        try QemuTool.mustRun("qemu-io", ["-c", "write -b -P 5 0 8k", "t.qcow2"], in: folder.url)
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "vm", "t.qcow2"], in: folder.url)
        let bench = try Bench(folder.read("t.qcow2"))
        try bench.write([7], at: 0)
        try bench.create("after")
        try bench.apply("1")
        try bench.delete("2")
        try bench.close()
        try folder.write(bench.disk.contents, "t.qcow2")
        #expect(try folder.check(bench.disk.contents).status == 0)
        let found = try QemuTool.run(
            "qemu-io", ["-c", "read -b -P 5 0 8k", "-c", "read -P 1 0 64k", "t.qcow2"], in: folder.url)
        #expect(!found.text.contains("failed"), "\(found.text)")
    }

    @Test(
        "a VM state that is saved here loads in QEMU, and the other way round, and no disk becomes longer",
        arguments: shapes)
    func vmState(options: String) throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: options, io: ["write -P 1 0 64k"])
        try QemuTool.mustRun("qemu-io", ["-c", "write -b -P 5 3k 8k", "t.qcow2"], in: folder.url)
        let bench = try Bench(folder.read("t.qcow2"))
        #expect(try bench.vmState(3072, 8192) == [UInt8](repeating: 5, count: 8192))
        #expect(try bench.vmState(40 << 30, 512) == [UInt8](repeating: 0, count: 512))
        // Over what is there, and far behind it, where the L1 table must become longer.
        try bench.save([UInt8](repeating: 6, count: 6000), at: 5120)
        try bench.save(pattern(3, 200_000), at: 4 << 20)
        try bench.create("s")
        try bench.save([7], at: 0)
        #expect(bench.image.length == 1 << 20)
        #expect(try bench.read(0, 65536) == [UInt8](repeating: 1, count: 65536))
        try bench.close()
        let contents = bench.disk.contents
        #expect(MiniCheck(contents).isClean, "\(MiniCheck(contents).errors)")
        #expect(try folder.check(contents).status == 0)
        try folder.write(contents, "t.qcow2")
        let reads = ["read -b -P 7 -l 1 0 512", "read -b -P 5 3k 2k", "read -b -P 6 5k 5632", "read -P 1 0 64k"]
        let found = try QemuTool.run("qemu-io", reads.flatMap { ["-c", $0] } + ["t.qcow2"], in: folder.url)
        #expect(!found.text.contains("failed"), "\(found.text)")
        try QemuTool.mustRun("qemu-img", ["snapshot", "-a", "s", "t.qcow2"], in: folder.url)
        let again = try Bench(folder.read("t.qcow2"))
        #expect(try again.vmState(0, 512) == [UInt8](repeating: 0, count: 512))
        #expect(try again.vmState(4 << 20, 200_000) == pattern(3, 200_000))
        try again.close()
    }

    @Test("a disk that gets another size has no VM state any more, and what it gains reads as zeros", arguments: shapes)
    func vmStateGoes(options: String) throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: options)
        let bench = try Bench(folder.read("t.qcow2"))
        try bench.save(pattern(1, 300_000), at: 0)
        // A size that stays the same is no other.
        try bench.resize(1 << 20)
        #expect(try bench.vmState(0, 300_000) == pattern(1, 300_000))
        try bench.resize(40 << 20)
        #expect(try bench.read(1 << 20, 400_000) == [UInt8](repeating: 0, count: 400_000))
        #expect(try bench.read((40 << 20) - 4096, 4096) == [UInt8](repeating: 0, count: 4096))
        #expect(try bench.vmState(0, 300_000) == [UInt8](repeating: 0, count: 300_000))
        try bench.close()
        #expect(MiniCheck(bench.disk.contents).leaks == 0)
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("behind what the longest L1 table maps no VM state is saved, and what is read there is zeros")
    func furthestVMState() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=512")
        let bench = try Bench(folder.read("t.qcow2"))
        let state = try #require(bench.image.vmState)
        let furthest = (Limits.l1Bytes / 8) * (512 / 8 * 512) - (1 << 20)
        #expect(throws: BlockError.system(27)) { try bench.save([1], at: furthest) }
        #expect(throws: BlockError.outOfRange) { try bench.save([1], at: state.length) }
        #expect(try bench.vmState(state.length - 512, 512) == [UInt8](repeating: 0, count: 512))
        #expect(bench.image.header.l1Size == 32)
        try bench.close()
    }

    @Test("what is in a snapshot's entry and not understood here is kept when the table is rewritten")
    func unknownExtraData() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096")
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        var contents = try folder.read("t.qcow2")
        func number(_ offset: UInt64) -> UInt64 {
            contents.bytes(ByteRange(at: offset, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
        }
        // Eight bytes more of extra data than anybody knows, before id and name.
        let entry = number(64)
        contents.write([UInt8]([0, 0, 0, 32]).byteSpan, at: entry + 36)
        let extra = [UInt8](repeating: 0xE5, count: 8) + Array("1s".utf8)
        contents.write(extra.byteSpan, at: entry + 64)
        let bench = try Bench(contents)
        try bench.create("t")
        try bench.close()
        contents = bench.disk.contents
        #expect(contents.bytes(ByteRange(at: number(64) + 64, count: 10)) == extra)
        #expect(try folder.check(contents).status == 0)
    }

    @Test("a refcount of one bit has no room for a snapshot: nothing has changed, and writing goes on")
    func noRoomInRefcounts() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096,refcount_bits=1", io: ["write -P 1 0 64k"])
        let bench = try Bench(folder.read("t.qcow2"))
        #expect(throws: BlockError.invalid) { try bench.create("s") }
        #expect(bench.image.snapshots.isEmpty && !bench.image.isFenced)
        try bench.write(pattern(1, 4096), at: 300_000)
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("a disk without room refuses a snapshot and stays as it was")
    func fullDisk() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096", io: ["write -P 1 0 1M"])
        let bench = try Bench(folder.read("t.qcow2"))
        bench.disk.capacity = bench.disk.length + 4096
        #expect(throws: BlockError.noSpace) { try bench.create("s") }
        #expect(!bench.image.isFenced)
        bench.disk.capacity = .max
        try bench.create("s")
        #expect(try bench.read(0, 4096) == [UInt8](repeating: 1, count: 4096))
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("tables that lie are an error before anything has changed")
    func damaged() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096", io: ["write -P 1 0 64k"])
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        let good = try folder.read("t.qcow2")
        func number(_ offset: UInt64) -> UInt64 {
            good.bytes(ByteRange(at: offset, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
        }
        let l1 = number(number(64))
        for lie: [UInt8] in [[0, 0x7F], [0, 0, 0, 0, 0, 0, 0x10, 1], [0, 0xFF, 0, 0, 0, 0, 0, 0]] {
            var contents = good
            contents.write(lie.byteSpan, at: l1)
            let bench = try Bench(contents, isDamaged: true)
            #expect(throws: BlockError.corrupt) { try bench.apply("1") }
            #expect(throws: BlockError.corrupt) { try bench.delete("1") }
            #expect(bench.image.snapshots.count == 1)
            try bench.close()
            #expect(MiniCheck(bench.disk.contents).mapped == MiniCheck(contents).mapped)
        }
    }
}

extension Bench {
    func create(_ name: String) throws {
        try context.complete { [image, io] in
            try await io.finish()
            let new = NewSnapshot(name: name, dateSeconds: 1_700_000_000, dateNanoseconds: 5)
            try await image.createSnapshot(new) { await io.punch($0) }
        }
    }

    func apply(_ id: String) throws {
        try context.complete { [image, io] in try await image.applySnapshot(id: id) { await io.punch($0) } }
    }

    private var state: BlockIO {
        get throws { io.beside(try #require(image.vmState)) }
    }

    /// Bytes of the VM state.
    func vmState(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
        let state = try self.state
        return try context.complete { try await state.bytes(at: offset, count: count) }
    }

    /// Writes them.
    func save(_ bytes: [UInt8], at offset: UInt64) throws {
        let state = try self.state
        defer { io.resume() }
        try context.complete { try await state.write(bytes, at: offset) }
    }

    func delete(_ id: String) throws {
        try context.complete { [image, io] in try await image.deleteSnapshot(id: id) { await io.punch($0) } }
    }
}

extension Folder {
    /// An internal snapshot, as QEMU reads it.
    func guestBytes(_ name: String, snapshot: String) throws -> SparseBytes {
        try QemuTool.mustRun(
            "qemu-img", ["convert", "-f", "qcow2", "-l", "snapshot.name=\(snapshot)", "-O", "raw", name, "raw.img"],
            in: url)
        return try read("raw.img")
    }
}
