import Testing

@Suite("qcow2 features", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct Qcow2FeatureTests {
    private let incompatible = 72
    private let compatible = 80
    private let autoclear = 88

    private func create(_ scratch: Scratch, _ options: String, _ size: String = "4M") async throws -> String {
        let image = scratch.file("disk.qcow2")
        let list = options.isEmpty ? [] : ["-o", options]
        try await scratch.ok(["qemu-img", "create", "-q", "-f", "qcow2"] + list + [image, size])
        return image
    }

    /// Changes the bytes of an image.
    private func patch(_ image: String, _ change: (inout ImageBytes) -> Void) throws {
        var bytes = try ImageBytes(image)
        change(&bytes)
        try bytes.save()
    }

    /// What the daemon prints when it has to refuse an image: it ends by itself, with status 1.
    private func refusal(_ scratch: Scratch, _ setting: Daemon.Setting) async throws -> String {
        let outcome = try await scratch.run(scratch.daemonWords(setting), seconds: 20)
        #expect(outcome.ending == .exited(1), "\(outcome.ending) \(outcome.err)")
        return outcome.err
    }

    @Test("an image left dirty by a writer with lazy refcounts is repaired when it is opened for writing")
    func dirty() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "lazy_refcounts=on,cluster_size=4096")
            _ = try await scratch.run(
                [
                    "qemu-io", "-f", "qcow2", "-c", "write -P 5 0 256k", "-c", "write -P 6 1M 64k", "-c", "flush",
                    "-c", "sigraise 9", image,
                ])
            #expect(try ImageBytes(image).hasFeature(0, at: incompatible), "the image is not dirty to begin with")
            let daemon = try await scratch.daemon(.init(image: image))
            try await scratch.io(
                ["read -P 5 0 256k", "read -P 6 1M 64k", "write -P 7 2M 512k", "write -P 8 4k 4k"], daemon.uri())
            try await daemon.stop()
            #expect(try !ImageBytes(image).hasFeature(0, at: incompatible))
            try await scratch.expectClean(image)
            try await scratch.io(
                ["read -P 5 0 4k", "read -P 8 4k 4k", "read -P 6 1M 64k", "read -P 7 2M 512k"], image, format: "qcow2")
        }
    }

    @Test("a dirty image is served read-only without a change to the file")
    func dirtyReadOnly() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "lazy_refcounts=on")
            _ = try await scratch.run(
                ["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 256k", "-c", "flush", "-c", "sigraise 9", image])
            let before = try ImageBytes(image).bytes
            let daemon = try await scratch.daemon(.init(image: image, writable: false))
            try await scratch.io(["read -P 5 0 256k"], daemon.uri(), options: ["-r"])
            try await daemon.stop()
            #expect(try ImageBytes(image).bytes == before)
        }
    }

    @Test("an unknown incompatible feature is refused by the name that the image gives it")
    func unknownIncompatible() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try patch(image) {
                $0.setFeature(42, at: incompatible)
                guard let table = $0.position(ofExtension: 0x6803_f857) else { return }
                $0.set(0, at: table + 8, width: 1)
                $0.set(42, at: table + 9, width: 1)
                $0.set("mother of pearl", at: table + 10, padded: 46)
            }
            let text = try await refusal(scratch, .init(image: image))
            #expect(text.contains("Unsupported qcow2 feature(s): mother of pearl"), "\(text)")
        }
    }

    @Test("an unknown incompatible feature without a name is refused by its bit")
    func unnamedIncompatible() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try patch(image) { $0.setFeature(43, at: incompatible) }
            let text = try await refusal(scratch, .init(image: image))
            #expect(text.contains("Unknown incompatible feature: 80000000000"), "\(text)")
        }
    }

    @Test("an unknown compatible feature stays, an unknown autoclear feature goes with the first writable open")
    func unknownOthers() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try patch(image) {
                $0.setFeature(40, at: compatible)
                $0.setFeature(41, at: autoclear)
            }
            let reader = try await scratch.daemon(.init(image: image, writable: false), name: "r")
            try await reader.stop()
            #expect(try ImageBytes(image).hasFeature(41, at: autoclear), "a reader has cleared it")
            let writer = try await scratch.daemon(.init(image: image), name: "w")
            try await scratch.io(["write -P 1 0 1M"], writer.uri())
            try await writer.stop()
            let after = try ImageBytes(image)
            #expect(after.hasFeature(40, at: compatible))
            #expect(!after.hasFeature(41, at: autoclear))
            try await scratch.expectClean(image)
        }
    }

    @Test("a header extension that we do not know is still there after a resize")
    func unknownExtension() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "cluster_size=4096", "1M")
            let content = Array("as it was, to the byte".utf8)
            try patch(image) { $0.insertExtension(type: 0x6e61_6372, content: content) }
            let daemon = try await scratch.daemon(.init(image: image))
            try await daemon.resize(to: 16_777_216)
            try await scratch.io(["write -P 1 15M 1M"], daemon.uri())
            try await daemon.stop()
            let after = try ImageBytes(image)
            let at = try #require(after.position(ofExtension: 0x6e61_6372))
            #expect(after.number(at: at + 4, width: 4) == UInt64(content.count))
            #expect(Array(after.bytes[at + 8..<at + 8 + content.count]) == content)
            try await scratch.expectClean(image)
        }
    }

    @Test("a disk that grows past its L1 table gets a larger one", arguments: [512, 4096])
    func growsL1(clusterSize: Int) async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "cluster_size=\(clusterSize)", "1M")
            try await scratch.io(["write -P 3 0 1M"], image, format: "qcow2")
            let daemon = try await scratch.daemon(.init(image: image))
            try await daemon.resize(to: 134_217_728)
            try await scratch.io(
                ["length", "write -P 4 127M 1M", "read -P 3 0 1M", "read -P 0 1M 126M", "read -P 4 127M 1M"],
                daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(image)
            let info = try await scratch.json(["qemu-img", "info", "--output=json", image])
            #expect(info["virtual-size"] == 134_217_728)
            try await scratch.io(["read -P 3 0 1M", "read -P 0 1M 126M", "read -P 4 127M 1M"], image, format: "qcow2")
        }
    }

    @Test("a disk that shrinks loses its end, and is clean")
    func shrinks() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "cluster_size=4096", "4M")
            try await scratch.io(["write -P 3 0 4M"], image, format: "qcow2")
            let daemon = try await scratch.daemon(.init(image: image))
            try await daemon.resize(to: 1_048_576)
            try await daemon.resize(to: 4_194_304)
            try await scratch.io(["read -P 3 0 1M", "read -P 0 1M 3M"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.io(["read -P 3 0 1M", "read -P 0 1M 3M"], image, format: "qcow2")
        }
    }

    @Test("a file that outgrows its refcount table gets a larger one")
    func growsRefcountTable() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "cluster_size=512,refcount_bits=64", "8M")
            let before = try ImageBytes(image).number(at: 56, width: 4)
            let daemon = try await scratch.daemon(.init(image: image))
            try await scratch.io((0..<6).map { "write -P \($0 + 1) \($0)M 1M" }, daemon.uri())
            try await daemon.stop()
            #expect(try ImageBytes(image).number(at: 56, width: 4) > before)
            try await scratch.expectClean(image)
            try await scratch.io((0..<6).map { "read -P \($0 + 1) \($0)M 1M" }, image, format: "qcow2")
        }
    }

    @Test("an image that is marked corrupt is served read-only, and refused for writing")
    func corruptBit() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try await scratch.io(["write -P 9 0 64k"], image, format: "qcow2")
            try patch(image) { $0.setFeature(1, at: incompatible) }
            let text = try await refusal(scratch, .init(image: image))
            #expect(text.contains("Image is corrupt; cannot be opened read/write"), "\(text)")
            let daemon = try await scratch.daemon(.init(image: image, writable: false), name: "r")
            try await scratch.io(["read -P 9 0 64k"], daemon.uri(), options: ["-r"])
            try await daemon.stop()
        }
    }

    @Test("a table entry that points astray fails that read, marks the image and is told on the monitor")
    func corruptEntry() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try await scratch.io(["write -P 9 0 64k", "write -P 8 1M 64k"], image, format: "qcow2")
            try patch(image) { $0.set(0x8000_0000_0005_0200, at: $0.firstL2Offset, width: 8) }
            let daemon = try await scratch.daemon(.init(image: image))
            let monitor = try await daemon.monitor()
            let read = try await scratch.run(["qemu-io", "-f", "raw", "-c", "read 0 64k", daemon.uri()])
            #expect(read.status == 1 && (read.out + read.err).contains("Input/output error"), "\(read.out) \(read.err)")
            let event = try await monitor.event("BLOCK_IMAGE_CORRUPTED")
            #expect(event?["data"]?["fatal"] == true, "\(String(describing: event))")
            #expect(event?["data"]?["node-name"] == "disk")
            try await daemon.stop()
            #expect(try ImageBytes(image).hasFeature(1, at: incompatible))
        }
    }

    @Test("R76: a write that would land on the image's own tables is refused, and the tables stay as they were")
    func overlap() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "")
            try await scratch.io(["write -P 9 0 64k"], image, format: "qcow2")
            // The guest's first cluster now claims to be where the refcount table is.
            try patch(image) { $0.set(0x8000_0000_0001_0000, at: $0.firstL2Offset, width: 8) }
            let before = try ImageBytes(image).bytes[65536..<131072]
            let daemon = try await scratch.daemon(.init(image: image))
            let monitor = try await daemon.monitor()
            let write = try await scratch.run(["qemu-io", "-f", "raw", "-c", "write -P 1 0 64k", daemon.uri()])
            #expect(write.status == 1, "\(write.out)")
            #expect(try await monitor.event("BLOCK_IMAGE_CORRUPTED") != nil)
            try await daemon.stop()
            #expect(try ImageBytes(image).bytes[65536..<131072] == before)
        }
    }

    @Test("a raw data file that we wrote reads as the disk without us, and QEMU agrees on map, check and info")
    func rawDataFile() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "data_file=disk.data,data_file_raw=on", "4M")
            let daemon = try await scratch.daemon(.init(image: image, formatOptions: ["discard=unmap"]))
            try await scratch.io(
                [
                    "write -P 1 0 1M", "write -P 2 2000k 5k", "write -z 64k 64k", "write -z -u 200k 100k",
                    "discard 512k 64k", "read -P 0 64k 64k", "read -P 0 200k 100k",
                ], daemon.uri())
            try await daemon.resize(to: 6_291_456)
            try await scratch.io(["write -P 3 5M 64k"], daemon.uri())
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.expectSame(image, "qcow2", scratch.file("disk.data"))
            for words in [["map", "--output=json"], ["check", "--output=json"]] {
                let ours = try await scratch.json(Subject.img + words + ["disk.qcow2"])
                #expect(try await scratch.json(["qemu-img"] + words + ["disk.qcow2"]) == ours)
            }
            let ours = try await scratch.json(Subject.img + ["info", "--output=json", "disk.qcow2"])
            let theirs = try await scratch.json(["qemu-img", "info", "--output=json", "disk.qcow2"])
            // We open the one file that was named.
            #expect(ours.without(["actual-size"]) == theirs.without(["actual-size"]))
        }
    }

    @Test("a data file is a node of the graph: given by the user, or named by the image where that is allowed")
    func dataFileNode() async throws {
        try await Scratch.use { scratch in
            let image = try await create(scratch, "data_file=disk.data", "4M")
            try await scratch.io(["write -P 1 1M 64k"], image, format: "qcow2")
            try await scratch.ok("mv", scratch.file("disk.data"), scratch.file("moved.data"))
            let setting = Daemon.Setting(
                image: image,
                formatOptions: ["data-file.driver=file", "data-file.filename=\(scratch.file("moved.data"))"])
            let daemon = try await scratch.daemon(setting)
            try await scratch.io(["read -P 1 1M 64k", "write -P 2 2M 64k"], daemon.uri())
            let monitor = try await daemon.monitor()
            let info = try await monitor.execute("query-named-block-nodes")
            let disk = info.items.first { $0["node-name"] == "disk" }
            #expect(disk?["image"]?["format-specific"]?["data"]?["data-file"] == "disk.data")
            try await daemon.stop()
            try await scratch.ok("mv", scratch.file("moved.data"), scratch.file("disk.data"))
            try await scratch.expectClean(image)
            try await scratch.io(["read -P 1 1M 64k", "read -P 2 2M 64k"], image, format: "qcow2")
        }
    }

    @Test(
        "what we do not do yet is refused with a clear error", .onlyNacre,
        arguments: [
            ("encrypt.format=luks,encrypt.key-secret=s", "encrypt")
        ])
    func notYet(options: String, word: String) async throws {
        try await Scratch.use { scratch in
            let image = scratch.file("disk.qcow2")
            let create = [
                "qemu-img", "create", "-q", "--object", "secret,id=s,data=abc", "-f", "qcow2", "-o", options, image,
                "4M",
            ]
            // To derive a key qemu-img first measures its CPU time, and on a busy host sometimes gives that up.
            for _ in 1...10 where try await scratch.run(create).status == 0 { break }
            let text = try await refusal(scratch, .init(image: image))
            #expect(text.lowercased().contains(word.lowercased()), "\(text)")
        }
    }
}
