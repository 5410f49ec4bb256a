import Block
import BlockTestKit
import Filters
import Graph
import GraphTestKit
import Qcow2
import Testing

@Suite("blockdev-add")
struct AddTests {
    @Test("a name that is no node name, too long or taken is refused")
    func names() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            for bad in ["0bad", "", "a b", "#block1", "é"] {
                let text = await bench.failure { try await graph.add(Make.null(bad)) }
                #expect(text == "Invalid node-name: '\(bad)'")
            }
            let long = String(repeating: "x", count: 32)
            #expect(await bench.failure { try await graph.add(Make.null(long)) } == "Node name too long")
            try await graph.add(Make.null(String(long.dropLast())))
            try await graph.add(Make.null("a"))
            #expect(
                await bench.failure { try await graph.add(Make.null("a")) } == "Duplicate nodes with node-name='a'")
            #expect(
                await bench.failure { try await graph.add(NodeOptions(.nullCo(NullOptions()))) }
                    == "'node-name' must be specified for the root node")
        }
    }

    @Test("a node and a child inside it cannot have one name")
    func sameNameInside() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            let text = await bench.failure {
                try await bench.graph.add(Make.qcow2("q", .options(Make.file("a.qcow2", "q"))))
            }
            #expect(text == "Duplicate nodes with node-name='q'")
            #expect(bench.graph.nodes.isEmpty)
            #expect(bench.host.openCount == 0)
        }
    }

    @Test("unnamed children get names that no user can give")
    func automaticNames() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.graph.add(Make.qcow2("q", "a.qcow2"))
            let names = bench.graph.nodes.map(\.nodeName)
            #expect(names.count == 2 && names[1] == "q")
            #expect(names[0].hasPrefix("#block"))
            #expect(names[0].dropFirst(6).allSatisfy { $0.isNumber })
        }
    }

    @Test("a failure leaves nothing behind")
    func failureLeavesNothing() throws {
        let bench = GraphBench()
        try bench.run {
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            let graph = bench.graph
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("q", "r.raw")) } == "Image is not in qcow2 format")
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("q", "nofile")) }
                    == "Could not open 'nofile': No such file or directory")
            #expect(
                await bench.failure { try await graph.add(Make.raw("q", .node("nonode"))) }
                    == "Cannot find device='nonode' nor node-name='nonode'")
            try await bench.host.addQcow2("a.qcow2")
            #expect(
                await bench.failure {
                    try await graph.add(Make.qcow2("q", "a.qcow2", backing: .child(.node("nonode"))))
                } == "Could not open backing file: Cannot find device='nonode' nor node-name='nonode'")
            #expect(graph.nodes.isEmpty)
            #expect(bench.host.openCount == 0)
        }
    }

    @Test("options that contradict each other are refused")
    func contradictions() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            let graph = bench.graph
            #expect(
                await bench.failure {
                    try await graph.add(Make.qcow2("q", "a.qcow2", CommonOptions(detectZeroes: .unmap)))
                } == "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("q", "a.qcow2", CommonOptions(forceShare: true))) }
                    == "force-share=on can only be used with read-only images")
            let native = NodeOptions(.file(FileDriverOptions(filename: "a.qcow2", aio: .native)), nodeName: "f")
            #expect(
                await bench.failure { try await graph.add(native) }
                    == "aio=native was specified, but it requires cache.direct=on, which was not specified.")
        }
    }

    @Test("a child inside inherits what it does not say, a child by name does not")
    func inheritance() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2")
            try await bench.host.addQcow2("b.qcow2")
            let common = CommonOptions(isReadOnly: true, direct: true, noFlush: true)
            try await bench.graph.add(Make.qcow2("q", "a.qcow2", common))
            let spec = try #require(bench.host.specs.last)
            #expect(spec.isReadOnly && spec.direct && spec.noFlush)
            try await bench.graph.add(Make.file("b.qcow2", "f"))
            try await bench.graph.add(Make.qcow2("q2", .node("f"), common))
            let info = try #require(bench.graph.node("f"))
            #expect(!info.isReadOnly && !info.direct && !info.noFlush)
        }
    }

    @Test("auto-read-only falls back where writing is not permitted, and nothing else does")
    func autoReadOnly() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2").isWritable = false
            let graph = bench.graph
            #expect(
                await bench.failure { try await graph.add(Make.qcow2("q", "a.qcow2")) }
                    == "Could not open 'a.qcow2': Permission denied")
            try await graph.add(Make.qcow2("q", "a.qcow2", CommonOptions(autoReadOnly: true)))
            #expect(graph.node("q")?.isReadOnly == true)
            #expect(
                await bench.failure { _ = try await bench.attach("q") } == "Block node is read-only")
        }
    }

    @Test("a raw window outside its file is refused in QEMU's words")
    func rawWindows() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            try await graph.add(Make.null("n", size: 1 << 20))
            func window(_ offset: UInt64?, _ size: UInt64?) async -> String {
                await bench.failure {
                    try await graph.add(Make.raw("r", .node("n"), offset: offset, size: size))
                    try await graph.delete("r")
                }
            }
            #expect(await window(nil, 100) == "Specified size is not multiple of 512")
            #expect(
                await window(512, 1 << 20)
                    == "The sum of offset (512) and size (1048576) has to be smaller or equal to the  actual size of "
                    + "the containing file (1048576)")
            #expect(
                await window(2_097_152, nil)
                    == "Offset (2097152) cannot be greater than size of the containing file (1048576)")
            #expect(await window(1 << 20, nil) == "(success)")
            #expect(await window(.max, 512) != "(success)")
        }
    }

    @Test("a raw window reads and writes its part of the file only")
    func rawWindowData() throws {
        let bench = GraphBench()
        try bench.run {
            let file = bench.host.addRaw("r.raw", bytes: 8192)
            try await bench.graph.add(
                Make.raw("r", .options(Make.file("r.raw")), offset: 1024, size: 2048))
            let root = try await bench.attach("r")
            #expect(root.length == 2048)
            try await root.write([1, 2, 3], at: 512)
            #expect(try await file.storage.bytes(at: 1536, count: 4) == [1, 2, 3, 0])
            await #expect(throws: BlockError.outOfRange) { try await root.write([1], at: 2048) }
        }
    }

    @Test("a version 2 image refuses lazy refcounts")
    func lazyRefcounts() throws {
        let bench = GraphBench()
        try bench.run {
            try await bench.host.addQcow2("a.qcow2", v2: true)
            var options = Qcow2Options(file: .options(Make.file("a.qcow2")))
            options.lazyRefcounts = true
            let text = await bench.failure { try await bench.graph.add(NodeOptions(.qcow2(options), nodeName: "q")) }
            #expect(
                text == "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
        }
    }
}
