import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Qcow2
import Testing

/// What waits for its commit when the graph changes, and when a node closes.
@Suite("pending commits")
struct CommitTests {
    /// A new image on a disk that answers after up to 5 ms, `q` on the node `f`.
    private func start(_ bench: GraphBench, seed: UInt64 = 0, common: CommonOptions = CommonOptions()) async throws
        -> SimDisk
    {
        try await bench.host.addQcow2("made.qcow2")
        guard let made = bench.host.files["made.qcow2"]?.storage.below as? MemoryStorage else {
            preconditionFailure("the host keeps images in memory")
        }
        let disk = SimDisk(
            bench.context, contents: made.contents, SimDisk.Options(seed: seed, latencyNs: 100_000...5_000_000))
        bench.host.add("a.qcow2", disk)
        try await bench.graph.add(Make.file("a.qcow2", "f", CommonOptions(discard: .unmap)))
        try await bench.graph.add(Make.qcow2("q", .node("f"), common))
        return disk
    }

    enum Change: CaseIterable, Sendable { case file, caches, readOnly, delete }

    @Test(
        "no request is under way on a file while it is reopened, nor when it is closed",
        arguments: Change.allCases, 0..<12 as Range<UInt64>)
    func commitUnderWay(change: Change, seed: UInt64) throws {
        let bench = GraphBench(seed: seed)
        try bench.run {
            let graph = bench.graph
            let disk = try await start(bench, seed: seed, common: CommonOptions(discard: .unmap))
            var random = SeededRandom(seed: seed)
            let root = try await bench.attach("q")
            let bytes = random.bytes(300_000)
            try await root.write(bytes, at: 0)
            try await root.flush()
            try await root.discard(ByteRange(at: 0, count: 131_072))
            let epoch = bench.context.nowNs
            if change == .delete || change == .readOnly { await graph.detach(root) }
            // A commit begins by itself a second after the change, and takes some milliseconds.
            let wait = epoch + 1_000_000_000 + random.below(20_000_000) - bench.context.nowNs
            await bench.sleep(ns: wait)
            switch change {
            case .file:
                try await graph.reopen([
                    Make.file("a.qcow2", "f", CommonOptions(discard: .unmap, noFlush: true))
                ])
            case .caches:
                var options = Qcow2Options(file: .node("f"))
                options.cacheSize = 2 << 20
                try await graph.reopen([
                    NodeOptions(.qcow2(options), nodeName: "q", common: CommonOptions(discard: .unmap))
                ])
                // A place that was freed before is not punched when it is somebody's again.
                try await root.write(bytes, at: 0)
                await bench.context.sleep(ms: 3000)
                #expect(try await root.bytes(at: 0, count: bytes.count) == bytes)
            case .readOnly: try await graph.reopen([Make.qcow2("q", .node("f"), .readOnly)])
            case .delete:
                try await graph.delete("q")
                try await graph.delete("f")
            }
            _ = disk
        }
    }

    @Test("what waits when the graph changes is committed, and punched, within two seconds all the same")
    func timerAfterChange() throws {
        let bench = GraphBench()
        try bench.run {
            let disk = try await start(bench, common: CommonOptions(discard: .unmap))
            let root = try await bench.attach("q")
            try await root.write([UInt8](repeating: 1, count: 131_072), at: 0)
            try await root.flush()
            await bench.context.sleep(ms: 5000)
            try await root.discard(ByteRange(at: 0, count: 131_072))
            try await bench.graph.reopen([Make.file("a.qcow2", "f", CommonOptions(discard: .unmap, noFlush: true))])
            #expect(disk.requests[.discard, default: 0] == 0)
            await bench.context.sleep(ms: 2500)
            #expect(disk.requests[.discard, default: 0] > 0)
        }
    }

