import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Testing

/// Every request to the files fails once in turn while the graph changes: either the change happens whole, or the graph
/// is as it was and still serves.
@Suite("changes that fail part-way")
struct FailureTests {
    enum Action: String, CaseIterable, Sendable {
        case readOnly, readWrite, snapshot, snapshotSync, add, cacheSize, asQEMU
    }

    private func start(_ bench: GraphBench, _ action: Action) async throws -> BlockRoot {
        try await bench.host.addQcow2("a.qcow2")
        try await bench.host.addQcow2("o.qcow2", backing: "a.qcow2")
        let common = action == .readWrite || action == .add ? CommonOptions.readOnly : CommonOptions()
        try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
        let writer = try await bench.attach("q")
        try await writer.write([1, 2, 3], at: 0)
        await bench.graph.detach(writer)
        if common != CommonOptions() { try await bench.graph.reopen([Make.qcow2("q", "a.qcow2", common)]) }
        if action == .snapshot {
            try await bench.graph.add(Make.qcow2("o", "o.qcow2", backing: BackingReference.none))
        }
        let root = try await bench.attach("q", writable: action == .snapshot || action == .snapshotSync)
        if action == .snapshot || action == .snapshotSync { try await root.write([4], at: 3) }
        return root
    }

    private func act(_ bench: GraphBench, _ action: Action) async throws {
        switch action {
        case .readOnly: try await bench.graph.reopen([Make.qcow2("q", "a.qcow2", .readOnly)])
        case .readWrite: try await bench.graph.reopen([Make.qcow2("q", "a.qcow2")])
        case .snapshot: try await bench.graph.snapshot(node: "q", overlay: "o")
        case .snapshotSync, .asQEMU:
            try await bench.graph.snapshotSync(
                SnapshotSyncRequest(nodeName: "q", snapshotFile: "s.qcow2", snapshotNodeName: "s"))
        case .add:
            try await bench.graph.add(
                Make.qcow2("o", "o.qcow2", backing: .child(.options(Make.qcow2(nil, "a.qcow2", .readOnly)))))
        case .cacheSize:
            var options = Qcow2Options(file: .options(Make.file("a.qcow2")))
            options.cacheSize = 1 << 20
            try await bench.graph.reopen([NodeOptions(.qcow2(options), nodeName: "q")])
        }
    }

    /// What a client could tell about the graph.
    private func picture(_ graph: Graph) -> [String] {
        graph.nodes.map {
            "\($0.nodeName) \($0.filename) \($0.isReadOnly) \($0.isMonitorOwned) \($0.children) \($0.direct)"
        }
    }

    @Test("R85: the graph is as it was, or the change is whole", arguments: Action.allCases)
    func everyRequest(action: Action) throws {
        var succeeded = false
        for nth in 0..<60 where !succeeded {
            let bench = GraphBench(.qemu, actsAsQEMU: action == .asQEMU)
            try bench.run {
                let root = try await start(bench, action)
                let before = picture(bench.graph)
                let open = bench.host.openCount
                let files = Array(bench.host.files.values)
                let fault = Fault(Set(RequestKind.allCases), nth: nth, error: .io)
                for file in files { file.storage.plan.add(fault) }
                let text = await bench.failure { try await act(bench, action) }
                let fired = files.contains { $0.storage.plan.fired > 0 }
                for file in files { file.storage.plan.clear() }
                if text == "(success)" {
                    if !fired { succeeded = true }
                } else {
                    #expect(picture(bench.graph) == before, "\(action) \(nth): \(text)")
                    #expect(bench.host.openCount == open, "\(action) \(nth): \(text)")
                }
                let expected: [UInt8] = action == .snapshot || action == .snapshotSync ? [1, 2, 3, 4] : [1, 2, 3, 0]
                #expect(try await root.bytes(at: 0, count: 4) == expected, "\(action) \(nth): \(text)")
            }
        }
        #expect(succeeded, "no run went without a fault")
    }
}
