import Block
import BlockTestKit
import Bytes
import Filters
import GraphTestKit
import Qcow2
import Testing

@testable import Graph

@Suite("filters")
struct FilterTests {
    private func group(_ bench: GraphBench, _ name: String, _ set: (inout ThrottleLimits) -> Void) -> ThrottleGroup {
        let group = bench.graph.throttleGroups.makeGroup(name)
        var limits = ThrottleLimits()
        set(&limits)
        group.setLimits(limits)
        return group
    }

    private func throttle(_ name: String, on file: ChildReference, group: String = "g") -> NodeOptions {
        NodeOptions(.throttle(ThrottleOptions(file: file, group: group)), nodeName: name)
    }

    // MARK: throttle

    @Test("the nodes of one group share its limits")
    func sharedLimits() throws {
        let bench = GraphBench()
        try bench.run {
            let group = group(bench, "g") { $0.iops = .init(100) }
            for name in ["a", "b"] {
                try await bench.graph.add(Make.null("n" + name, size: 1 << 20))
                try await bench.graph.add(throttle(name, on: .node("n" + name)))
            }
            let roots = [try await bench.attach("a"), try await bench.attach("b")]
            let start = bench.context.nowNs
            for _ in 0..<55 { for root in roots { try await root.write([1], at: 0) } }
            #expect((bench.context.nowNs - start) / 1_000_000 >= 980)
            #expect(group.waitingCount == 0)
        }
    }

