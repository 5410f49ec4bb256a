import FoundationEssentials
import Testing

@Suite("NBD clients", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "nbdcopy"))
struct NBDClientTests {
    /// A disk of 8 MiB over a backing file: data below at 1 MiB, data above at 2 MiB, zeros above at 3 MiB.
    private func layered(_ scratch: Scratch) async throws -> String {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "8M")
        try await scratch.io(["write -P 1 1M 1M", "write -P 1 3M 1M"], "base.qcow2", format: "qcow2")
        let top = scratch.file("top.qcow2")
        try await scratch.ok(
            "qemu-img", "create", "-q", "-f", "qcow2", "-b", scratch.file("base.qcow2"), "-F", "qcow2", top)
        try await scratch.io(["write -P 2 2M 1M", "write -z 3M 1M"], top, format: "qcow2")
        return top
    }

    @Test("nbdinfo sees the size, the abilities and the block sizes of an export")
    func info() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let daemon = try await scratch.daemon(.init(image: top, formatOptions: ["discard=unmap"]))
            let all = try await scratch.json(["nbdinfo", "--json", daemon.uri()])
            #expect(all["protocol"] == "newstyle-fixed" && all["structured"] == true && all["TLS"] == false)
            let export = try #require(all["exports"]?.items.first)
            #expect(export["export-size"] == 8_388_608 && export["export-name"] == "disk")
            let able = [
                "can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim",
                "can_zero",
            ]
            for flag in able { #expect(export[flag] == true, "\(flag)") }
            #expect(export["is_read_only"] == false && export["is_rotational"] == false)
            #expect(export["block_size_minimum"] == 1 && export["block_size_maximum"] == 33_554_432)
            #expect(export["contexts"]?.items.contains("base:allocation") == true)
            try await daemon.stop()
        }
    }

    @Test("a read-only export says so, and refuses to be written to")
    func readOnly() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let daemon = try await scratch.daemon(.init(image: top, writable: false))
            let export = try await scratch.json(["nbdinfo", "--json", daemon.uri()])["exports"]?.items.first
            #expect(export?["is_read_only"] == true)
            let write = try await scratch.run(["qemu-io", "-f", "raw", "-c", "write 0 4k", daemon.uri()])
            #expect(write.status != 0)
            try await daemon.stop()
        }
    }

    @Test("nbdinfo lists every export, with its description")
    func list() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let words = [
                "--blockdev", "driver=null-co,node-name=empty,size=1048576,read-zeroes=on", "--export",
                "type=nbd,id=e1,node-name=empty,name=second,description=nothing but zeros",
            ]
            let daemon = try await scratch.daemon(.init(image: top, words: words))
            let listed = try await scratch.json(["nbdinfo", "--list", "--json", daemon.uri()])
            let exports = listed["exports"]?.items ?? []
            #expect(Set(exports.compactMap { $0["export-name"]?.string }) == ["disk", "second"])
            let second = exports.first { $0["export-name"] == "second" }
            #expect(second?["description"] == "nothing but zeros")
            #expect(second?["export-size"] == 1_048_576)
            try await scratch.io(["read -P 0 0 1M"], daemon.uri("second"), options: ["-r"])
            let absent = try await scratch.run(["nbdinfo", daemon.uri("absent")])
            #expect(absent.status != 0)
            try await daemon.stop()
        }
    }

    @Test("the allocation map shows data, zeros and holes of the whole chain")
    func map() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let daemon = try await scratch.daemon(.init(image: top))
            let map = try await scratch.json(["nbdinfo", "--map", "--json", daemon.uri()])
            let data = map.items.filter { $0["type"] == 0 }
            #expect(data.first?["offset"] == 1_048_576 && data.last.flatMap { end($0) } == 3_145_728)
            #expect(map.items.first?["type"] == 3, "a hole reads as zeros")
            #expect(map.items.last.flatMap { end($0) } == 8_388_608, "the map covers the disk")
            try await daemon.stop()
        }
    }

    private func end(_ extent: JSONValue) -> UInt64? {
        guard let offset = extent["offset"]?.number, let length = extent["length"]?.number else { return nil }
        return offset + length
    }

    @Test("the allocation depth tells which layer of the chain holds a cluster")
    func depth() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            var words = scratch.daemonWords(.init(image: top))
            words[words.count - 1] += ",allocation-depth=on"
            let daemon = try await scratch.daemon(words: words)
            let map = try await scratch.json(["nbdinfo", "--map=qemu:allocation-depth", "--json", daemon.uri()])
            let depths = map.items.map { [$0["offset"], $0["length"], $0["type"]] }
            let mebibyte: UInt64 = 1 << 20
            #expect(
                depths == [
                    [0, .unsigned(mebibyte), 0], [.unsigned(mebibyte), .unsigned(mebibyte), 2],
                    [.unsigned(2 * mebibyte), .unsigned(2 * mebibyte), 1],
                    [.unsigned(4 * mebibyte), .unsigned(4 * mebibyte), 0],
                ])
            try await daemon.stop()
        }
    }

    @Test("nbdcopy copies a disk in and out again", arguments: ["qcow2", "raw"])
    func copies(format: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "source.raw", "9M")
            try await scratch.strikeRaw(
                Stroke.mixture(seed: 5, size: 9 << 20, clusterSize: 65536, count: 40), scratch.file("source.raw"))
            try await scratch.ok("qemu-img", "create", "-q", "-f", format, "disk.img", "9M")
            let daemon = try await scratch.daemon(.init(image: scratch.file("disk.img"), format: format))
            try await scratch.ok("nbdcopy", "--flush", "--connections=4", "source.raw", daemon.uri())
            try await scratch.ok("nbdcopy", "--connections=4", "--requests=64", daemon.uri(), "back.raw")
            try await scratch.expectSameBytes("source.raw", "back.raw")
            try await daemon.stop()
            try await scratch.expectSame("disk.img", format, "source.raw")
            if format == "qcow2" { try await scratch.expectClean("disk.img") }
        }
    }

    @Test("qemu-img converts from and to an export, maps it and compares it")
    func convert() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let daemon = try await scratch.daemon(.init(image: top))
            try await scratch.ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", daemon.uri(), "copy.qcow2")
            try await scratch.expectSame(daemon.uri(), "raw", "copy.qcow2", "qcow2")
            let map = try await scratch.json(["qemu-img", "map", "-f", "raw", "--output=json", daemon.uri()])
            #expect(map.items.reduce(0) { $0 + ($1["length"]?.number ?? 0) } == 8_388_608)
            let data = map.items.filter { $0["data"] == true }
            #expect(data.reduce(0) { $0 + ($1["length"]?.number ?? 0) } == 2_097_152)
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "other.raw", "8M")
            try await scratch.strikeRaw(
                Stroke.mixture(seed: 6, size: 8 << 20, clusterSize: 65536, count: 20), scratch.file("other.raw"))
            try await scratch.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "other.raw", daemon.uri())
            try await scratch.expectSame(daemon.uri(), "raw", "other.raw")
            try await daemon.stop()
            try await scratch.expectClean(top)
            try await scratch.expectSame(top, "qcow2", "other.raw")
        }
    }

    @Test("several clients see each other's flushed writes")
    func manyClients() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let daemon = try await scratch.daemon(.init(image: top))
            let others = try (0..<4).map { index in
                try scratch.start([
                    "qemu-io", "-f", "raw", "-c", "write -q -P \(10 + index) \(index)M 1M", "-c", "flush", daemon.uri(),
                ])
            }
            for other in others { #expect(try await other.wait().status == 0) }
            try await scratch.io((0..<4).map { "read -P \(10 + $0) \($0)M 1M" }, daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(top)
        }
    }

    @Test("a client over TCP is served as one over a Unix socket")
    func tcp() async throws {
        try await Scratch.use { scratch in
            let top = try await layered(scratch)
            let port = 20000 + Int.random(in: 0..<20000)
            var words = scratch.daemonWords(.init(image: top))
            let at = try #require(words.firstIndex(of: "--nbd-server"))
            words[at + 1] = "addr.type=inet,addr.host=127.0.0.1,addr.port=\(port)"
            let child = try scratch.start(words)
            let uri = "nbd://127.0.0.1:\(port)/disk"
            var seen = false
            for _ in 0..<200 where !seen && child.isRunning {
                seen = try await scratch.run(["nbdinfo", "--size", uri]).status == 0
            }
            #expect(seen, "\(child.err)")
            try await scratch.io(["write -P 9 5M 64k", "read -P 9 5M 64k", "read -P 2 2M 1M"], uri)
            child.signal(15)
            #expect(try await child.wait().ending == .exited(0))
            try await scratch.expectClean(top)
        }
    }

    @Test("fio verifies what it has written", .needs("fio"), arguments: ["io_uring", "threads"])
    func fio(engine: String) async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "32M")
            let daemon = try await scratch.daemon(
                .init(image: scratch.file("disk.qcow2"), fileOptions: ["aio=\(engine)"]))
            try await scratch.ok(
                [
                    "fio", "--name=verify", "--ioengine=nbd", "--uri=\(daemon.uri())", "--rw=randrw", "--size=16M",
                    "--bsrange=512-32k", "--bs_unaligned", "--iodepth=16", "--verify=crc32c", "--do_verify=1",
                    "--verify_fatal=1", "--randseed=11", "--output-format=terse",
                ], seconds: 120)
            try await daemon.stop()
            try await scratch.expectClean("disk.qcow2")
        }
    }
}
