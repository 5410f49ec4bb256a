import Block
import BlockTestKit
import Graph
import GraphTestKit
import Testing

@Suite("named backends")
struct BackendTests {
    /// Makes a backend with a node in it, or none.
    @discardableResult
    private func add(_ bench: GraphBench, _ name: String, _ node: String?, shared: Permissions = .all) async throws
        -> BlockRoot?
    {
        var root: BlockRoot?
        try await bench.graph.changeBackends { (plan: BackendPlan) throws(OpenError) in
            try plan.addBackend(name)
            if let node { root = try plan.insert(node, into: name, mayWrite: true, shared: shared) }
        }
        return root
    }

    @Test("a command finds a backend's medium before a node, and says where there is none")
    func lookUp() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("o.qcow2")
            try await graph.add(Make.qcow2("o", "o.qcow2"))
            try await graph.add(Make.null("n"))
            try await self.add(bench, "d", "n")
            try await self.add(bench, "empty", nil)
            func resize(_ device: String?, _ node: String?) async -> String {
                await bench.failure { try await graph.resize(device: device, nodeName: node, to: 4096) }
            }
            #expect(await resize("d", nil) == "Image format driver does not support resize")
            #expect(await resize("d", "missing") == "Image format driver does not support resize")
            #expect(await resize("empty", "n") == "Device 'empty' has no medium")
            #expect(await resize(nil, "d") == "Cannot find device='' nor node-name='d'")
            #expect(await resize("n", nil) == "Cannot find device='n' nor node-name=''")
            #expect(
                await bench.failure { try await graph.snapshot(node: "empty", overlay: "o") }
                    == "Device 'empty' has no medium")
            #expect(
                await bench.failure { try await graph.snapshot(node: "d", overlay: "empty") }
                    == "Device 'empty' has no medium")
            #expect(await bench.failure { try await graph.add(Make.raw("r", .node("d"))) } == "(success)")
            #expect(graph.node("r")?.dataNode == "n")
            try await graph.delete("r")
            #expect(
                await bench.failure { try await graph.add(Make.raw("r", .node("empty"))) }
                    == "Device 'empty' has no medium")
            #expect(
                await bench.failure {
                    try await graph.snapshotSync(SnapshotSyncRequest(device: "empty", snapshotFile: "x"))
                } == "Device 'empty' has no medium")
            #expect(
                await bench.failure { try await graph.delete("d") } == "Failed to find node with node-name='d'")
            #expect(await bench.failure { try await graph.delete("n") } == "Node n is in use")
        }
    }

    @Test("names of backends and nodes are one name space")
    func names() throws {
        let bench = GraphBench()
        try bench.run {
            let long = String(repeating: "d", count: 40)
            try await bench.graph.add(Make.null("n"))
            try await self.add(bench, "d", nil)
            try await self.add(bench, long, nil)
            func backend(_ name: String) async -> String {
                await bench.failure { try await self.add(bench, name, nil) }
            }
            func node(_ name: String) async -> String {
                await bench.failure { try await bench.graph.add(Make.null(name)) }
            }
            #expect(await backend("d") == "Device with id 'd' already exists")
            #expect(await backend("n") == "Device name 'n' conflicts with an existing node name")
            #expect(await backend("") == "Parameter 'id' expects an identifier")
            #expect(await backend("a b") == "Parameter 'id' expects an identifier")
            #expect(await node("d") == "node-name=d is conflicting with a device id")
            #expect(await node(long) == "node-name=\(long) is conflicting with a device id")
            #expect(await node("n") == "Duplicate nodes with node-name='n'")
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            try await self.add(bench, "dq", "q")
            func overlay(_ name: String) async -> String {
                await bench.failure {
                    try await bench.graph.snapshotSync(
                        SnapshotSyncRequest(nodeName: "q", snapshotFile: "x", snapshotNodeName: name))
                }
            }
            #expect(await overlay("dq") == "New overlay node-name already in use")
            #expect(await overlay("d") == "node-name=d is conflicting with a device id")
            #expect(bench.creator.requests.isEmpty)
        }
    }

    @Test("a medium that is taken out is closed where nobody else holds it, and refuses what waited for it")
    func takeOut() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            var root: BlockRoot?
            try await graph.changeBackends { (plan: BackendPlan) async throws(OpenError) in
                try plan.addBackend("d")
                let node = try await plan.open(
                    NodeOptions(.nullCo(NullOptions(latencyNs: 3_000_000, readZeroes: true))))
                root = try plan.insert(node, into: "d", mayWrite: true, shared: .all)
            }
            let medium = try #require(root)
            var log: [String] = []
            func request(_ name: String) {
                bench.context.spawn {
                    log.append(name + " " + (await bench.failure { try await medium.write([1], at: 0) }))
                }
            }
            request("first")
            await bench.context.yield()
            bench.context.spawn {
                await bench.context.yield(); request("second")
            }
            try await graph.changeBackends { (plan: BackendPlan) throws(OpenError) in
                #expect(plan.medium(of: "d") != nil)
                plan.takeOut(of: "d")
                #expect(plan.medium(of: "d") == nil && plan.hasBackend("d"))
                plan.onSwap = { log.append("out") }
            }
            await bench.context.sleep(ms: 1)
            #expect(log == ["first (success)", "out", "second closed"])
            #expect(graph.nodes.isEmpty)
        }
    }

    @Test("what is asked right before the swap can still refuse it, and nothing has changed")
    func confirm() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("f", bytes: 512)
            try await bench.graph.add(Make.null("n"))
            let root = try #require(try await self.add(bench, "d", "n"))
            let text = await bench.failure {
                try await bench.graph.changeBackends { (plan: BackendPlan) async throws(OpenError) in
                    let node = try await plan.open(Make.file("f"))
                    plan.takeOut(of: "d")
                    _ = try plan.insert(node, into: "d", mayWrite: true, shared: .all)
                    plan.confirm = { () throws(OpenError) in throw OpenError("not now") }
                    plan.onSwap = { Issue.record("it was refused") }
                }
            }
            #expect(text == "not now")
            #expect(root.nodeName == "n" && bench.host.openCount == 0)
            try await root.write([1], at: 0)
        }
    }

    @Test("a user that goes leaves its backend empty")
    func detached() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            let root = try #require(try await self.add(bench, "d", "n"))
            await bench.graph.detach(root)
            #expect(
                await bench.failure { try await bench.graph.resize(device: "d", nodeName: nil, to: 1) }
                    == "Device 'd' has no medium")
            try await bench.graph.delete("n")
        }
    }

    @Test("an image is put in again to be written, its old locks gone; a change that fails takes them back")
    func sameImageAgain() throws {
        let bench = GraphBench()
        try bench.run {
            let file = bench.host.addRaw("floppy", bytes: 4096)
            let shared: Permissions = [.consistentRead, .writeUnchanged]
            /// Puts the image in anew; `fails` right before the swap.
            func exchange(readOnly: Bool, fails: Bool = false) async throws(OpenError) {
                try await bench.graph.changeBackends { (plan: BackendPlan) async throws(OpenError) in
                    if !plan.hasBackend("fd") { try plan.addBackend("fd") }
                    let raw = RawOptions(file: .options(NodeOptions(.file(FileDriverOptions(filename: "floppy")))))
                    let node = try await plan.open(
                        NodeOptions(.raw(raw), common: CommonOptions(isReadOnly: readOnly)))
                    plan.takeOut(of: "fd")
                    _ = try plan.insert(node, into: "fd", mayWrite: true, shared: shared)
                    if fails { plan.confirm = { () throws(OpenError) in throw OpenError("no") } }
                }
            }
            func locks() -> [(used: Permissions, unshared: Permissions)] {
                file.handles.map { ($0.used, $0.unshared) }
            }
            try await exchange(readOnly: true)
            let before = locks()
            #expect(await bench.failure { try await exchange(readOnly: false, fails: true) } == "no")
            #expect(locks().map(\.used) == before.map(\.used))
            #expect(locks().map(\.unshared) == before.map(\.unshared))
            try await exchange(readOnly: false)
            #expect(locks().count == 1)
            #expect(locks()[0].used.contains(.write))
            #expect(bench.notes.warnings.isEmpty)
        }
    }
}
