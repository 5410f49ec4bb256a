import Block
import BlockTestKit
import Graph
import GraphTestKit
import Testing

@Suite("blockdev-snapshot")
struct SnapshotTests {
    @Test("every rung of the ladder answers in its turn")
    func ladder() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            for name in ["a.qcow2", "b.qcow2", "c.qcow2"] { try await bench.host.addQcow2(name) }
            bench.host.addRaw("r.raw", bytes: 4096)
            func snapshot(_ node: String, _ overlay: String) async -> String {
                await bench.failure { try await graph.snapshot(node: node, overlay: overlay) }
            }
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.qcow2("o", "c.qcow2", backing: BackingReference.none))
            try await graph.add(Make.qcow2("o2", "b.qcow2"))
            try await graph.add(Make.null("n"))
            try await graph.add(Make.file("r.raw", "f"))
            try await graph.add(
                NodeOptions(.blkdebug(BlkdebugOptions(image: .node("n"))), nodeName: "filter"))
            #expect(await snapshot("x", "o") == "Cannot find device='x' nor node-name='x'")
            #expect(await snapshot("q", "x") == "Cannot find device='x' nor node-name='x'")
            #expect(await snapshot("q", "f") == "The overlay does not support backing images")
            #expect(await snapshot("q", "filter") == "Filters cannot be used as overlays")
            #expect(await snapshot("q", "q") == "Making 'q' a backing child of 'q' would create a cycle")
            #expect(await snapshot("f", "f") == "The overlay does not support backing images")
            #expect(await snapshot("q", "o") == "(success)")
            #expect(await snapshot("n", "o") == "The overlay already has a backing image")
            #expect(await snapshot("q", "o2") == "Node 'q' is busy: node is used as backing hd of 'o'")
            #expect(await snapshot("o", "o") == "The overlay already has a backing image")
            #expect(await snapshot("o", "q") == "Making 'o' a backing child of 'q' would create a cycle")
            let root = try await bench.attach("o2", writable: false)
            #expect(await snapshot("n", "o2") == "The overlay is already in use")
            await graph.detach(root)
        }
    }

    @Test("users follow to the overlay, and the base stays as it was, read-only")
    func usersFollow() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = try await bench.host.addQcow2("a.qcow2")
            try await bench.host.addQcow2("o.qcow2", backing: "a.qcow2")
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.qcow2("o", "o.qcow2", backing: BackingReference.none))
            let root = try await bench.attach("q")
            try await root.write([1, 2], at: 0)
            try await graph.snapshot(node: "q", overlay: "o")
            #expect(root.nodeName == "o")
            #expect(graph.node("q")?.isReadOnly == true)
            #expect(file.handles.first?.isReadOnly == true)
            #expect(file.handles.first?.used.contains(.write) == false)
            try await root.write([9], at: 1)
            #expect(try await root.bytes(at: 0, count: 3) == [1, 9, 0])
            let below = try await bench.attach("q", writable: false)
            #expect(try await below.bytes(at: 0, count: 3) == [1, 2, 0])
            #expect(graph.node("o")?.filename == "o.qcow2")
            await graph.detach(below)
        }
    }

    @Test("nodes above move to the overlay too")
    func nodesFollow() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            for name in ["a.qcow2", "o.qcow2"] { try await bench.host.addQcow2(name) }
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.raw("r", .node("q")))
            try await graph.add(Make.qcow2("o", "o.qcow2"))
            let root = try await bench.attach("r")
            try await graph.snapshot(node: "q", overlay: "o")
            #expect(graph.node("r")?.dataNode == "o")
            try await root.write([3], at: 0)
            #expect(try await root.bytes(at: 0, count: 1) == [3])
            #expect(graph.node("o")?.backingNode == "q")
        }
    }

    @Test("R78: a base that cannot be flushed stays as it was", arguments: [0, 1, 2])
    func flushFails(nth: Int) throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = try await bench.host.addQcow2("a.qcow2")
            try await bench.host.addQcow2("o.qcow2")
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.qcow2("o", "o.qcow2"))
            let root = try await bench.attach("q")
            try await root.write([1], at: 0)
            file.storage.plan.add(Fault([.flush], nth: nth, error: .io))
            #expect(
                await bench.failure { try await graph.snapshot(node: "q", overlay: "o") }
                    == "An IO error has occurred")
            #expect(root.nodeName == "q")
            #expect(graph.node("o")?.backingNode == nil)
            #expect(try await root.bytes(at: 0, count: 1) == [1])
        }
    }

    @Test("R85: snapshots run while clients write, and nothing is lost")
    func underLoad() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("0.qcow2")
            for index in 1...6 { try await bench.host.addQcow2("\(index).qcow2", backing: "\(index - 1).qcow2") }
            try await graph.add(Make.qcow2("n0", "0.qcow2"))
            let root = try await bench.attach("n0")
            var model = [UInt8](repeating: 0, count: 1 << 16)
            var random = SeededRandom(seed: 7)
            let done = WaitQueue()
            var isDone = false
            bench.context.spawn {
                for round in 0..<400 {
                    let at = random.below((1 << 16) - 600)
                    let bytes = [UInt8](repeating: UInt8(round & 255), count: 1 + random.below(600))
                    model.replaceSubrange(at..<at + bytes.count, with: bytes)
                    do { try await root.write(bytes, at: UInt64(at)) } catch { Issue.record("write: \(error)") }
                    await bench.context.yield()
                }
                isDone = true
                done.wakeAll()
            }
            for index in 1...6 {
                try await graph.add(Make.qcow2("n\(index)", "\(index).qcow2", backing: BackingReference.none))
                try await graph.snapshot(node: "n\(index - 1)", overlay: "n\(index)")
                for _ in 0..<20 { await bench.context.yield() }
            }
            while !isDone { await done.wait() }
            #expect(root.nodeName == "n6")
            #expect(graph.node("n6")?.backingDepth == 6)
            #expect(try await root.bytes(at: 0, count: 1 << 16) == model)
        }
    }
}