    @Test("a change that fails leaves what waits to be committed in time")
    func timerAfterFailure() throws {
        let bench = GraphBench()
        try bench.run {
            let disk = try await start(bench, common: CommonOptions(discard: .unmap))
            let root = try await bench.attach("q")
            try await root.write([1], at: 0)
            try await root.flush()
            await bench.context.sleep(ms: 5000)
            bench.host.files["a.qcow2"]?.handles.first?.refusesReopen = true
            try await root.discard(ByteRange(at: 0, count: 65536))
            let text = await bench.failure {
                try await bench.graph.reopen([Make.file("a.qcow2", "f", CommonOptions(noFlush: true))])
            }
            #expect(text == "Could not reopen file: Permission denied")
            await bench.context.sleep(ms: 2500)
            #expect(disk.requests[.discard, default: 0] > 0)
        }
    }

    @Test("closing gives back to the host all that was freed", arguments: [false, true])
    func punchedAtClose(readOnly: Bool) throws {
        let bench = GraphBench()
        try bench.run {
            let disk = try await start(bench, common: CommonOptions(discard: .unmap))
            let root = try await bench.attach("q")
            try await root.write([UInt8](repeating: 1, count: 131_072), at: 0)
            for _ in 0..<3 { try await root.flush() }
            try await root.discard(ByteRange(at: 0, count: 131_072))
            await bench.graph.detach(root)
            let before = disk.requests[.discard, default: 0]
            if readOnly {
                try await bench.graph.reopen([Make.qcow2("q", .node("f"), .readOnly)])
            } else {
                try await bench.graph.delete("q")
            }
            #expect(disk.requests[.discard, default: 0] > before)
        }
    }

    @Test("R78, O16: what was written through a file or raw node is durable when it has closed")
    func flushedAtClose() throws {
        for stack in ["f", "r"] {
            let bench = GraphBench()
            try bench.run {
                let disk = SimDisk(bench.context, contents: SparseBytes(length: 1 << 20))
                bench.host.add("r.raw", disk)
                try await bench.graph.add(Make.file("r.raw", "f"))
                if stack == "r" { try await bench.graph.add(Make.raw("r", .node("f"))) }
                let root = try await bench.attach(stack)
                try await root.write([1, 2, 3], at: 0)
                await bench.graph.detach(root)
                #expect(!disk.pending.isEmpty)
                if stack == "r" { try await bench.graph.delete("r") }
                try await bench.graph.delete("f")
                #expect(disk.pending.isEmpty)
            }
        }
    }

    @Test("a flush that fails at the end is told, and the file is closed all the same")
    func failedFlushAtClose() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await bench.graph.add(Make.file("r.raw", "f"))
            let root = try await bench.attach("f")
            try await root.write([1, 2, 3], at: 0)
            await bench.graph.detach(root)
            bench.host.files["r.raw"]?.storage.plan.add(Fault([.flush], forever: true))
            try await bench.graph.delete("f")
            #expect(bench.notes.warnings == ["f: closing failed: Input/output error"])
            #expect(bench.host.openCount == 0)
        }
    }

    @Test("an image grows through a raw node without a size, as its file does")
    func throughRaw() throws {
        let bench = GraphBench()
        try bench.run {
            let file = try await bench.host.addQcow2("a.qcow2")
            let raw = ChildReference.options(Make.raw(nil, .options(Make.file("a.qcow2"))))
            try await bench.graph.add(Make.qcow2("q", raw))
            let root = try await bench.attach("q")
            var random = SeededRandom(seed: 1)
            let bytes = random.bytes(300_000)
            try await root.write(bytes, at: 1000)
            try await root.flush()
            #expect(try await root.bytes(at: 1000, count: bytes.count) == bytes)
            #expect(file.storage.length > 300_000)
        }
    }

    @Test("what lies past the end of all files is out of range, behind a raw node's offset too")
    func pastAllFiles() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await bench.graph.add(Make.raw("r", .options(Make.file("r.raw")), offset: 65536))
            let root = try await bench.attach("r")
            for offset in [UInt64.max - 4096, UInt64.max - 65536, 1 << 63] {
                await #expect(throws: BlockError.outOfRange) { _ = try await root.bytes(at: offset, count: 512) }
                await #expect(throws: BlockError.outOfRange) { try await root.write([1], at: offset) }
                let range = ByteRange(at: offset, count: 512)
                await #expect(throws: BlockError.outOfRange) { try await root.zero(range, flags: .mayUnmap) }
            }
        }
    }
}
