import BlockTestKit
import Image
import Testing

@Suite("bitmap")
struct BitmapTests {
    @Test("bitmaps of an image whose data lies apart are added, merged and removed, and the data stays as it is")
    func dataFile() throws {
        let bench = Bench()
        try bench.create("a.qcow2", options: "data_file=d.raw", size: "1M")
        let data = bench.files["d.raw"]
        func bitmap(_ name: String, _ commands: [BitmapCommand]) throws {
            let request = BitmapRequest(
                image: ImageReference("a.qcow2", format: "qcow2"), name: name, commands: commands, granularity: nil,
                source: nil)
            try bench.run { try await $0.bitmap(request) }
        }
        try bitmap("x", [.add])
        try bitmap("y", [.add, .merge("x")])
        try bitmap("x", [.remove])
        let check = MiniCheck(SparseBytes(bench.files["a.qcow2"]))
        #expect(check.isClean && check.bitmaps.map(\.name) == ["y"] && check.bitmaps.allSatisfy { !$0.isInUse })
        #expect(bench.files["d.raw"] == data && bench.files.openNow == 0)
    }
}