@Suite("blockdev-snapshot-sync")
struct SnapshotSyncTests {
    private func request(
        _ node: String?, _ file: String, _ name: String?, format: String? = nil,
        mode: SnapshotSyncRequest.Mode = .absolutePaths
    ) -> SnapshotSyncRequest {
        SnapshotSyncRequest(nodeName: node, snapshotFile: file, snapshotNodeName: name, format: format, mode: mode)
    }

    @Test("every rung of the ladder answers in its turn")
    func ladder() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("a.qcow2")
            bench.host.addRaw("r.raw", bytes: 4096)
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            func sync(_ request: SnapshotSyncRequest) async -> String {
                await bench.failure { try await graph.snapshotSync(request) }
            }
            #expect(await sync(request(nil, "s", nil)) == "Cannot find device='' nor node-name=''")
            #expect(await sync(request("x", "s", nil)) == "Cannot find device='' nor node-name='x'")
            #expect(
                await sync(SnapshotSyncRequest(device: "x", snapshotFile: "s"))
                    == "Cannot find device='x' nor node-name=''")
            #expect(await sync(request("q", "s", nil)) == "New overlay node-name missing")
            #expect(await sync(request("q", "s", "q")) == "New overlay node-name already in use")
            #expect(await sync(request("q", "s", "0x")) == "Invalid node-name: '0x'")
            #expect(
                await sync(request("q", "a.qcow2", "s"))
                    == "Error: Trying to create an image with the same filename as the backing file")
            #expect(
                await sync(request("q", "s", "s", format: "raw")) == "Backing file not supported for file format 'raw'")
            #expect(await sync(request("q", "s", "s", format: "nope")) == "Unknown file format 'nope'")
            #expect(await sync(request("q", "foo:bar", "s")) == "Unknown protocol 'foo'")
            #expect(
                await sync(request("q", "none", "s", mode: .existing))
                    == "Could not open 'none': No such file or directory")
            #expect(await sync(request("q", "r.raw", "s", mode: .existing)) == "Image is not in qcow2 format")
            #expect(
                await sync(request("q", "r.raw", "s", format: "raw", mode: .existing))
                    == "The overlay does not support backing images")
            #expect(await sync(request("q", "r.raw", "s")) == "'r.raw' exists and is not empty")
            #expect(bench.creator.requests.isEmpty)
            #expect(graph.nodes.count == 2)
        }
    }

    @Test("the overlay is made, put on, and owned by the monitor")
    func overlay() throws {
        let bench = GraphBench(.sealed)
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("dir/a.qcow2")
            try await graph.add(Make.qcow2("q", "dir/a.qcow2"))
            try await graph.snapshotSync(request("q", "dir/s.qcow2", "s"))
            let made = try #require(bench.creator.requests.first)
            #expect(made.backingFile == "a.qcow2" && made.backingFormat == "qcow2" && made.size == 1 << 20)
            #expect(!made.mayReplace)
            let node = try #require(graph.node("s"))
            #expect(node.isMonitorOwned && node.backingNode == "q" && node.filename == "dir/s.qcow2")
            #expect(graph.node("q")?.isReadOnly == true)
            // Into another folder a relative name would not be found again.
            try await graph.snapshotSync(request("s", "other/t.qcow2", "t"))
            #expect(bench.creator.requests.last?.backingFile == "/here/dir/s.qcow2")
            let root = try await bench.attach("t")
            try await graph.snapshotSync(request("t", "other/u.qcow2", "u"))
            #expect(root.nodeName == "u")
            try await root.write([1], at: 0)
        }
    }

    @Test("called by QEMU's name, the overlay of an unused node goes at once, and the base stays read-only")
    func asQEMU() throws {
        let bench = GraphBench(.qemu, actsAsQEMU: true)
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("a.qcow2")
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            bench.host.addRaw("s.qcow2", bytes: 512)
            try await graph.snapshotSync(request("q", "s.qcow2", "s"))
            #expect(bench.creator.requests.first?.mayReplace == true)
            #expect(graph.node("s") == nil)
            #expect(graph.node("q")?.isReadOnly == true)
            #expect(bench.host.openCount == 1)
        }
    }

    @Test("a node without a plain file name is refused, but not by QEMU's rules")
    func noPlainName() throws {
        for policy in [BackingPolicy.sealed, .ownFolder, .allowed(["/here"])] {
            let bench = GraphBench(policy)
            try bench.run {
                try await bench.graph.add(Make.null("n", size: 1 << 20))
                let text = await bench.failure { try await bench.graph.snapshotSync(request("n", "s", "s")) }
                #expect(text.hasPrefix("Node 'n' has no plain file name"))
            }
        }
        let bench = GraphBench(.qemu)
        try bench.run {
            let null = NodeOptions(.nullCo(NullOptions(size: 1 << 20)), nodeName: "n")
            try await bench.graph.add(null)
            try await bench.graph.snapshotSync(request("n", "s", "s"))
            #expect(bench.creator.requests.first?.backingFile == "json:{\"driver\": \"null-co\", \"size\": 1048576}")
            #expect(bench.creator.requests.first?.backingFormat == "null-co")
        }
    }
}