    @Test("a group that does not exist, or has gone, is refused; one in use stays")
    func missingGroup() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            let text = await bench.failure { try await bench.graph.add(throttle("t", on: .node("n"))) }
            #expect(text == "Throttle group 'g' does not exist")
            do {
                let group = group(bench, "g") { $0.iops = .init(5) }
                try await bench.graph.add(throttle("t", on: .node("n")))
                #expect(group.limits.iops.average == 5)
            }
            #expect(bench.graph.usesThrottleGroup("g") && bench.graph.throttleGroups.group("g") != nil)
            try await bench.graph.delete("t")
            #expect(!bench.graph.usesThrottleGroup("g") && bench.graph.throttleGroups.group("g") == nil)
        }
    }

    @Test("nobody who changes the graph waits for limits, and they hold again afterwards")
    func drained() throws {
        let bench = GraphBench()
        try bench.run {
            let group = group(bench, "g") { $0.bps = .init(1) }
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await bench.graph.add(Make.file("r.raw", "f"))
            try await bench.graph.add(throttle("t", on: .node("f")))
            try await bench.graph.add(Make.raw("r", .node("t")))
            let root = try await bench.attach("r")
            var done = 0
            for number in 0..<4 {
                bench.context.spawn {
                    try? await root.write([1, 2, 3, 4], at: UInt64(number) * 512)
                    done += 1
                }
            }
            await bench.context.sleep(ms: 100)
            #expect(group.waitingCount == 3 && done == 1)
            let start = bench.context.nowNs
            try await bench.graph.reopen([Make.raw("r", .node("t"), CommonOptions(discard: .unmap))])
            #expect(done == 4)
            #expect(bench.context.nowNs - start < 1_000_000_000)
            bench.context.spawn { try? await root.write([5], at: 0) }
            await bench.context.sleep(ms: 100)
            #expect(group.waitingCount == 1)
            await bench.graph.detach(root)
            #expect(group.waitingCount == 0)
        }
    }

    @Test("a reopen moves a node to another group")
    func otherGroup() throws {
        let bench = GraphBench()
        try bench.run {
            let slow = group(bench, "g") { $0.iops = .init(1) }
            let fast = group(bench, "h") { $0.iops = .init(1000) }
            try await bench.graph.add(Make.null("n"))
            try await bench.graph.add(throttle("t", on: .node("n")))
            try await bench.graph.reopen([throttle("t", on: .node("n"), group: "h")])
            let root = try await bench.attach("t")
            let start = bench.context.nowNs
            for _ in 0..<20 { try await root.write([1], at: 0) }
            #expect(bench.context.nowNs - start < 1_000_000_000)
            #expect(slow.waitingCount == 0 && fast.waitingCount == 0)
            #expect(bench.graph.node("t")?.filename.contains("\"throttle-group\": \"h\"") == true)
        }
    }

    // MARK: copy-on-read

    /// Three images, `top` on `mid` on `base`, of which the lower two hold something.
    private func chain(_ bench: GraphBench) async throws {
        try await bench.host.addQcow2("base")
        try await bench.host.addQcow2("mid", backing: "base")
        try await bench.host.addQcow2("top", backing: "mid")
        for (name, offset, value) in [("base", 0, 1), ("base", 131072, 2), ("mid", 65536, 3)]
            as [(String, UInt64, UInt8)]
        {
            try await bench.graph.add(
                Make.qcow2("w", name, backing: name == "base" ? nil : .some(.child(.options(Make.qcow2(nil, "base"))))))
            let root = try await bench.attach("w")
            try await root.write([UInt8](repeating: value, count: 1000), at: offset + 512)
            await bench.graph.detach(root)
            try await bench.graph.delete("w")
        }
        let base = Make.qcow2("base", "base")
        let mid = Make.qcow2("mid", "mid", backing: .child(.options(base)))
        try await bench.graph.add(Make.qcow2("top", "top", backing: .child(.options(mid))))
    }

    private func copyOnRead(bottom: String? = nil) -> NodeOptions {
        NodeOptions(.copyOnRead(CopyOnReadOptions(file: .node("top"), bottom: bottom)), nodeName: "c")
    }

    private func depths(_ root: BlockRoot) async throws -> [Int] {
        var depths: [Int] = []
        for offset in [0, 65536, 131072] as [UInt64] {
            depths.append(try await root.status(of: ByteRange(at: offset, count: 65536)).depth)
        }
        return depths
    }

    @Test("what is read is in the image afterwards, and reads as before", arguments: [nil, "base", "mid"])
    func copies(bottom: String?) throws {
        let bench = GraphBench()
        try bench.run {
            try await chain(bench)
            try await bench.graph.add(copyOnRead(bottom: bottom))
            let root = try await bench.attach("c", writable: false)
            #expect(try await depths(root) == [2, 1, 2])
            let first = try await root.bytes(at: 0, count: 196608)
            #expect(first[512] == 1 && first[65536 + 512] == 3 && first[131072 + 1511] == 2 && first[0] == 0)
            #expect(try await depths(root) == (bottom == "mid" ? [2, 0, 2] : [0, 0, 0]))
            #expect(try await root.bytes(at: 0, count: 196608) == first)
            // What nobody holds becomes zeros of the image, unless only some layers are copied from.
            let cluster = ByteRange(at: 13 * 65536, count: 65536)
            let rest = try await root.status(of: cluster)
            _ = try await root.bytes(at: cluster.start, count: 65536)
            let after = try await root.status(of: cluster)
            #expect(!rest.flags.contains(.allocated) && after.flags.contains(.allocated) == (bottom == nil))
        }
    }

    @Test("a read of a few bytes copies their whole cluster")
    func wholeClusters() throws {
        let bench = GraphBench()
        try bench.run {
            try await chain(bench)
            try await bench.graph.add(copyOnRead())
            let root = try await bench.attach("c", writable: false)
            let bytes = try await root.bytes(at: 65536 - 2, count: 1024)
            #expect(bytes[1] == 0 && bytes[513] == 0 && bytes[514] == 3)
            #expect(try await depths(root) == [0, 0, 2])
            for (at, value) in [(0, 1), (65536, 3)] as [(UInt64, UInt8)] {
                let status = try await root.status(of: ByteRange(at: at, count: 65536))
                #expect(status.count == 65536 && status.depth == 0)
                #expect(try await root.bytes(at: at + 512, count: 1000) == [UInt8](repeating: value, count: 1000))
            }
        }
    }

    @Test("a copy never brings back what a write has replaced")
    func copiesAndWrites() throws {
        for seed in 0..<20 as Range<UInt64> {
            let bench = GraphBench(seed: seed)
            try bench.run {
                try await chain(bench)
                try await bench.graph.add(copyOnRead())
                let root = try await bench.attach("c")
                var left = 12
                for number in 0..<12 as Range<UInt64> {
                    bench.context.spawn {
                        let at = number % 3 * 65536
                        if number % 2 == 0 {
                            _ = try? await root.bytes(at: at, count: 4096)
                        } else {
                            try? await root.write([UInt8](repeating: 7, count: 2048), at: at)
                        }
                        left -= 1
                    }
                }
                while left > 0 { await bench.context.yield() }
                for at in [0, 65536, 131072] as [UInt64] {
                    #expect(try await root.bytes(at: at, count: 2048) == [UInt8](repeating: 7, count: 2048))
                }
            }
        }
    }

    @Test("copies need an image that can be written, and nobody who writes past them")
    func copyPermissions() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("top")
            try await bench.graph.add(Make.qcow2("top", "top", .readOnly))
            #expect(await bench.failure { try await bench.graph.add(copyOnRead()) } == "Block node is read-only")
            try await bench.graph.delete("top")
            try await bench.graph.add(Make.qcow2("top", "top"))
            #expect(
                await bench.failure { try await bench.graph.add(copyOnRead(bottom: "x")) }
                    == "Bottom node 'x' not found")
            #expect(
                await bench.failure { try await bench.graph.add(copyOnRead(bottom: "c")) }
                    == "Bottom node 'c' is a filter")
            try await bench.graph.add(copyOnRead())
            let reader = try await bench.attach("c", writable: false)
            let text = await bench.failure { _ = try await bench.attach("top") }
            #expect(text.hasPrefix("Permission conflict on node 'top'"))
            await bench.graph.detach(reader)
            let text2 = await bench.failure { try await bench.graph.reopen([copyOnRead()]) }
            #expect(text2 == "Block format 'copy-on-read' used by node 'c' does not support reopening files")
        }
    }

    // MARK: compress

    @Test("what is written through compress is stored compressed, parts of clusters too, and reads as written")
    func compress() throws {
        let bench = GraphBench()
        try bench.run {
            let file = try await bench.host.addQcow2("image")
            try await bench.graph.add(Make.qcow2("q", "image"))
            try await bench.graph.add(NodeOptions(.compress(CompressOptions(file: .node("q"))), nodeName: "z"))
            let root = try await bench.attach("z")
            var model = [UInt8](repeating: 0, count: 1 << 20)
            // A new image ends inside its last cluster.
            let before = file.storage.length.roundedUp(to: 65536) ?? 0
            for (number, range) in [0..<65536, 1000..<3000, 60000..<200_000, 1_048_000..<1_048_576].enumerated() {
                let bytes = [UInt8](repeating: UInt8(number + 1), count: range.count)
                try await root.write(bytes, at: UInt64(range.lowerBound))
                model.replaceSubrange(range, with: bytes)
            }
            #expect(try await root.bytes(at: 0, count: 1 << 20) == model)
            #expect(try await root.status(of: ByteRange(at: 0, count: 65536)).flags.contains(.encoded))
            #expect(file.storage.length <= before + 3 * 65536, "clusters are packed into one")
            #expect(await bench.failure { _ = try await bench.attach("q") }.hasPrefix("Permission conflict"))
        }
    }

    @Test("what cannot be compressed on is refused")
    func compressOnWhat() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await bench.graph.add(Make.file("r.raw", "f"))
            try await bench.graph.add(Make.raw("r", .node("f")))
            for name in ["f", "r"] {
                let text = await bench.failure {
                    try await bench.graph.add(NodeOptions(.compress(CompressOptions(file: .node(name))), nodeName: "z"))
                }
                #expect(text == "Compression is not supported for underlying format: \(name == "f" ? "file" : "raw")")
            }
        }
    }

    // MARK: preallocate

    @Test("a file that grows has room ahead while it is in use, and ends where its data does afterwards")
    func preallocate() throws {
        let bench = GraphBench()
        try bench.run {
            let storage = MemoryStorage(
                SparseBytes(length: 0), limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
            _ = bench.host.add("r.raw", storage)
            try await bench.graph.add(Make.file("r.raw", "f"))
            func filter(ahead: UInt64) -> NodeOptions {
                NodeOptions(
                    .preallocate(PreallocateOptions(file: .node("f"), room: .init(align: 65536, ahead: ahead))),
                    nodeName: "p")
            }
            try await bench.graph.add(filter(ahead: 1 << 20))
            try await bench.graph.add(Make.raw("r", .node("p")))
            let root = try await bench.attach("r")
            try await root.write([1, 2, 3], at: 1000)
            #expect(storage.length == 1_114_112)
            #expect(root.length == 1024)
            #expect(try await root.bytes(at: 999, count: 5) == [0, 1, 2, 3, 0])
            // Nobody else may make it longer.
            let text = await bench.failure { _ = try await bench.attach("f") }
            #expect(text.hasPrefix("Permission conflict on node 'f'"))
            try await bench.graph.reopen([filter(ahead: 0)])
            #expect(storage.length == 1003)
            try await root.write([4], at: 70000)
            #expect(storage.length == 131_072)
            await bench.graph.detach(root)
            try await bench.graph.resize(device: nil, nodeName: "r", to: 80000)
            #expect(storage.length == 80000)
            let again = try await bench.attach("r")
            #expect(try await again.bytes(at: 69999, count: 10) == [0, 4] + [UInt8](repeating: 0, count: 8))
            try await again.write([5], at: 200_000)
            await bench.graph.detach(again)
            for node in ["r", "p"] { try await bench.graph.delete(node) }
            #expect(storage.length == 200_001)
            let bad = await bench.failure {
                try await bench.graph.add(
                    NodeOptions(
                        .preallocate(PreallocateOptions(file: .node("f"), room: .init(align: 1000))), nodeName: "p"))
            }
            #expect(bad == "prealloc-align parameter of preallocate filter is not aligned to 512")
        }
    }

    // MARK: blkdebug

    @Test("pretended limits that contradict each other are refused")
    func limits() throws {
        func text(_ set: (inout PretendedLimits) -> Void) -> String? {
            var limits = PretendedLimits()
            set(&limits)
            do { try limits.check() } catch { return error.message }
            return nil
        }
        #expect(text { ($0.align, $0.maxTransfer) = (0, 0) } == nil)
        #expect(text { $0.maxTransfer = 1000 } == nil)
        #expect(text { ($0.align, $0.maxTransfer) = (4096, 1000) } == "Cannot meet constraints with max-transfer 1000")
        #expect(
            text { ($0.optWriteZero, $0.maxWriteZero) = (65536, 4096) }
                == "Cannot meet constraints with max-write-zero 4096")
        #expect(text { ($0.align, $0.maxDiscard) = (4096, 512) } == "Cannot meet constraints with max-discard 512")
        #expect(text { ($0.align, $0.optDiscard) = (512, 4096) } == nil)
    }

    @Test("permissions that blkdebug takes and does not share are held against others")
    func permissions() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await bench.graph.add(Make.file("r.raw", "f"))
            var taking = BlkdebugOptions(image: .node("f"))
            taking.taken = .write
            try await bench.graph.add(NodeOptions(.blkdebug(taking), nodeName: "c"))
            var unsharing = BlkdebugOptions(image: .node("f"))
            unsharing.unshared = .write
            let text = await bench.failure {
                try await bench.graph.add(NodeOptions(.blkdebug(unsharing), nodeName: "d"))
            }
            #expect(
                text == "Permission conflict on node 'f': permissions 'write' are both required by node 'c' "
                    + "(uses node 'f' as 'image' child) and unshared by node 'd' (uses node 'f' as 'image' child).")
        }
    }

    @Test(
        "a request with a preferred unit comes in pieces: whole units, and what lies beside them, which is not left out"
    )
    func pieces() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("q")
            var debug = BlkdebugOptions(image: .options(Make.qcow2(nil, "q")))
            (debug.limits.optDiscard, debug.limits.optWriteZero) = (3 * 65536, 3 * 65536)
            try await bench.graph.add(
                NodeOptions(.blkdebug(debug), nodeName: "d", common: CommonOptions(discard: .unmap)))
            let root = try await bench.attach("d")
            let end = 8 * 65536 as UInt64
            try await root.write([UInt8](repeating: 1, count: Int(end)), at: 0)
            try await root.discard(ByteRange(from: 65536, to: end))
            #expect(try await root.bytes(at: 65536, count: 7 * 65536) == [UInt8](repeating: 0, count: 7 * 65536))
            try await root.write([UInt8](repeating: 1, count: Int(end)), at: 0)
            try await root.zero(ByteRange(from: 65536, to: end), flags: [])
            #expect(try await root.bytes(at: 65536, count: 7 * 65536) == [UInt8](repeating: 0, count: 7 * 65536))
            // Only the whole unit is no data.
            let inside = try await root.status(of: ByteRange(at: 3 * 65536, count: end - 3 * 65536))
            #expect(inside.flags.contains(.zero) && inside.count == 3 * 65536)
            let before = try await root.status(of: ByteRange(at: 65536, count: 65536))
            #expect(before.flags.contains(.data) && !before.flags.contains(.zero))
        }
    }

    @Test("a file of rules is read as QEMU reads it, and what is wrong in it is told in its words")
    func ruleFiles() throws {
        func read(_ text: String) throws(OpenError) -> FaultRules { try FaultRules(file: Array(text.utf8)) }
        func refusal(_ text: String) -> String? {
            do { _ = try read(text) } catch { return error.message }
            return nil
        }
        let rules = try read(
            """
            # what fails

            [inject-error]
            event = "read_aio"
              errno = "28"
            once ="on"
            sector = "7"   and what stands behind it is not looked at
            iotype = "read"
            [set-state]
            event = "write_aio"
            state = "1"
            new_state = "3"
            """)
        let rule = FaultRule(event: .readAIO, kinds: .read, errno: 28, sector: 7, once: true)
        #expect(rules == FaultRules(errors: [rule], transitions: [StateRule(event: .writeAIO, state: 1, newState: 3)]))
        #expect(refusal("[inject-error]\nevent=\"none\"") == "Invalid parameter 'event=\"none\"'")
        #expect(refusal("[bad]\nx = \"1\"") == "There is no option group 'bad'")
        #expect(refusal("[inject-error]\nevent = \"nope\"") == "invalid parameter value: nope")
        #expect(refusal("[inject-error]\nfoo = \"nope\"") == "Invalid parameter 'foo'")
        #expect(refusal("xx") == "no group defined")
        #expect(refusal("[inject-error]\nerrno = \"5\"") == "Missing event name for rule")
        #expect(refusal("[inject-error]\nevent = \"none\"\nerrno = \"x\"") == "Parameter 'errno' expects a number")
        #expect(refusal("[inject-error]\nevent = \"none\"\nonce = \"x\"") == "Parameter 'once' expects 'on' or 'off'")
        #expect(refusal("[inject-error]\nevent = none") == "parse error")
        #expect(refusal("\u{0}\u{1}[") != nil)
    }
}
