import FoundationEssentials
import Testing

@Suite("A full disk", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "mount"), .needsRoot)
struct FullDiskTests {
    @Test(
        "a full disk is ENOSPC to the writer; what was there stays readable, and writing goes on once there is room",
        arguments: ["io_uring", "threads"])
    func full(engine: String) async throws {
        try await Scratch.use { scratch in
            guard let place = try await scratch.mountSmall("small", mebibytes: 8) else {
                try Test.cancel("skipped: the host does not let us mount a small file system")
            }
            let image = "\(place)/disk.qcow2"
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
            try await scratch.ok("fallocate", "-l", "4M", "\(place)/filler")
            let daemon = try await scratch.daemon(.init(image: image, fileOptions: ["aio=\(engine)"]))
            let monitor = try await daemon.monitor()
            try await scratch.io(["write -P 1 0 1M", "flush"], daemon.uri())
            let writes = (1..<20).flatMap { ["-c", "write -P 2 \($0)M 1M"] }
            let full = try await scratch.run(["qemu-io", "-f", "raw"] + writes + [daemon.uri()])
            #expect(full.status == 1)
            #expect((full.out + full.err).contains("No space left on device"), "\(full.out) \(full.err)")
            let written = full.out.split(separator: "\n").filter { $0.hasPrefix("wrote") }.count
            #expect(written < 19)
            if !Subject.isPeer {
                // QEMU's NBD server never tells the monitor; ours does.
                let event = try #require(try await monitor.event("BLOCK_IO_ERROR"))
                #expect(event["data"]?["operation"] == "write" && event["data"]?["nospace"] == true, "\(event.text)")
                #expect(event["data"]?["node-name"] == "disk" && event["data"]?["action"] == "report")
            }
            try await scratch.io(
                ["read -P 1 0 1M"] + (1..<1 + written).map { "read -P 2 \($0)M 1M" }, daemon.uri())
            try FileManager.default.removeItem(atPath: "\(place)/filler")
            try await scratch.io(["write -P 3 40M 2M", "flush", "read -P 3 40M 2M", "read -P 1 0 1M"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.io(["read -P 1 0 1M", "read -P 3 40M 2M"], image, format: "qcow2")
        }
    }
}
