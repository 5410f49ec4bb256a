import Block
import BlockTestKit
import Graph
import GraphTestKit
import Testing

@Suite("blockdev-del and who holds a node")
struct DeleteTests {
    @Test("every rung of the ladder answers in its turn")
    func ladder() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            func delete(_ name: String) async -> String { await bench.failure { try await graph.delete(name) } }
            try await bench.host.addQcow2("a.qcow2")
            try await bench.host.addQcow2("b.qcow2")
            #expect(await delete("x") == "Failed to find node with node-name='x'")
            try await graph.add(Make.file("a.qcow2", "pf"))
            try await graph.add(Make.qcow2("base", .node("pf"), .readOnly))
            try await graph.add(Make.qcow2("top", "b.qcow2", backing: .child(.node("base"))))
            let root = try await bench.attach("top")
            #expect(await delete("top") == "Node top is in use")
            #expect(await delete("base") == "Node 'base' is busy: node is used as backing hd of 'top'")
            #expect(await delete("pf") == "Block device pf is in use")
            let inner = try #require(graph.node("top")?.dataNode)
            #expect(await delete(inner) == "Node \(inner) is not owned by the monitor")
            await graph.detach(root)
            #expect(await delete("top") == "(success)")
            #expect(graph.node(inner) == nil)
            #expect(graph.node("base") != nil)
            #expect(await delete("base") == "(success)")
            #expect(graph.node("pf") != nil)
        }
    }

    @Test("a user on a backing file is told before its blocker")
    func userFirst() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.graph.add(Make.null("n"))
            try await bench.host.addQcow2("b.qcow2")
            try await bench.graph.add(Make.qcow2("top", "b.qcow2", backing: .child(.node("n"))))
            let root = try await bench.attach("n", writable: false)
            #expect(await bench.failure { try await bench.graph.delete("n") } == "Node n is in use")
            await bench.graph.detach(root)
        }
    }

    @Test("R78, O16: a deleted image is written back and has no leak")
    func writtenBack() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            let root = try await bench.attach("q")
            try await root.write([7, 7, 7], at: 100_000)
            await bench.graph.detach(root)
            try await bench.graph.delete("q")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2", .readOnly))
            let again = try await bench.attach("q", writable: false)
            #expect(try await again.bytes(at: 100_000, count: 3) == [7, 7, 7])
        }
    }
}

@Suite("permissions")
struct PermissionTests {
    @Test("R89: two writers of one file are told of in QEMU's words")
    func twoWriters() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await bench.host.addQcow2("a.qcow2")
            try await graph.add(Make.file("a.qcow2", "pf"))
            try await graph.add(Make.qcow2("q", .node("pf")))
            let conflict =
                "Permission conflict on node 'pf': permissions 'write, resize' are both required by node 'q' (uses node "
                + "'pf' as 'file' child) and unshared by node 'p2' (uses node 'pf' as 'file' child)."
            #expect(await bench.failure { try await graph.add(Make.qcow2("p2", .node("pf"))) } == conflict)
            #expect(await bench.failure { try await graph.add(Make.qcow2("p2", .node("pf"), .readOnly)) } == conflict)
            try await graph.add(Make.raw("rw", .node("pf")))
            #expect(
                await bench.failure { _ = try await bench.attach("pf") }
                    == "Permission conflict on node 'pf': permissions 'write' are both required by an unnamed block "
                    + "device (uses node 'pf' as 'root' child) and unshared by node 'q' (uses node 'pf' as 'file' "
                    + "child).")
            #expect(
                await bench.failure { _ = try await bench.attach("pf", writable: false) }
                    == "Permission conflict on node 'pf': permissions 'resize' are both required by node 'q' (uses node "
                    + "'pf' as 'file' child) and unshared by an unnamed block device (uses node 'pf' as 'root' child).")
            #expect(
                await bench.failure { _ = try await bench.attach("nn") }
                    == "Cannot find device='' nor node-name='nn'")
        }
    }

    @Test("image locks follow the permissions, and are given back")
    func locks() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = try await bench.host.addQcow2("a.qcow2")
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            let handle = try #require(file.handles.first)
            #expect(handle.used == [.consistentRead, .write, .resize])
            #expect(handle.unshared == [.write, .resize])
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("p", "a.qcow2")) }
                    == "Failed to get \"write\" lock")
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("p", "a.qcow2", .readOnly)) }
                    == "Failed to get shared \"write\" lock")
            #expect(file.handles.count == 1)
            try await graph.reopen([Make.qcow2("q", "a.qcow2", .readOnly)])
            #expect(handle.used == .consistentRead)
            // Two readers may have it.
            try await graph.add(Make.qcow2("p", "a.qcow2", .readOnly))
        }
    }

    @Test("locks taken for a change that fails are given back")
    func failedChange() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = bench.host.addRaw("r.raw", bytes: 4096)
            try await graph.add(Make.file("r.raw", "f"))
            let handle = try #require(file.handles.first)
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("q", .node("f"))) }
                    == "Image is not in qcow2 format")
            #expect(handle.used == [] && handle.unshared == [])
        }
    }

    @Test("force-share reads what somebody writes")
    func forceShare() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            try await bench.graph.add(
                Make.qcow2("p", "a.qcow2", CommonOptions(isReadOnly: true, forceShare: true)))
            #expect(bench.graph.node("p")?.isReadOnly == true)
        }
    }

    @Test("a format may not write on a read-only file")
    func readOnlyFile() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.file("a.qcow2", "f", .readOnly))
            #expect(
                await bench.failure { try await bench.graph.add(Make.qcow2("q", .node("f"))) }
                    == "Block node is read-only")
            // Raw needs nothing of its own; only a writer above it does.
            try await bench.graph.add(Make.raw("r", .node("f")))
            #expect(await bench.failure { _ = try await bench.attach("r") } == "Block node is read-only")
        }
    }
}
