import Image
import Testing

@Suite("map")
struct MapTests {
    private func map(
        _ bench: Bench, _ path: String, start: UInt64 = 0, count: UInt64? = nil, form: ImageTool.Form = .json
    )
        throws
    {
        try bench.run {
            try await $0.map(ImageReference(path, format: nil), form: form, start: start, count: count)
        }
    }

    @Test("an empty image and an empty disk are told as qemu-img tells them")
    func empty() throws {
        let bench = Bench()
        try bench.create("a.qcow2", size: "1M")
        try map(bench, "a.qcow2")
        #expect(
            bench.said == """
                [{ "start": 0, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false}]

                """)
        try bench.create("e.qcow2", size: "0")
        try map(bench, "e.qcow2")
        #expect(
            bench.said == """
                [{ "start": 0, "length": 0, "depth": 0, "present": false, "zero": false, "data": false}]

                """)
        try map(bench, "e.qcow2", form: .human)
        #expect(bench.said == "Offset          Length          Mapped to       File\n")
    }

    @Test("runs say which image of the chain decides, and where its bytes are")
    func chain() throws {
        let bench = Bench()
        bench.files["d/base.raw"] = [UInt8](repeating: 7, count: 256 << 10)
        try bench.create("d/top.qcow2", backing: "base.raw", backingFormat: "raw", size: "512k")
        try bench.write("d/top.qcow2", [(65536, 131_072)])
        try map(bench, "d/top.qcow2")
        let lines = bench.said.split(separator: "\n")
        #expect(lines.count == 4)
        #expect(
            lines.first
                == #"[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "offset": 0},"#
        )
        #expect(
            lines[1].hasPrefix(
                #"{ "start": 65536, "length": 131072, "depth": 0, "present": true, "zero": false, "data": true"#))
        #expect(
            lines[2]
                == #"{ "start": 196608, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "offset": 196608},"#
        )
        #expect(
            lines[3]
                == #"{ "start": 262144, "length": 262144, "depth": 0, "present": false, "zero": true, "data": false}]"#)
        try map(bench, "d/top.qcow2", start: 32768, count: 65536)
        #expect(bench.said.hasPrefix(#"[{ "start": 32768, "length": 32768, "depth": 1"#))
        #expect(bench.said.split(separator: "\n").count == 2)
        try map(bench, "d/top.qcow2", form: .human)
        #expect(
            bench.said.hasPrefix(
                "Offset          Length          Mapped to       File\n0               0x10000         0               d/base.raw\n"
            ))
        #expect(bench.files.openNow == 0)
    }

    @Test("R14, R21, R25: a chain that returns to itself, leaves the folder or hides its format is refused")
    func refusals() throws {
        let bench = Bench()
        try bench.create("b.qcow2", backing: "a.qcow2", backingFormat: "qcow2", size: "1M", checksBacking: false)
        try bench.create("a.qcow2", backing: "b.qcow2", backingFormat: "qcow2", size: "1M", checksBacking: false)
        #expect(
            throws: ImageError(
                "Could not open 'a.qcow2': Could not open backing file: Could not open backing file: 'a.qcow2' stands on "
                    + "itself: the backing chain is a loop"
            )
        ) { try map(bench, "a.qcow2") }
        try bench.create("n.qcow2", backing: "nbd://host/x", backingFormat: "raw", size: "1M", checksBacking: false)
        #expect(throws: ImageError.self) { try map(bench, "n.qcow2") }
        #expect(!bench.files.opened.contains("nbd://host/x"))
        #expect(bench.files.openNow == 0)
    }
}
