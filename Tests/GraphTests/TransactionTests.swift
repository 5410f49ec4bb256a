import Block
import BlockTestKit
import Graph
import GraphTestKit
import Testing

@Suite("transaction")
struct TransactionTests {
    private func setUp(_ bench: GraphBench) async throws {
        for name in ["a", "b"] {
            try await bench.host.addQcow2(name)
            try await bench.graph.add(Make.qcow2(name, name))
        }
        for name in ["oa", "ob"] {
            try await bench.host.addQcow2(name, backing: String(name.dropFirst()))
            try await bench.graph.add(Make.qcow2(name, name, backing: BackingReference.none))
        }
    }

    @Test("an empty list is success")
    func empty() throws {
        let bench = GraphBench()
        try bench.run { try await bench.graph.transaction([]) }
    }

    @Test("all of its actions happen in one instant")
    func together() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let a = try await bench.attach("a")
            let b = try await bench.attach("b")
            try await a.write([1], at: 0)
            try await b.write([2], at: 0)
            // A writer that goes from one disk to the other: whatever it wrote first lies in the bases too.
            var count: UInt8 = 2
            var isRunning = true
            bench.context.spawn {
                while isRunning {
                    count += 1
                    try? await a.write([count], at: 0)
                    try? await b.write([count], at: 0)
                    await bench.context.yield()
                }
            }
            await bench.context.sleep(ms: 0)
            try await bench.graph.transaction([
                .snapshot(node: "a", overlay: "oa"),
                .snapshotSync(SnapshotSyncRequest(nodeName: "b", snapshotFile: "new", snapshotNodeName: "ob2")),
            ])
            isRunning = false
            await bench.context.sleep(ms: 1)
            #expect(a.nodeName == "oa" && b.nodeName == "ob2")
            let baseA = try await bench.attach("a", writable: false)
            let baseB = try await bench.attach("b", writable: false)
            let first = try await baseA.bytes(at: 0, count: 1)[0]
            let second = try await baseB.bytes(at: 0, count: 1)[0]
            #expect(first == second || first == second + 1)
        }
    }

    @Test("an action that fails undoes those before it, but for the files that they made", arguments: 0..<5)
    func undone(failing: Int) throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let a = try await bench.attach("a")
            try await a.write([5], at: 0)
            let (action, text): (GraphAction, String) =
                switch failing {
                case 0: (.abort, "Transaction aborted using Abort action")
                case 1:
                    (.snapshot(node: "new", overlay: "missing"), "Cannot find device='missing' nor node-name='missing'")
                case 2: (.snapshot(node: "new", overlay: "oa"), "The overlay is already in use")
                case 3: (.snapshot(node: "a", overlay: "ob"), "Node 'a' is busy: node is used as backing hd of 'oa'")
                default:
                    (
                        .snapshotSync(SnapshotSyncRequest(nodeName: "new", snapshotFile: "y", snapshotNodeName: "new")),
                        "New overlay node-name already in use"
                    )
                }
            let before = bench.graph.nodes.map(\.nodeName)
            let reply = await bench.failure {
                try await bench.graph.transaction([
                    .snapshotSync(SnapshotSyncRequest(nodeName: "b", snapshotFile: "x", snapshotNodeName: "new")),
                    .snapshot(node: "a", overlay: "oa"), action,
                ])
            }
            #expect(reply == text)
            #expect(bench.graph.nodes.map(\.nodeName) == before)
            #expect(a.nodeName == "a" && bench.graph.node("a")?.isReadOnly == false)
            #expect(bench.host.files["x"]?.storage.length ?? 0 > 0)
            try await a.write([6], at: 0)
            #expect(try await a.bytes(at: 0, count: 1) == [6])
        }
    }

    @Test("a failure while it is carried out undoes all of it")
    func fault() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let a = try await bench.attach("a")
            let b = try await bench.attach("b")
            bench.host.files["b"]?.storage.plan.add(Fault([.flush], nth: 1, error: .io))
            try await b.write([1], at: 0)
            let reply = await bench.failure {
                try await bench.graph.transaction([
                    .snapshot(node: "a", overlay: "oa"), .snapshot(node: "b", overlay: "ob"),
                ])
            }
            #expect(reply == "An IO error has occurred")
            #expect(a.nodeName == "a" && b.nodeName == "b")
            try await a.write([1], at: 0)
        }
    }

    @Test("an overlay made by it can be put under another one in the same transaction")
    func stacked() throws {
        let bench = GraphBench()
        try bench.run {
            try await setUp(bench)
            let a = try await bench.attach("a")
            try await a.write([1], at: 0)
            try await bench.graph.transaction([
                .snapshotSync(SnapshotSyncRequest(nodeName: "a", snapshotFile: "x1", snapshotNodeName: "n1")),
                .snapshotSync(SnapshotSyncRequest(nodeName: "n1", snapshotFile: "x2", snapshotNodeName: "n2")),
            ])
            #expect(a.nodeName == "n2")
            #expect(bench.graph.node("n2")?.backingNode == "n1" && bench.graph.node("n1")?.backingNode == "a")
            #expect(bench.graph.node("n1")?.isReadOnly == true)
            #expect(bench.host.files["x1"]?.handles.first?.isReadOnly == true)
            #expect(bench.host.files["x1"]?.handles.first?.used.contains(.write) == false)
            try await a.write([2], at: 1)
            #expect(try await a.bytes(at: 0, count: 3) == [1, 2, 0])
            try await bench.graph.reopen([
                NodeOptions(
                    .qcow2(
                        Qcow2Options(
                            file: .options(Make.file("x2")), backing: .child(.node("n1")))), nodeName: "n2")
            ])
            #expect(try await a.bytes(at: 0, count: 3) == [1, 2, 0])
        }
    }
}
