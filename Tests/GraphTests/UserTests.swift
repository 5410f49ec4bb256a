import Block
import BlockTestKit
import Bytes
import Filters
import Graph
import GraphTestKit
import Qcow2
import Testing

@Suite("users, drain and faults")
struct UserTests {
    @Test("while drained, requests wait, and those under way are awaited")
    func drain() throws {
        let bench = GraphBench()
        try bench.run {
            let slow = NodeOptions(.nullCo(NullOptions(latencyNs: 5_000_000, readZeroes: true)), nodeName: "n")
            try await bench.graph.add(slow)
            let root = try await bench.attach("n")
            var log: [String] = []
            bench.context.spawn {
                try? await root.write([1], at: 0)
                log.append("first")
            }
            await bench.context.yield()
            #expect(root.inFlightCount == 1)
            await root.drain()
            #expect(log == ["first"])
            #expect(root.isDrained)
            bench.context.spawn {
                try? await root.write([1], at: 0)
                log.append("second")
            }
            await bench.context.sleep(ms: 50)
            #expect(log == ["first"])
            root.resume()
            await bench.context.sleep(ms: 50)
            #expect(log == ["first", "second"])
        }
    }

    @Test("R85: what changes below a user waits for its requests")
    func underWay() throws {
        let bench = GraphBench()
        try bench.run {
            // Nothing else waits: what is read-only is not flushed.
            let slow = NullOptions(size: 1 << 20, latencyNs: 3_000_000_000, readZeroes: true)
            try await bench.graph.add(NodeOptions(.nullCo(slow), nodeName: "n", common: .readOnly))
            try await bench.graph.add(Make.raw("r", .node("n"), .readOnly))
            let root = try await bench.attach("r", writable: false)
            var wasRead = false
            bench.context.spawn {
                _ = try? await root.bytes(at: 0, count: 512)
                wasRead = true
            }
            await bench.context.yield()
            #expect(root.inFlightCount == 1)
            // A root that is sent another way under a request ends the program.
            try await bench.graph.reopen([Make.raw("r", .node("n"), offset: 512, .readOnly)])
            #expect(wasRead && root.inFlightCount == 0 && root.length == (1 << 20) - 512)
        }
    }

