import Block
import BlockTestKit
import Filters
import Graph
import GraphTestKit
import Testing

/// Which I/O thread serves a node: nodes that are connected share one (docs/decisions/0009-io-threads.md).
@Suite("threads of nodes")
struct ThreadTests {
    private static let conflict = "Cannot change iothread of active block backend"

    /// Attaches a reader; answers the thread it is served on, and the user.
    @discardableResult
    private func attach(_ bench: GraphBench, _ node: String, _ thread: String?, isFixed: Bool = false) async throws
        -> BlockRoot
    {
        try await bench.graph.attach(
            "export", to: node, used: .consistentRead, thread: thread, mustBeThat: isFixed)
    }

    /// Two images on one backing file, `a` and `b` on `base`, and `other` beside them.
    private func family(_ bench: GraphBench) async throws {
        try await bench.graph.add(Make.null("base", size: 1 << 20, .readOnly))
        for name in ["a", "b"] {
            try await bench.graph.add(Make.raw(name, .node("base"), .readOnly))
        }
        try await bench.graph.add(Make.null("other", size: 1 << 20))
    }

    @Test("whoever comes next to a node, or one that is connected with it, is served on its thread")
    func shared() throws {
        let bench = GraphBench()
        try bench.run {
            try await family(bench)
            let first = try await attach(bench, "a", "io1")
            #expect(first.thread == "io1")
            #expect(try await attach(bench, "a", nil).thread == "io1")
            #expect(try await attach(bench, "b", "io2").thread == "io1")
            #expect(try await attach(bench, "base", nil).thread == "io1")
            #expect(try await attach(bench, "other", "io2").thread == "io2")
            #expect(bench.graph.usesThread("io1") && bench.graph.usesThread("io2") && !bench.graph.usesThread("io3"))
        }
    }

    @Test("one that must have another thread is refused, and changes nothing")
    func fixed() throws {
        let bench = GraphBench()
        try bench.run {
            try await family(bench)
            try await attach(bench, "a", "io1", isFixed: true)
            let text = await bench.failure { try await attach(bench, "b", "io2", isFixed: true) }
            #expect(text == Self.conflict)
            #expect(!bench.graph.usesThread("io2"))
            try await attach(bench, "b", "io1", isFixed: true)
        }
    }

    @Test("when its users have gone a node may be served on another thread")
    func freed() throws {
        let bench = GraphBench()
        try bench.run {
            try await family(bench)
            let root = try await attach(bench, "a", "io1")
            await bench.graph.detach(root)
            #expect(!bench.graph.usesThread("io1"))
            #expect(try await attach(bench, "b", "io2").thread == "io2")
        }
    }

    @Test("a change that would connect two threads is refused before anything of it is done")
    func connected() throws {
        let bench = GraphBench()
        try bench.run {
            for name in ["a", "b"] { try await bench.host.addQcow2("\(name).qcow2") }
            try await bench.graph.add(Make.qcow2("a", "a.qcow2", backing: BackingReference.none))
            try await bench.graph.add(Make.qcow2("b", "b.qcow2", .readOnly))
            let root = try await attach(bench, "a", "io1")
            let other = try await attach(bench, "b", "io2")
            let onto = Make.qcow2("a", "a.qcow2", backing: .child(.node("b")))
            #expect(await bench.failure { try await bench.graph.reopen([onto]) } == Self.conflict)
            #expect(bench.graph.node("a")?.backingNode == nil)
            await bench.graph.detach(other)
            try await bench.graph.reopen([onto])
            // What came in with the change is served where the rest is.
            #expect(try await attach(bench, "b", "io2").thread == root.thread)
        }
    }

    @Test("nodes that share their limits share their thread")
    func limits() throws {
        let bench = GraphBench()
        try bench.run {
            let group = bench.graph.throttleGroups.makeGroup("g")
            for name in ["a", "b"] {
                try await bench.graph.add(Make.null("n" + name, size: 1 << 20))
                let options = ThrottleOptions(file: .node("n" + name), group: "g")
                try await bench.graph.add(NodeOptions(.throttle(options), nodeName: name))
            }
            try await attach(bench, "a", "io1")
            #expect(try await attach(bench, "nb", "io2").thread == "io1")
            _ = group
        }
    }
}
