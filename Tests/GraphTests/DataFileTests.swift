import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Testing

@Suite("data files")
struct DataFileTests {
    private func image(_ bench: GraphBench, name: String? = "disk.data") async throws {
        try await bench.host.addQcow2("dir/disk.qcow2", dataFile: name ?? "")
        bench.host.addRaw("dir/disk.data", bytes: 1 << 20)
    }

    private func options(_ data: ChildReference? = nil) -> NodeOptions {
        var own = Qcow2Options(file: .options(Make.file("dir/disk.qcow2")))
        own.dataFile = data
        return NodeOptions(.qcow2(own), nodeName: "disk")
    }

    private func add(_ bench: GraphBench, _ data: ChildReference? = nil) async -> String {
        await bench.failure { try await bench.graph.add(options(data)) }
    }

    @Test("a data file that only the image names is opened under the policy for such names")
    func policies() throws {
        for (policy, words) in [
            (BackingPolicy.sealed, "nothing allows it to be opened; name it in 'data-file'"),
            (.allowed(["/pool"]), "lies in no allowed folder; name it in 'data-file'"),
            (.ownFolder, nil), (.allowed(["dir"]), nil),
        ] as [(BackingPolicy, String?)] {
            let bench = GraphBench(policy)
            try bench.run {
                try await image(bench)
                let text = await add(bench)
                if let words {
                    #expect(
                        text.hasPrefix("Could not open data file: 'dir/disk.qcow2' names 'dir/disk.data'"), "\(text)")
                    #expect(text.contains(words), "\(text)")
                    #expect(bench.host.specs.map(\.filename) == ["dir/disk.qcow2"])
                } else {
                    #expect(text == "(success)")
                    #expect(bench.host.specs.last?.filename == "dir/disk.data")
                    #expect(bench.host.specs.last?.within == ["dir/"] || bench.host.specs.last?.within == ["dir"])
                }
            }
        }
    }

    @Test("a name that leads out of the folder, to the image itself, or is no plain name opens nothing")
    func hostileNames() throws {
        for name in [
            "../secret", "/etc/shadow", "json:{}", "nbd:unix:x", "file:disk.data", "disk.qcow2", "disk\u{0}.data",
        ] {
            let bench = GraphBench(.ownFolder)
            try bench.run {
                try await image(bench, name: name)
                let text = await add(bench)
                #expect(text.hasPrefix("Could not open data file: "), "\(name): \(text)")
            }
        }
    }

    @Test("an image that names no data file needs one from the user; another may not have one")
    func required() throws {
        let bench = GraphBench(.ownFolder)
        try bench.run {
            try await image(bench, name: nil)
            #expect(await add(bench) == "'data-file' is required for this image")
            #expect(await add(bench, .options(Make.file("dir/disk.data"))) == "(success)")
            try await bench.graph.delete("disk")
            try await bench.host.addQcow2("dir/disk.qcow2")
            #expect(
                await add(bench, .options(Make.file("dir/disk.data")))
                    == "'data-file' can only be set for images with an external data file")
        }
    }

    @Test("guest data goes to the data file's node, which is the image's child, and a reopen keeps it")
    func child() throws {
        let bench = GraphBench(.sealed)
        try bench.run {
            try await image(bench)
            try await bench.graph.add(Make.file("dir/disk.data", "data"))
            #expect(await add(bench, .node("data")) == "(success)")
            #expect(bench.graph.node("disk")?.children.map(\.name) == ["file", "data-file"])
            let root = try await bench.attach("disk")
            try await root.write([UInt8](repeating: 5, count: 512), at: 65536)
            try await root.flush()
            var reopened = options(.node("data"))
            reopened.common.detectZeroes = .on
            try await bench.graph.reopen([reopened])
            #expect(try await root.bytes(at: 65536, count: 512) == [UInt8](repeating: 5, count: 512))
            let file = try #require(bench.host.files["dir/disk.data"])
            #expect(try await file.storage.bytes(at: 65536, count: 512) == [UInt8](repeating: 5, count: 512))
            let text = await bench.failure { try await bench.graph.reopen([options()]) }
            #expect(text == "Option 'data-file' cannot be reset to its default value")
            let other = await bench.failure { try await bench.graph.reopen([options(.node("disk"))]) }
            #expect(other == "Cannot change the option 'data-file'")
            #expect(await bench.failure { try await bench.graph.delete("data") } == "Block device data is in use")
            await bench.graph.detach(root)
        }
    }
}
