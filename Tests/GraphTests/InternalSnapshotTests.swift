import Block
import BlockTestKit
import Graph
import GraphTestKit
import Qcow2
import Testing

@Suite("blockdev-snapshot-internal-sync")
struct InternalSnapshotTests {
    private func request(_ device: String, _ name: String) -> InternalSnapshotRequest {
        InternalSnapshotRequest(
            device: device, snapshot: NewSnapshot(name: name, dateSeconds: 1, dateNanoseconds: 2))
    }

    private func names(_ bench: GraphBench, _ node: String) -> [String] {
        bench.graph.node(node)?.image.snapshots.map(\.name) ?? []
    }

    @Test("every rung of both ladders answers in its turn, with nothing done before")
    func ladder() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            for name in ["a.qcow2", "b.qcow2"] { try await bench.host.addQcow2(name) }
            try await bench.host.addQcow2("o.qcow2", backing: "b.qcow2")
            bench.host.addRaw("r.raw", bytes: 4096)
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.qcow2("o", "o.qcow2"))
            try await graph.add(Make.file("r.raw", "f"))
            func make(_ device: String, _ name: String) async -> String {
                await bench.failure { try await graph.snapshotInternally(request(device, name)) }
            }
            func remove(_ device: String, _ id: String?, _ name: String?) async -> String {
                await bench.failure {
                    _ = try await graph.deleteInternalSnapshot(device: device, id: id, name: name)
                }
            }
            let below = try #require(graph.node("o")?.backingNode)
            #expect(await make("x", "s") == "Cannot find device='x' nor node-name='x'")
            #expect(await make(below, "s") == "Need a root block node")
            #expect(
                await make("f", "s") == "Block format 'file' used by device 'f' does not support internal snapshots")
            #expect(await make("q", "") == "Name is empty")
            #expect(await make("q", "s") == "(success)")
            #expect(await make("q", "s") == "Snapshot with name 's' already exists on device 'q'")
            #expect(await remove("x", nil, "s") == "Cannot find device='x' nor node-name='x'")
            #expect(await remove("q", nil, nil) == "Name or id must be provided")
            #expect(await remove("f", nil, "s") == "Failed to get a snapshot list: Operation not supported")
            #expect(
                await remove("q", "2", nil) == "Snapshot with id '2' and name 'null' does not exist on device 'q'")
            #expect(await remove("q", "1", "t") == "Snapshot with id '1' and name 't' does not exist on device 'q'")
            #expect(names(bench, "q") == ["s"])
            #expect(await remove("q", "1", "s") == "(success)")
            #expect(names(bench, "q") == [])
        }
    }

    @Test("a read-only node takes no snapshot, and loses none")
    func readOnly() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            try await bench.graph.snapshotInternally(request("q", "s"))
            try await bench.graph.delete("q")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2", .readOnly))
            let made = await bench.failure { try await bench.graph.snapshotInternally(request("q", "t")) }
            #expect(made == "Device 'q' is read only")
            let lost = await bench.failure {
                _ = try await bench.graph.deleteInternalSnapshot(device: "q", id: nil, name: "s")
            }
            #expect(lost == "Device 'q' is read only")
            #expect(names(bench, "q") == ["s"])
        }
    }

    @Test("what was written before is in the snapshot, what is written after is not, and writers only wait")
    func consistent() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            let root = try await bench.attach("q")
            var (isRunning, count, failed) = (true, UInt8(0), 0)
            bench.context.spawn {
                while isRunning {
                    count &+= 1
                    do {
                        try await root.write([count], at: 0)
                        try await root.write([count], at: 100_000)
                    } catch { failed += 1 }
                    await bench.context.sleep(ms: 1)
                }
            }
            for name in ["a", "b", "c"] {
                await bench.context.sleep(ms: 5)
                try await bench.graph.snapshotInternally(request("q", name))
            }
            _ = try await bench.graph.deleteInternalSnapshot(device: "q", id: nil, name: "b")
            isRunning = false
            await bench.context.sleep(ms: 5)
            #expect(failed == 0 && count > 3)
            #expect(names(bench, "q") == ["a", "c"])
            try await bench.graph.flushAll()
            let image = try #require(bench.host.files["a.qcow2"]?.storage.below as? MemoryStorage).contents
            #expect(MiniCheck(image).errors.isEmpty)
            for index in 0..<2 {
                let was = MiniCheck(SnapshotForge.reverting(image, to: index)).contents()
                let (first, second) = (was.array[0], was.array[100_000])
                // The writer goes from one place to the other.
                #expect(first == second || first == second &+ 1)
            }
        }
    }

    @Test("a transaction takes snapshots of several nodes in one instant, or of none", arguments: [false, true])
    func together(aborts: Bool) throws {
        let bench = GraphBench()
        try bench.run {
            for name in ["a", "b"] {
                try await bench.host.addQcow2(name)
                try await bench.graph.add(Make.qcow2(name, name))
            }
            let root = try await bench.attach("a")
            try await root.write([1], at: 0)
            let actions = [GraphAction.internalSnapshot(request("a", "s")), .internalSnapshot(request("b", "s"))]
            let reply = await bench.failure {
                try await bench.graph.transaction(actions + (aborts ? [.abort] : []))
            }
            #expect(reply == (aborts ? "Transaction aborted using Abort action" : "(success)"))
            for name in ["a", "b"] { #expect(names(bench, name) == (aborts ? [] : ["s"])) }
            try await root.write([2], at: 0)
            #expect(try await root.bytes(at: 0, count: 1) == [2])
        }
    }

    @Test("where a later snapshot of a transaction fails, those before it go again")
    func undone() throws {
        let bench = GraphBench()
        try bench.run {
            for name in ["a", "b"] {
                try await bench.host.addQcow2(name)
                try await bench.graph.add(Make.qcow2(name, name))
            }
            let root = try await bench.attach("b")
            try await root.write([1], at: 0)
            let faults = try #require(bench.host.files["b"]).storage.plan
            faults.add(Fault([.write], forever: true, error: .noSpace))
            let reply = await bench.failure {
                try await bench.graph.transaction([
                    .internalSnapshot(request("a", "s")), .internalSnapshot(request("b", "s")),
                ])
            }
            #expect(reply == "Failed to create snapshot 's' on device 'b': No space left on device")
            faults.clear()
            for name in ["a", "b"] { #expect(names(bench, name) == []) }
        }
    }
}
