import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Testing

@Suite("backing files that only an image names")
struct BackingTests {
    private func chain(_ bench: GraphBench, name: String = "base.qcow2", format: String? = "qcow2") async throws {
        try await bench.host.addQcow2("dir/base.qcow2")
        try await bench.host.addQcow2("dir/top.qcow2", backing: name, format: format)
    }

    private func add(_ bench: GraphBench, backing: BackingReference? = nil) async -> String {
        await bench.failure { try await bench.graph.add(Make.qcow2("top", "dir/top.qcow2", backing: backing)) }
    }

    @Test("R21: sealed opens nothing unnamed, and says what to do")
    func sealed() throws {
        let bench = GraphBench(.sealed)
        try bench.run {
            try await chain(bench)
            let text = await add(bench)
            #expect(text.hasPrefix("Could not open backing file: 'dir/top.qcow2' names 'dir/base.qcow2'"))
            #expect(text.contains("name it in 'backing'"))
            #expect(bench.host.specs.map(\.filename) == ["dir/top.qcow2"])
            #expect(await add(bench, backing: BackingReference.none) == "(success)")
            try await bench.graph.delete("top")
            #expect(await add(bench, backing: .child(.options(Make.qcow2(nil, "dir/base.qcow2")))) == "(success)")
            try await bench.graph.delete("top")
            #expect(await add(bench, backing: .empty) == "(success)")
            #expect(bench.notes.warnings.first?.contains("is deprecated") == true)
        }
    }

    @Test("R21: the image's own folder and what lies below it")
    func ownFolder() throws {
        let bench = GraphBench(.ownFolder)
        try bench.run {
            try await chain(bench)
            #expect(await add(bench) == "(success)")
            #expect(bench.notes.opened == ["dir/base.qcow2"])
            #expect(bench.host.specs.last?.within == ["dir/"])
            #expect(bench.host.specs.last?.isReadOnly == true)
            try await bench.graph.delete("top")
            for name in ["../base.qcow2", "/etc/passwd", "x/../../base.qcow2"] {
                try await chain(bench, name: name)
                #expect(await add(bench).contains("does not lie in the image's folder or below"))
            }
        }
    }

