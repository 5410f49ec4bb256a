import FoundationEssentials
import Testing

@Suite("Dirty bitmaps", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "qemu-storage-daemon"))
struct BitmapTests {
    /// What `nbdinfo` and `qemu-img map` say of a bitmap: offset and length of what is dirty. Both have to agree.
    static func marks(_ scratch: Scratch, _ socket: String, _ export: String, _ bitmap: String) async throws
        -> [[UInt64]]
    {
        let uri = "nbd+unix:///\(export)?socket=\(scratch.file(socket))"
        let told = try await scratch.json(["nbdinfo", "--json", "--map=qemu:dirty-bitmap:\(bitmap)", uri])
        let dirty = told.items.filter { $0["type"] == 1 }.map { [$0["offset"]?.uint ?? 0, $0["length"]?.uint ?? 0] }
        let map = try await scratch.json([
            "qemu-img", "map", "--output=json", "--image-opts",
            "driver=nbd,export=\(export),server.type=unix,server.path=\(scratch.file(socket)),"
                + "x-dirty-bitmap=qemu:dirty-bitmap:\(bitmap)",
        ])
        // QEMU shows dirty as what is not data.
        let holes = map.items.filter { $0["data"] == false }.map { [$0["start"]?.uint ?? 0, $0["length"]?.uint ?? 0] }
        #expect(holes == dirty)
        return dirty
    }

    @Test("what clients change is told alike by nbdinfo and qemu-img, sums included, and as QEMU's daemon has it")
    func overNBD() async throws {
        try await Scratch.use { scratch in
            var told: [[JSONValue]] = []
            for isOurs in [true, false] {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "16M")
                let name = isOurs ? "ours" : "qemu"
                let ours = scratch.daemonWords(.init(image: "disk.qcow2", formatOptions: ["discard=unmap"]), name: name)
                let theirs = ["qemu-storage-daemon"] + ours.dropFirst(Subject.daemon.count + Subject.allowing("").count)
                let child = try scratch.start(isOurs ? ours : theirs)
                guard try await scratch.appears("\(name).qmp") else { throw Trouble("no monitor: \(child.err)") }
                let monitor = try await QMPSession(scratch.file("\(name).qmp"))
                for (bitmap, granularity) in [("fine", 512), ("rough", 1 << 20)] as [(String, UInt64)] {
                    try await monitor.execute(
                        "block-dirty-bitmap-add",
                        ["node": "disk", "name": .string(bitmap), "granularity": .unsigned(granularity)])
                }
                let uri = "nbd+unix:///disk?socket=\(scratch.file("\(name).nbd"))"
                try await scratch.io(
                    ["write -P 1 1000 1", "write -P 1 3M 70k", "write -z 5M 1M", "discard 8M 128k", "read 0 4M"], uri)
                let names: JSONValue = ["fine", ["node": "disk", "name": "rough"]]
                try await monitor.execute(
                    "block-export-add",
                    ["type": "nbd", "id": "e1", "node-name": "disk", "name": "map", "writable": true, "bitmaps": names])
                let fine = try await Self.marks(scratch, "\(name).nbd", "map", "fine")
                #expect(fine == [[512, 512], [3 << 20, 70 << 10], [5 << 20, 1 << 20], [8 << 20, 128 << 10]])
                let rough = try await Self.marks(scratch, "\(name).nbd", "map", "rough")
                #expect(rough == [[0, 1 << 20], [3 << 20, 1 << 20], [5 << 20, 1 << 20], [8 << 20, 1 << 20]])
                var sums: [JSONValue] = []
                for bitmap in ["fine", "rough"] {
                    sums.append(
                        try await monitor.execute(
                            "x-debug-block-dirty-bitmap-sha256", ["node": "disk", "name": .string(bitmap)]))
                }
                told.append(sums + [.string("\(fine)\(rough)")])
                child.signal(15)
                try await child.wait(seconds: 20)
            }
            #expect(told.first == told.last)
        }
    }
}
