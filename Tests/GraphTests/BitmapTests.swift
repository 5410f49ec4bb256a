import Block
import BlockTestKit
import Bytes
import DirtyMap
import Graph
import GraphTestKit
import Testing

@Suite("dirty bitmaps")
struct BitmapTests {
    static let x = BitmapName(node: "a", name: "x")

    /// What of a bitmap is dirty.
    private func marks(_ bench: GraphBench, _ name: BitmapName = x) throws -> [ByteRange] {
        let map = try #require(try bench.graph.bitmap(name).map)
        var found: [ByteRange] = []
        while let range = map.nextDirty(from: found.last?.end ?? 0) { found.append(range) }
        return found
    }

    private func add(
        _ bench: GraphBench, _ name: BitmapName = x, granularity: UInt32 = 4096, isDisabled: Bool = false
    ) async throws {
        try await bench.graph.bitmaps(
            .add(BitmapRequest(name, granularity: granularity, isDisabled: isDisabled)))
    }

    private func setUp(_ bench: GraphBench) async throws {
        for name in ["a", "b"] {
            try await bench.host.addQcow2(name)
            try await bench.graph.add(Make.qcow2(name, .options(Make.file(name, name + "f"))))
        }
    }

    @Test("writes, zeroes and discards mark what they touch, reads and flushes nothing")
    func requests() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a")
            var options = CommonOptions()
            options.discard = .unmap
            try await bench.graph.add(Make.qcow2("a", .options(Make.file("a")), options))
            let root = try await bench.attach("a")
            try await root.write([1], at: 0)
            try await add(bench)
            _ = try await root.bytes(at: 0, count: 100_000)
            try await root.flush()
            #expect(try marks(bench).isEmpty)
            try await root.write([1, 2], at: 8191)
            try await root.zero(ByteRange(at: 100_000, count: 1), flags: [])
            try await root.discard(ByteRange(at: 200_000, count: 5000))
            #expect(
                try marks(bench) == [
                    ByteRange(at: 4096, count: 8192), ByteRange(at: 98304, count: 4096),
                    ByteRange(at: 196_608, count: 12288),
                ])
            #expect(bench.graph.node("a")?.bitmaps.first?.dirtyBytes == 24576)
        }
    }

    @Test("a write that fails is marked too: nobody knows how much of it was done")
    func failure() throws {
        let bench = GraphBench()
        try bench.run {
            let file = try await bench.host.addQcow2("a")
            try await bench.graph.add(Make.qcow2("a", "a"))
            let root = try await bench.attach("a")
            try await add(bench)
            file.storage.plan.add(Fault([.write]))
            await #expect(throws: BlockError.io) { try await root.write([1], at: 5000) }
            #expect(try marks(bench) == [ByteRange(at: 4096, count: 4096)])
        }
    }

    @Test("a disabled bitmap stays as it is; clear forgets; merge marks what either has, also across nodes")
    func states() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let graph = bench.graph
            let root = try await bench.attach("a")
            try await add(bench, isDisabled: true)
            let y = BitmapName(node: "b", name: "y")
            try await add(bench, y, granularity: 65536)
            try await root.write([1], at: 0)
            #expect(try marks(bench).isEmpty)
            try await graph.bitmaps(.enable(Self.x))
            try await root.write([1], at: 0)
            try await graph.bitmaps(.disable(Self.x))
            try await root.write([1], at: 500_000)
            #expect(try marks(bench) == [ByteRange(at: 0, count: 4096)])
            try await graph.bitmaps(.merge(into: y, [BitmapSource(node: "a", name: "x")]))
            #expect(try marks(bench, y) == [ByteRange(at: 0, count: 65536)])
            try await graph.bitmaps(.clear(Self.x))
            #expect(try marks(bench).isEmpty)
            // QEMU 7.2 aborts on an empty list.
            try await graph.bitmaps(.merge(into: y, []))
            #expect(try marks(bench, y) == [ByteRange(at: 0, count: 65536)])
            try await graph.bitmaps(.remove(Self.x))
            #expect(bench.graph.node("a")?.bitmaps.isEmpty == true)
            try await root.write([1], at: 0)
        }
    }

    @Test("a file below an image is tracked by itself, from its first bitmap on")
    func filesBelow() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let root = try await bench.attach("a")
            try await root.write([1], at: 0)
            let file = BitmapName(node: "af", name: "f")
            try await add(bench, file, granularity: 512)
            try await root.write([UInt8](repeating: 1, count: 512), at: 0)
            #expect(try marks(bench, file).reduce(0) { $0 + $1.count } == 512)
            // The file grows; so does its bitmap.
            try await root.write([UInt8](repeating: 1, count: 65536), at: 900_000)
            let length = try #require(bench.graph.node("af")?.image.virtualSize)
            #expect(try marks(bench, file).last?.end == length)
            try await bench.graph.bitmaps(.remove(file))
            try await root.write([1], at: 0)
        }
    }

    @Test("bitmaps stay with their node under a snapshot, and follow another size")
    func snapshotAndSize() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let graph = bench.graph
            try await add(bench)
            let root = try await bench.attach("a")
            try await root.write([1], at: 0)
            try await graph.snapshotSync(
                SnapshotSyncRequest(nodeName: "a", snapshotFile: "top", snapshotNodeName: "top"))
            try await root.write([1], at: 8192)
            #expect(try marks(bench) == [ByteRange(at: 0, count: 4096)])
            #expect(graph.node("top")?.bitmaps.isEmpty == true)
            // An export of the overlay finds the bitmap below; a read-only node's may be enabled.
            let found = try graph.bitmap(BitmapSource(name: "x"), exportedFrom: "top", isWritable: false)
            #expect(found === (try graph.bitmap(Self.x)))
            let y = BitmapName(node: "b", name: "y")
            try await add(bench, y)
            try await graph.resize(device: nil, nodeName: "b", to: 4 << 20)
            let other = try await graph.attach("e", to: "b", used: [.consistentRead, .write])
            try await other.write([1], at: (4 << 20) - 1)
            #expect(try marks(bench, y) == [ByteRange(at: (4 << 20) - 4096, count: 4096)])
            await graph.detach(other)
            try await graph.resize(device: nil, nodeName: "b", to: 2 << 20)
            #expect(try marks(bench, y).isEmpty)
        }
    }

    @Test("a transaction does all of its bitmaps or none, each action on what those before it planned")
    func transaction() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let graph = bench.graph
            let root = try await bench.attach("a")
            try await add(bench)
            try await root.write([1], at: 0)
            let t = BitmapName(node: "a", name: "t")
            let actions: [GraphAction] = [
                .bitmaps(.add(BitmapRequest(t, granularity: 4096))), .bitmaps(.disable(t)),
                .bitmaps(.merge(into: t, [BitmapSource(name: "x")])), .bitmaps(.clear(Self.x)),
            ]
            #expect(
                await bench.failure { try await graph.transaction(actions + [.abort]) }
                    == "Transaction aborted using Abort action")
            #expect(graph.node("a")?.bitmaps.map(\.name) == ["x"])
            #expect(try marks(bench) == [ByteRange(at: 0, count: 4096)])
            try await graph.transaction(actions)
            #expect(graph.node("a")?.bitmaps.map(\.name) == ["t", "x"])
            #expect(try marks(bench, t) == [ByteRange(at: 0, count: 4096)])
            #expect(try marks(bench).isEmpty)
            #expect(graph.node("a")?.bitmaps.map(\.isRecording) == [false, true])
            try await graph.transaction([.bitmaps(.remove(t)), .bitmaps(.add(BitmapRequest(t)))])
            #expect(try marks(bench, t).isEmpty)
            #expect(try graph.bitmap(t).granularity == 65536)
            #expect(
                await bench.failure { try await graph.transaction([.bitmaps(.remove(t)), .bitmaps(.clear(t))]) }
                    == "Dirty bitmap 't' not found")
        }
    }

    @Test("a failed transaction leaves no moment in which a write went unrecorded")
    func recordsThroughout() throws {
        for seed in 0..<5 as Range<UInt64> {
            let bench = GraphBench(seed: seed)
            try bench.run {
                try await setUp(bench)
                try await add(bench, granularity: 512)
                let root = try await bench.attach("a")
                let slow = NullOptions(size: 1 << 20, latencyNs: 1_000_000, readZeroes: true)
                try await bench.graph.add(NodeOptions(.nullCo(slow), nodeName: "slow"))
                var written = 0
                var isRunning = true
                bench.context.spawn {
                    while isRunning, written < 2000 {
                        try? await root.write([1], at: UInt64(written) * 512)
                        written += 1
                        await bench.context.yield()
                    }
                }
                let request = SnapshotSyncRequest(nodeName: "slow", snapshotFile: "top", snapshotNodeName: "top")
                for _ in 0..<3 {
                    try? await bench.graph.transaction([
                        .bitmaps(.disable(Self.x)), .bitmaps(.clear(Self.x)), .snapshotSync(request), .abort,
                    ])
                }
                isRunning = false
                await bench.context.sleep(ms: 1)
                #expect(written > 3)
                #expect(try marks(bench) == [ByteRange(at: 0, count: UInt64(written) * 512)])
            }
        }
    }

    @Test("a bitmap that is in use is left alone, also where its user comes while a transaction waits")
    func busy() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let graph = bench.graph
            try await add(bench)
            let bitmap = try graph.bitmap(Self.x)
            let refusal = "Bitmap 'x' is currently in use by another operation and cannot be used"
            bitmap.begin()
            for action in [
                .remove(Self.x), .clear(Self.x), .enable(Self.x), .disable(Self.x),
                .merge(into: Self.x, [BitmapSource(name: "x")]),
            ] as [BitmapAction] {
                #expect(await bench.failure { try await graph.bitmaps(action) } == refusal)
            }
            bitmap.end()
            // A node whose flush takes its time.
            let slow = NullOptions(size: 1 << 20, latencyNs: 1_000_000, readZeroes: true)
            try await graph.add(NodeOptions(.nullCo(slow), nodeName: "slow"))
            bench.context.spawn { bitmap.begin() }
            let request = SnapshotSyncRequest(nodeName: "slow", snapshotFile: "top", snapshotNodeName: "top")
            #expect(
                await bench.failure {
                    try await graph.transaction([.bitmaps(.clear(Self.x)), .snapshotSync(request)])
                } == refusal)
            #expect(bitmap.isBusy)
            bitmap.end()
            #expect(graph.node("top") == nil)
        }
    }

    @Test("D6: an image that takes no writes any more gets no marks that it could not keep")
    func fenced() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = try await bench.host.addQcow2("a")
            try await graph.add(Make.qcow2("a", .options(Make.file("a"))))
            try await graph.bitmaps(.add(BitmapRequest(Self.x, granularity: 4096, isPersistent: true)))
            let other = BitmapName(node: "a", name: "y")
            try await add(bench, other)
            let root = try await bench.attach("a")
            try await root.write([1], at: 0)
            file.storage.plan.add(Fault([.flush], error: .io))
            await #expect(throws: BlockError.io) { try await root.flush() }
            let refusal = "Bitmaps cannot be stored: an earlier write to the image failed; open it again"
            let merge = BitmapAction.merge(into: Self.x, [BitmapSource(name: "y")])
            #expect(await bench.failure { try await graph.bitmaps(merge) } == refusal)
            let new = BitmapRequest(BitmapName(node: "a", name: "z"), isPersistent: true)
            #expect(
                await bench.failure { try await graph.bitmaps(.add(new)) }
                    == "Can't make bitmap 'z' persistent in 'a': \(refusal)")
            // What no image keeps is marked as before.
            try await graph.bitmaps(.merge(into: other, [BitmapSource(name: "x")]))
        }
    }

    @Test("all bitmaps of a graph share a bound on memory")
    func memory() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n", size: 1 << 50))
            let name = BitmapName(node: "n", name: "x")
            #expect(
                await bench.failure { try await add(bench, name, granularity: 512) }
                    == "No memory for bitmap 'x': all bitmaps together take 268435456 bytes at most; use a larger "
                    + "granularity")
            try await add(bench, name, granularity: 65536)
        }
    }
}
