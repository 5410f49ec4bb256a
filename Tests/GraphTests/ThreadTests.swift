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
        var place = ServingPlace.shared(thread)
        if isFixed, let thread { place = .fixed(thread) }
        return try await bench.graph.attach("export", to: node, used: .consistentRead, at: place)
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

    @Test("whoever shows the bitmap of a node is served on the thread of that one")
    func bitmaps() throws {
        let bench = GraphBench()
        try bench.run {
            try await family(bench)
            let bitmap = BitmapName(node: "other", name: "x")
            try await bench.graph.bitmaps(.add(BitmapRequest(bitmap, granularity: 65536)))
            let other = try await attach(bench, "other", "io1")
            let shown = [BitmapSource(node: "other", name: "x")]
            let text = await bench.failure {
                _ = try await bench.graph.attach(
                    "shows", to: "a", used: .consistentRead, at: .fixed("io2"), showing: shown)
            }
            #expect(text == Self.conflict)
            let shows = try await bench.graph.attach(
                "shows", to: "a", used: .consistentRead, at: .shared("io2"), showing: shown)
            #expect(shows.thread == "io1")
            #expect(try await attach(bench, "base", nil).thread == "io1")
            await bench.graph.detach(other)
            #expect(try await attach(bench, "other", "io2").thread == "io1")
        }
    }

    @Test("an export keeps the thread of a bitmap below it when the node below is let go")
    func bitmapBelow() throws {
        let bench = GraphBench()
        try bench.run {
            for name in ["a", "b"] { try await bench.host.addQcow2("\(name).qcow2") }
            try await bench.graph.add(Make.qcow2("b", "b.qcow2", .readOnly))
            try await bench.graph.add(Make.qcow2("a", "a.qcow2", backing: .child(.node("b"))))
            try await bench.graph.bitmaps(
                .add(BitmapRequest(BitmapName(node: "b", name: "x"), granularity: 65536)))
            _ = try await bench.graph.attach(
                "export", to: "a", used: .consistentRead, at: .shared("io1"), showing: [BitmapSource(name: "x")])
            try await bench.graph.reopen([Make.qcow2("a", "a.qcow2", backing: BackingReference.none)])
            #expect(bench.graph.node("a")?.backingNode == nil)
            #expect(try await attach(bench, "b", "io2").thread == "io1")
        }
    }

    @Test("whom the owner serves keeps no thread: the node's other users gone, it may have another one")
    func owner() throws {
        let bench = GraphBench()
        try bench.run {
            try await family(bench)
            let export = try await attach(bench, "a", "io1")
            let drive = try await bench.graph.attach("drive", to: "a", used: .consistentRead)
            #expect(drive.thread == nil)
            await bench.graph.detach(export)
            #expect(!bench.graph.usesThread("io1"))
            try await attach(bench, "a", "io2", isFixed: true)
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
