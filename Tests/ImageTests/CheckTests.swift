import Image
import Testing

@Suite("check")
struct CheckTests {
    private func check(
        _ bench: Bench, _ path: String, format: String? = nil, repair: ImageTool.Repair = .none
    ) throws -> Int32 {
        try bench.run {
            try await $0.check(ImageReference(path, format: format), form: .human, repair: repair, quiet: false)
        }
    }

    /// Where the first refcount block lies, found through the header.
    private func refcountBlock(_ bytes: [UInt8]) -> Int {
        func number(_ offset: Int) -> Int { bytes[offset..<offset + 8].reduce(0) { $0 << 8 | Int($1) } }
        return number(number(48))
    }

    @Test("a new image has nothing wrong: 0")
    func clean() throws {
        let bench = Bench()
        try bench.create("a.qcow2", options: "preallocation=metadata", size: "1M")
        let writes = bench.files.writes
        #expect(try check(bench, "a.qcow2") == 0)
        #expect(bench.said.hasPrefix("No errors were found on the image.\n16/16 = 100.00% allocated, "))
        #expect(bench.files.writes == writes)
        #expect(bench.reported.isEmpty)
    }

    @Test("leaks alone are 3, and repairing them is said and done")
    func leaks() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        var bytes = bench.files["a.qcow2"]
        // A cluster behind all others, counted once and used by nobody.
        let cluster = (bytes.count + 65535) / 65536
        bytes += [UInt8](repeating: 0, count: (cluster + 1) * 65536 - bytes.count)
        bytes[refcountBlock(bytes) + cluster * 2 + 1] = 1
        bench.files["a.qcow2"] = bytes
        #expect(try check(bench, "a.qcow2") == 3)
        #expect(bench.reported == ["Leaked cluster \(cluster) refcount=1 reference=0"])
        #expect(
            bench.said.hasPrefix(
                """

                1 leaked clusters were found on the image.
                This means waste of disk space, but no harm to data.

                """))
        #expect(try check(bench, "a.qcow2", format: "qcow2", repair: .leaks) == 0)
        #expect(
            bench.said.contains(
                "    1 leaked clusters\n    0 corruptions\n\nDouble checking the fixed image now...\nNo errors"))
        #expect(try check(bench, "a.qcow2") == 0)
    }

    @Test("corruption is 2")
    func corruption() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        var bytes = bench.files["a.qcow2"]
        let block = refcountBlock(bytes)
        let last = bytes.count / 65536 - 1
        bytes[block + last * 2 + 1] = 0
        bench.files["a.qcow2"] = bytes
        #expect(try check(bench, "a.qcow2") == 2)
        #expect(bench.said.contains("errors were found on the image.\nData may be corrupted"))
    }

    @Test(
        "R20, R25: a repair does not guess the format, and so opens nothing", arguments: [ImageTool.Repair.leaks, .all])
    func guessedRepair(repair: ImageTool.Repair) throws {
        let bench = Bench()
        try bench.create("disk.raw", size: "1M")
        // What a guest wrote to its raw disk: a qcow2 header, with an error that a repair would mend.
        var bytes = bench.files["disk.raw"]
        bytes[refcountBlock(bytes) + (bytes.count / 65536 - 1) * 2 + 1] = 0
        bench.files["disk.raw"] = bytes
        let opened = bench.files.opened.count
        let refusal = #expect(throws: ImageError.self) { try check(bench, "disk.raw", repair: repair) }
        #expect(refusal?.message.contains("say -f qcow2") == true)
        #expect(refusal?.exitCode == 1)
        #expect(bench.files.opened.count == opened)
        #expect(bench.files["disk.raw"] == bytes)
        #expect(throws: ImageError("This image format does not support checks", exitCode: 63)) {
            try check(bench, "disk.raw", format: "raw", repair: repair)
        }
        #expect(bench.files["disk.raw"] == bytes)
        // To look is no harm, and as QEMU's program it goes by the magic.
        #expect(try check(bench, "disk.raw") == 2)
        #expect(bench.files["disk.raw"] == bytes)
        bench.rule = .any
        _ = try check(bench, "disk.raw", repair: repair)
        #expect((bench.files["disk.raw"] != bytes) == (repair == .all))
    }

    @Test("the doctor names in guest terms what is lost, before anything is touched, and the repair does what it said")
    func doctor() throws {
        let bench = Bench()
        try bench.create("a.qcow2", options: "preallocation=metadata", size: "1M")
        var bytes = bench.files["a.qcow2"]
        func number(_ offset: Int) -> Int { bytes[offset..<offset + 8].reduce(0) { $0 << 8 | Int($1) } }
        // The second cluster's place is in the middle of one.
        let l2 = number(number(40)) & 0xFF_FFFF_FE00
        bytes[l2 + 8 + 6] |= 2
        bench.files["a.qcow2"] = bytes
        func run(_ form: ImageTool.Form, _ repair: ImageTool.Repair) throws -> Int32 {
            try bench.run {
                try await $0.check(
                    ImageReference("a.qcow2", format: "qcow2"), form: form, repair: repair, doctor: true, quiet: false)
            }
        }
        #expect(try run(.human, .none) == 2)
        #expect(
            bench.said.hasPrefix(
                """
                Report:
                  The disk, bytes 65536 to 131071: lost. After a full repair it reads as zeros.
                  Refcounts or their flags are wrong. A repair corrects them; no data is concerned.

                """))
        #expect(bench.files["a.qcow2"] == bytes)
        #expect(try run(.json, .all) == 0)
        #expect(bench.said.contains("\"fate\": \"lost\""))
        #expect(bench.said.contains("\"start\": 65536"))
        #expect(try run(.human, .none) == 0)
        #expect(bench.said.contains("Report:\n  Nothing is damaged.\n\nNo errors were found on the image.\n"))
    }

    @Test("raw has no check: 63; what cannot be opened: 1")
    func others() throws {
        let bench = Bench()
        bench.files["r.raw"] = [UInt8](repeating: 0, count: 512)
        #expect(throws: ImageError("This image format does not support checks", exitCode: 63)) {
            try check(bench, "r.raw")
        }
        #expect(throws: ImageError("Could not open 'no': Could not open 'no': No such file or directory")) {
            try check(bench, "no")
        }
        #expect(bench.files.openNow == 0)
    }
}
