import BlockTestKit
import Image
import Qcow2
import Testing

@Suite("snapshot")
struct SnapshotTests {
    private func new(_ name: String) -> ImageTool.SnapshotAction {
        .create(NewSnapshot(name: name, dateSeconds: 1, dateNanoseconds: 2, instructionCount: 0))
    }

    /// What the tool said, or the message that it failed with.
    private func snapshot(
        _ bench: Bench, _ action: ImageTool.SnapshotAction?, path: String = "a.qcow2", format: String? = "qcow2"
    ) throws -> String {
        do {
            try bench.run { try await $0.snapshot(ImageReference(path, format: format), action) }
            return bench.said
        } catch let error as ImageError { return error.message }
    }

    @Test("what is made is listed, and goes again")
    func life() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        try bench.write("a.qcow2", [(0, 100_000)])
        #expect(try snapshot(bench, .list) == "")
        #expect(try snapshot(bench, new("one")) == "")
        #expect(try snapshot(bench, new("two")) == "")
        #expect(
            try snapshot(bench, .list, format: nil) == """
                Snapshot list:
                ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT
                1         one                   0 B 2026-11-23 13:15:50 00:00:00.000          0
                2         two                   0 B 2026-11-23 13:15:50 00:00:00.000          0

                """)
        #expect(try snapshot(bench, .delete("one")) == "")
        #expect(try snapshot(bench, .list).contains("two"))
        #expect(try !snapshot(bench, .list).contains("one"))
        #expect(bench.files.openNow == 0)
    }

    @Test("one is applied by its id or its name, the id first; deleted by its name alone")
    func names() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        for name in ["2", "b"] { #expect(try snapshot(bench, new(name)) == "") }
        #expect(try snapshot(bench, .apply("2")) == "")
        #expect(try snapshot(bench, .apply("b")) == "")
        #expect(try snapshot(bench, .delete("1")) == "Could not delete snapshot '1': snapshot not found")
        #expect(try snapshot(bench, .delete("2")) == "")
        #expect(try snapshot(bench, .list).contains("\n2         b"))
        #expect(
            try snapshot(bench, .apply("nope"))
                == "Could not apply snapshot 'nope': Failed to load snapshot: No such file or directory")
    }

    @Test("a list opens the image for reading, and writes nothing")
    func listing() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        #expect(try snapshot(bench, new("s")) == "")
        let writes = bench.files.writes
        #expect(try !snapshot(bench, .list, format: nil).isEmpty)
        #expect(bench.files.writes == writes)
    }

    @Test(
        "beside a bitmap one is made, listed and deleted; applied it is not, for the bitmap could not tell what changes"
    )
    func besideBitmaps() throws {
        let bench = Bench()
        try bench.create("a.qcow2", options: "cluster_size=4096", size: "256K")
        try bench.write("a.qcow2", [(0, 5000)])
        #expect(try snapshot(bench, new("s")) == "")
        let add = BitmapRequest(
            image: ImageReference("a.qcow2", format: "qcow2"), name: "b", commands: [.add], granularity: nil,
            source: nil)
        try bench.run { try await $0.bitmap(add) }
        #expect(try snapshot(bench, new("t")) == "")
        let before = MiniCheck(SparseBytes(bench.files["a.qcow2"])).mapped
        #expect(try snapshot(bench, .apply("s")) == Self.refused)
        #expect(try snapshot(bench, .delete("s")) == "")
        let check = MiniCheck(SparseBytes(bench.files["a.qcow2"]))
        #expect(check.isClean && check.mapped == before)
        #expect(check.bitmaps.map(\.name) == ["b"] && check.bitmaps.allSatisfy { !$0.isInUse })
    }

    /// As qemu-img has it.
    private static let refused = "Could not apply snapshot 's': Device has active dirty bitmaps"

    @Test("R20, R25: what is written to is not guessed, but by QEMU's rules")
    func guessing() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        let opened = bench.files.opened.count
        #expect(try snapshot(bench, new("s"), format: nil).hasPrefix("The format of 'a.qcow2' is not guessed"))
        #expect(bench.files.opened.count == opened)
        bench.rule = .any
        #expect(try snapshot(bench, new("s"), format: nil) == "")
    }

    @Test("a raw disk has no snapshots, and says so as qemu-img does")
    func raw() throws {
        let bench = Bench()
        try bench.create("r.raw", "raw", size: "1M")
        #expect(try snapshot(bench, .list, path: "r.raw", format: nil) == "")
        #expect(
            try snapshot(bench, new("s"), path: "r.raw", format: "raw")
                == "Could not create snapshot 's': -95 (Operation not supported)")
        #expect(
            try snapshot(bench, .apply("s"), path: "r.raw", format: "raw")
                == "Could not apply snapshot 's': Block driver does not support snapshots")
        #expect(
            try snapshot(bench, .delete("s"), path: "r.raw", format: "raw")
                == "Could not delete snapshot 's': snapshot not found")
    }
}