    @Test("R21: folders that were allowed, and no others")
    func allowed() throws {
        let bench = GraphBench(.allowed(["/pool", "dir"]))
        try bench.run {
            try await chain(bench)
            #expect(await add(bench) == "(success)")
            try await bench.graph.delete("top")
            try await chain(bench, name: "/pool2/base.qcow2")
            #expect(await add(bench).contains("--allow-path"))
            try await chain(bench, name: "/pool/base.qcow2")
            #expect(
                await add(bench)
                    == "Could not open backing file: Could not open '/pool/base.qcow2': No such file or directory")
        }
    }

    @Test("R24: a protocol or JSON in an image is never opened")
    func protocols() throws {
        for policy in [BackingPolicy.ownFolder, .qemu] {
            let bench = GraphBench(policy)
            try bench.run {
                for name in ["json:{\"driver\":\"file\",\"filename\":\"base.qcow2\"}", "nbd://host/export"] {
                    try await chain(bench, name: name)
                    let text = await add(bench)
                    let protocolName = name.hasPrefix("json") ? "json" : "nbd"
                    #expect(
                        text.contains("is not a plain file name")
                            || text == "Could not open backing file: Unknown protocol '\(protocolName)'")
                }
                #expect(bench.host.specs.allSatisfy { $0.filename == "dir/top.qcow2" })
            }
        }
    }

    @Test("R25: a format that is not recorded is guessed by QEMU's rules only")
    func formats() throws {
        let bench = GraphBench(.ownFolder)
        try bench.run {
            try await chain(bench, format: nil)
            #expect(await add(bench).contains("does not state the format"))
            try await chain(bench, format: "vmdk")
            #expect(await add(bench) == "Could not open backing file: Unknown driver 'vmdk'")
        }
        let qemu = GraphBench(.qemu)
        try qemu.run {
            try await chain(qemu, format: nil)
            #expect(await add(qemu) == "(success)")
            #expect(qemu.graph.nodes.map(\.driver) == ["file", "qcow2", "file", "qcow2"])
            try await qemu.graph.delete("top")
            qemu.host.addRaw("dir/base.qcow2", bytes: 1 << 20)
            #expect(await add(qemu) == "(success)")
            #expect(qemu.graph.nodes.map(\.driver) == ["file", "qcow2", "file", "raw"])
        }
    }

    @Test("R14: a loop is found by the file's identity, whatever it is called")
    func loops() throws {
        let bench = GraphBench(.qemu)
        try bench.run {
            try await bench.host.addQcow2("dir/top.qcow2", backing: "other.qcow2")
            bench.host.link("dir/other.qcow2", to: "dir/top.qcow2")
            #expect(await add(bench).contains("'dir/other.qcow2' stands on itself: the backing chain is a loop"))
            #expect(bench.host.openCount == 0)
        }
    }

    @Test("R14: a chain has at most 256 images below")
    func depth() throws {
        let bench = GraphBench(.qemu)
        try bench.run {
            try await bench.host.addQcow2("0.qcow2")
            for index in 1...257 { try await bench.host.addQcow2("\(index).qcow2", backing: "\(index - 1).qcow2") }
            let text = await bench.failure { try await bench.graph.add(Make.qcow2("q", "257.qcow2")) }
            #expect(text.contains("longer than 256 images"))
            #expect(bench.host.openCount == 0)
            try await bench.graph.add(Make.qcow2("q", "256.qcow2"))
            #expect(bench.graph.node("q")?.backingDepth == 256)
        }
    }

    @Test("a backing file that others read is opened, read-only from the start")
    func sharedBase() throws {
        let bench = GraphBench(.qemu)
        try bench.run {
            try await chain(bench)
            try await bench.graph.add(Make.qcow2("base", "dir/base.qcow2", .readOnly))
            #expect(await add(bench) == "(success)")
            let spec = try #require(bench.host.specs.last)
            #expect(spec.isReadOnly)
            for handle in bench.host.files["dir/base.qcow2"]?.handles ?? [] {
                #expect(handle.used == .consistentRead)
            }
            let inner = NodeOptions(
                .qcow2(Qcow2Options(file: .options(Make.file("dir/base.qcow2")))), common: CommonOptions())
            try await bench.graph.delete("top")
            #expect(await add(bench, backing: .child(.options(inner))) == "(success)")
        }
    }

    @Test("a missing backing file fails the open, and leaves nothing")
    func missing() throws {
        let bench = GraphBench(.qemu)
        try bench.run {
            try await chain(bench, name: "gone.qcow2")
            #expect(
                await add(bench)
                    == "Could not open backing file: Could not open 'dir/gone.qcow2': No such file or directory")
            #expect(bench.host.openCount == 0)
        }
    }

    @Test("R77: reads fall through to what lies below, and past its end read zeros")
    func reads() throws {
        let bench = GraphBench(.qemu)
        try bench.run {
            let base = MemoryStorage(length: 4096, growable: true)
            try await base.write([UInt8](repeating: 6, count: 4096), at: 0)
            bench.host.add("dir/base.raw", base)
            try await bench.host.addQcow2("dir/top.qcow2", backing: "base.raw", format: "raw")
            try await bench.graph.add(Make.qcow2("top", "dir/top.qcow2"))
            let root = try await bench.attach("top")
            #expect(try await root.bytes(at: 4094, count: 4) == [6, 6, 0, 0])
            try await root.write([1], at: 0)
            #expect(try await root.bytes(at: 0, count: 2) == [1, 6])
            #expect(try await base.bytes(at: 0, count: 1) == [6])
        }
    }
}
