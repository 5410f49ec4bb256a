import Block
import BlockTestKit
import Graph
import GraphTestKit
import Testing

@Suite("block_resize")
struct ResizeTests {
    @Test("every refusal is in QEMU's words")
    func refusals() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            for name in ["a.qcow2", "b.qcow2", "c.qcow2"] { try await bench.host.addQcow2(name) }
            bench.host.addRaw("r.raw", bytes: 1 << 20)
            try await graph.add(Make.null("n"))
            try await graph.add(Make.qcow2("q", "a.qcow2"))
            try await graph.add(Make.qcow2("base", "b.qcow2", .readOnly))
            try await graph.add(Make.raw("fixed", .options(Make.file("r.raw")), size: 1024))
            func resize(_ node: String?, _ size: Int64, device: String? = nil) async -> String {
                await bench.failure { try await graph.resize(device: device, nodeName: node, to: size) }
            }
            #expect(await resize("x", 1) == "Cannot find device='' nor node-name='x'")
            #expect(await resize(nil, 1) == "Cannot find device='' nor node-name=''")
            #expect(await resize(nil, 1, device: "x") == "Cannot find device='x' nor node-name=''")
            #expect(await resize("q", -1) == "Parameter 'size' expects a >0 size")
            #expect(await resize("q", 1000) == "The new size must be a multiple of 512")
            #expect(await resize("n", 4096) == "Image format driver does not support resize")
            #expect(await resize("fixed", 2048) == "Cannot resize fixed-size raw disks")
            #expect(await resize("base", 4096) == "Image is read-only")
            #expect(
                await resize("q", Int64.max - 511)
                    == "offset(9223372036854775296) exceeds maximum(9223372035781033984)")
            try await graph.add(Make.qcow2("top", "c.qcow2", backing: .child(.node("base"))))
            #expect(await resize("base", 4096) == "Device 'base' is in use")
            let root = try await bench.attach("q")
            #expect(
                await resize("q", 2 << 20)
                    == "Permission conflict on node 'q': permissions 'resize' are both required by an unnamed block "
                    + "device (uses node 'q' as 'root' child) and unshared by an unnamed block device (uses node 'q' as "
                    + "'root' child).")
            await graph.detach(root)
            #expect(await resize("q", 2 << 20) == "(success)")
            #expect(graph.node("q")?.image.virtualSize == 2 << 20)
        }
    }

    @Test("R77: what a disk gains reads as zeros, although a longer backing file holds data there")
    func gainsZeros() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let base = MemoryStorage(length: 2 << 20, growable: true)
            try await base.write([UInt8](repeating: 6, count: 2 << 20), at: 0)
            bench.host.add("base.raw", base)
            try await bench.host.addQcow2("top.qcow2", size: 1 << 20, backing: "base.raw", format: "raw")
            try await graph.add(Make.qcow2("top", "top.qcow2"))
            try await graph.resize(device: nil, nodeName: "top", to: 2 << 20)
            let root = try await bench.attach("top")
            #expect(root.length == 2 << 20)
            #expect(try await root.bytes(at: (1 << 20) - 1, count: 3) == [6, 0, 0])
            #expect(try await root.bytes(at: (2 << 20) - 1, count: 1) == [0])
        }
    }

    @Test("a raw disk grows its file through a filter")
    func raw() throws {
        let bench = GraphBench()
        try bench.run {
            let graph = bench.graph
            let file = bench.host.addRaw("r.raw", bytes: 4096)
            try await graph.add(Make.file("r.raw", "f"))
            try await graph.add(NodeOptions(.blkdebug(BlkdebugOptions(image: .node("f"))), nodeName: "d"))
            try await graph.add(Make.raw("r", .node("d"), offset: 512))
            try await graph.resize(device: nil, nodeName: "r", to: 8192)
            #expect(file.storage.length == 8704)
            #expect(graph.node("r")?.image.virtualSize == 8192)
        }
    }
}