    @Test("a user that only reads cannot write")
    func readOnlyUser() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            let root = try await bench.attach("n", writable: false)
            await #expect(throws: BlockError.readOnly) { try await root.write([1], at: 0) }
            await #expect(throws: BlockError.readOnly) {
                try await root.zero(ByteRange(at: 0, count: 512), flags: [])
            }
            await #expect(throws: BlockError.readOnly) { try await root.discard(ByteRange(at: 0, count: 512)) }
        }
    }

    @Test("after its end a user is refused")
    func closedUser() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            let root = try await bench.attach("n")
            await bench.graph.detach(root)
            await #expect(throws: BlockError.closed) { try await root.bytes(at: 0, count: 1) }
            #expect(bench.graph.users(of: "n") == [])
        }
    }

    @Test("a full disk is told to the writer and to the observer, and writing goes on once there is room")
    func fullDisk() throws {
        let bench = GraphBench()
        try bench.run {
            let file = try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            let root = try await bench.attach("q")
            try await root.write([1], at: 0)
            file.storage.plan.add(Fault([.write], nth: 0, forever: true, error: .noSpace))
            await #expect(throws: BlockError.noSpace) { try await root.write([2], at: 500_000) }
            let report = try #require(bench.notes.errors.first)
            #expect(report.isNoSpace && report.nodeName == "q" && report.operation == .write)
            #expect(try await root.bytes(at: 0, count: 1) == [1])
            file.storage.plan.clear()
            try await root.write([2], at: 500_000)
            #expect(try await root.bytes(at: 500_000, count: 1) == [2])
        }
    }

    private func faults(_ bench: GraphBench, _ rules: [FaultRule], _ states: [StateRule] = []) async throws -> BlockRoot
    {
        try await bench.graph.add(Make.null("n", size: 1 << 20))
        try await bench.graph.add(
            NodeOptions(
                .blkdebug(BlkdebugOptions(image: .node("n"), errors: rules, transitions: states)), nodeName: "d"))
        return try await bench.attach("d")
    }

    @Test("a rule for one sector and one request fails that, once")
    func onceAtSector() throws {
        let bench = GraphBench()
        try bench.run {
            let root = try await faults(bench, [FaultRule(kinds: .read, errno: 28, sector: 3, once: true)])
            _ = try await root.bytes(at: 0, count: 1536)
            await #expect(throws: BlockError.noSpace) { try await root.bytes(at: 1000, count: 1000) }
            _ = try await root.bytes(at: 1000, count: 1000)
            try await root.write([1], at: 1600)
        }
    }

    @Test("a rule for an event holds from then on")
    func events() throws {
        let bench = GraphBench()
        try bench.run {
            let root = try await faults(bench, [FaultRule(event: .flushToDisk, kinds: .write, immediately: true)])
            try await root.write([1], at: 0)
            try await root.flush()
            await #expect(throws: BlockError.io) { try await root.write([1], at: 0) }
        }
    }

    @Test("a state decides whether an event counts")
    func states() throws {
        let bench = GraphBench()
        try bench.run {
            let root = try await faults(
                bench, [FaultRule(event: .pwritev, state: 2, kinds: .write)],
                [StateRule(event: .flushToDisk, state: 1, newState: 2)])
            try await root.write([1], at: 0)
            try await root.flush()
            await #expect(throws: BlockError.io) { try await root.write([1], at: 0) }
        }
    }

    @Test("a rule without an errno only delays")
    func delay() throws {
        let bench = GraphBench()
        try bench.run {
            let root = try await faults(bench, [FaultRule(errno: 0, delayNs: 7_000_000)])
            let start = bench.context.nowNs
            try await root.write([1], at: 0)
            #expect(bench.context.nowNs - start >= 7_000_000)
        }
    }

    @Test(
        "an alignment that is none, or that would take a buffer without bound, is refused",
        arguments: [5, 2 << 20, 1 << 30, 1 << 31] as [UInt64])
    func badAlign(align: UInt64) throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            let text = await bench.failure {
                try await bench.graph.add(
                    NodeOptions(.blkdebug(BlkdebugOptions(image: .node("n"), align: align)), nodeName: "d"))
            }
            #expect(text == "Cannot meet constraints with align \(align)")
        }
    }

    @Test("the widest alignment works")
    func wideAlign() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 4 << 20)
            let image = ChildReference.options(Make.file("r.raw"))
            try await bench.graph.add(
                NodeOptions(.blkdebug(BlkdebugOptions(image: image, align: 1 << 20)), nodeName: "d"))
            let root = try await bench.attach("d")
            try await root.write([1, 2, 3], at: (1 << 20) - 1)
            #expect(try await root.bytes(at: (1 << 20) - 2, count: 5) == [0, 1, 2, 3, 0])
        }
    }
}

@Suite("what is told of nodes")
struct QueryTests {
    @Test("file names are plain where opening them gives the node again, else JSON as QEMU spells it")
    func filenames() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("a.qcow2")
            try await bench.host.addQcow2("c.qcow2", backing: "a.qcow2")
            bench.host.addRaw("r.raw", bytes: 1000)
            try await graph.add(NodeOptions(.nullCo(NullOptions()), nodeName: "n"))
            #expect(graph.node("n")?.filename == "null-co://")
            try await graph.add(Make.raw("r", .options(Make.file("r.raw")), offset: 512))
            #expect(
                graph.node("r")?.filename
                    == "json:{\"offset\": 512, \"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": "
                    + "\"r.raw\"}}")
            #expect(graph.node("r")?.image.virtualSize == 512)
            try await graph.add(Make.qcow2("top", "c.qcow2"))
            #expect(graph.node("top")?.filename == "c.qcow2")
            #expect(graph.node("top")?.backingFile == "a.qcow2")
            #expect(graph.node("top")?.image.fullBackingFilename == "a.qcow2")
            try await graph.delete("top")
            try await graph.add(Make.qcow2("top", "c.qcow2", backing: BackingReference.none))
            #expect(
                graph.node("top")?.filename
                    == "json:{\"backing\": null, \"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", "
                    + "\"filename\": \"c.qcow2\"}}")
            try await graph.add(NodeOptions(.blkdebug(BlkdebugOptions(image: .node("n"))), nodeName: "d"))
            #expect(graph.node("d")?.filename == "blkdebug::null-co://")
        }
    }

    @Test("an image tells its cluster size, its sizes and its format")
    func details() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2", CommonOptions(noFlush: true)))
            let node = try #require(bench.graph.node("q"))
            #expect(node.image.clusterSize == 65536 && node.image.virtualSize == 1 << 20)
            #expect(node.image.qcow2?.compat == "1.1" && node.image.dirtyFlag == false)
            #expect(node.noFlush && !node.direct && node.backingDepth == 0)
            #expect(node.children.map(\.name) == ["file"])
        }
    }
}
