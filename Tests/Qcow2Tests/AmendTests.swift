import Block
import BlockTestKit
import Bytes
import DirtyMap
import Qcow2
import Testing

@Suite("amend", .enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct AmendTests {
    private func options(_ set: (inout AmendOptions) -> Void) -> AmendOptions {
        var options = AmendOptions()
        set(&options)
        return options
    }

    @Test(
        "refcounts of every width become those of every other, and the image is clean and reads the same",
        arguments: [1, 16, 64], [512, 65536])
    func widths(from: Int, clusterSize: Int) throws {
        let folder = try Folder()
        try folder.image(
            "t.qcow2", size: "512k", options: "cluster_size=\(clusterSize),refcount_bits=\(from)",
            io: ["write -P 1 30k 170k"])
        let was = try folder.guestBytes("t.qcow2")
        let bench = try Bench(folder.read("t.qcow2"))
        for bits in [64, 1, 16, 2, 32, 4, 8] {
            try bench.amend(options { $0.refcountBits = bits })
            #expect(bench.image.header.geometry.refcountBits == UInt32(bits))
            #expect(MiniCheck(bench.disk.contents).isClean)
        }
        try bench.write([9], at: 500_000)
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
        try folder.write(bench.disk.contents, "t.qcow2")
        let kept = ByteRange(at: 0, count: 400_000)
        #expect(try folder.guestBytes("t.qcow2").bytes(kept) == was.bytes(kept))
    }

    @Test("a width without room for a refcount is refused with the cluster that needs it, and nothing has changed")
    func tooNarrow() throws {
        let folder = try Folder()
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=4096", io: ["write -P 1 0 64k"])
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        let theirs = try QemuTool.run(
            "qemu-img", ["amend", "-f", "qcow2", "-o", "refcount_bits=1", "t.qcow2"], in: folder.url)
        let bench = try Bench(folder.read("t.qcow2"))
        let failure = #expect(throws: OpenError.self) { try bench.amend(options { $0.refcountBits = 1 }) }
        #expect("qemu-img: \(failure?.message ?? "")\n" == theirs.text)
        #expect(bench.image.header.refcountOrder == 4)
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test(
        "version 3 becomes 2 and back, over a backing file or none, with a snapshot's zeros kept",
        arguments: [false, true])
    func versions(hasBacking: Bool) throws {
        let folder = try Folder()
        var base = SparseBytes(length: 1 << 20)
        base.write([UInt8](repeating: 0xbb, count: 1 << 20).byteSpan, at: 0)
        try folder.write(base, "base.raw")
        try folder.image(
            "t.qcow2", size: "1M", options: "cluster_size=4096,lazy_refcounts=on",
            arguments: hasBacking ? ["-b", "base.raw", "-F", "raw"] : [],
            io: ["write -P 1 0 256k", "write -z 64k 64k", "write -z -u 300k 64k"])
        try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "s", "t.qcow2"], in: folder.url)
        try folder.io("t.qcow2", ["write -P 2 80k 16k", "write -z 128k 16k"])
        let (now, was) = (try folder.guestBytes("t.qcow2"), try folder.guestBytes("t.qcow2", snapshot: "s"))
        let bench = try Bench(folder.read("t.qcow2"), backing: hasBacking ? base : nil)
        for version: CreateOptions.Version in [.v2, .v3, .v2] {
            try bench.amend(
                options {
                    $0.version = version
                    $0.lazyRefcounts = version == .v3
                })
            #expect(bench.image.header.version == UInt32(version.rawValue))
            #expect(bench.image.header.compatible.contains(.lazyRefcounts) == (version == .v3))
            try folder.write(bench.disk.contents, "t.qcow2")
            #expect(try folder.check(bench.disk.contents).status == 0)
            #expect(try folder.guestBytes("t.qcow2").array == now.array)
            #expect(try folder.guestBytes("t.qcow2", snapshot: "s").array == was.array)
            if version == .v2 { #expect(MiniCheck(bench.disk.contents).zeros.isEmpty) }
        }
        #expect(bench.image.header.backingFile == (hasBacking ? "base.raw" : nil))
        try bench.close()
    }

    @Test("a long backing name has a place of its own before the header's first sector names it")
    func longName() throws {
        let folder = try Folder()
        let name = String(repeating: "./", count: 450) + "base.raw"
        let base = SparseBytes(length: 1 << 20)
        try folder.write(base, "base.raw")
        try folder.image(
            "t.qcow2", size: "1M", options: "compat=0.10", arguments: ["-u", "-b", name, "-F", "raw"])
        let bench = try Bench(folder.read("t.qcow2"), backing: base)
        var crashed: [SparseBytes] = []
        bench.disk.onEvent = { [disk = bench.disk] _ in crashed += disk.crashImages(3, seed: UInt64(crashed.count)) }
        try bench.amend(options { $0.version = .v3 })
        bench.disk.onEvent = nil
        #expect(bench.image.header.backingFile == name && bench.image.header.backingFormat == "raw")
        // Whatever the header says after a crash, the name that it points to is there.
        var versions: Set<UInt32> = []
        for contents in crashed {
            let again = try Bench(contents, backing: base)
            versions.insert(again.image.header.version)
            #expect(again.image.header.backingFile == name)
            try again.close()
        }
        #expect(versions == [2, 3])
        try bench.close()
        #expect(try folder.check(bench.disk.contents).status == 0)
    }

    @Test("a full disk is no error of a header that is in force: where it has no room for feature names, it has none")
    func fullDiskAtNames() throws {
        let (refused, nameless) = try [150, 450].map { try upgradeFullDisk(name: $0) }.reduce((0, 0)) {
            ($0.0 + $1.0, $0.1 + $1.1)
        }
        #expect(refused > 0 && nameless > 0, "\(refused) \(nameless)")
    }

    /// How often a full disk refused the upgrade of an image with a long name, and how often it kept names of features out.
    private func upgradeFullDisk(name count: Int) throws -> (refused: Int, nameless: Int) {
        let folder = try Folder()
        let name = String(repeating: "./", count: count) + "base.raw"
        let base = SparseBytes(length: 1 << 20)
        try folder.write(base, "base.raw")
        try folder.image(
            "t.qcow2", size: "1M", options: "compat=0.10", arguments: ["-u", "-b", name, "-F", "raw"])
        let start = try folder.read("t.qcow2")
        var (refused, nameless) = (0, 0)
        for nth in 0..<20 {
            let bench = try Bench(start, backing: base)
            let fault = Fault(
                [.write], nth: nth, forever: true, error: .noSpace, range: ByteRange(at: 512, count: 65024),
                effect: .short)
            bench.disk.faults.add(fault)
            var failure: (any Error)?
            do { try bench.context.complete { [image = bench.image] in try await image.amend(.upgrade) } } catch {
                failure = error
            }
            let fired = bench.disk.faults.fired > 0
            bench.disk.faults.clear()
            let header = try Header.decode(bench.disk.durable.bytes(ByteRange(at: 0, count: 65536)).rawBytes)
            #expect(bench.fences.isEmpty)
            #expect(header.version == (failure == nil ? 3 : 2) && bench.image.header.version == header.version)
            #expect(header.backingFile == name)
            if failure != nil { refused += 1 } else if fired { nameless += 1 }
            if failure == nil { #expect(header.featureNames.isEmpty == fired) }
            if !fired { break }
        }
        return (refused, nameless)
    }

    @Test("what is left of bitmaps in the header, and means nothing, does not keep an image from becoming version 2")
    func removedBitmaps() throws {
        var header = Header(version: 3, clusterBits: 16, size: 1 << 20, refcountOrder: 4)
        header.extensions.append(.other(type: 0x2385_2875, data: [UInt8](repeating: 1, count: 24)))
        let version2 = options { $0.version = .v2 }
        #expect(try version2.steps(for: header, []) == [.downgrade])
        header.autoclear.insert(.bitmaps)
        #expect(throws: OpenError.self) { try version2.steps(for: header, []) }
        let bench = try Bench(FailureTests.create(size: 1 << 20, clusterSize: 4096))
        bench.image.bitmaps.add(
            try DirtyBitmap.make(
                "b", granularity: 4096, length: 1 << 20, isEnabled: true, isPersistent: true, beside: [],
                memory: bench.image.bitmaps.memory))
        try bench.reopen()
        try bench.context.complete { [image = bench.image] in try await image.removeStoredBitmap("b") }
        bench.image.bitmaps.remove(try bench.image.bitmaps.all.named("b"))
        try bench.amend(version2)
        let check = MiniCheck(bench.disk.contents)
        #expect(bench.image.header.version == 2 && check.isClean, "\(check.errors)")
        #expect(bench.image.header.extensions.isEmpty)
        try bench.close()
    }

    @Test("what cannot be is refused in QEMU's words, before anything else is done")
    func refusals() throws {
        let header = Header(version: 3, clusterBits: 16, size: 1 << 20, refcountOrder: 4)
        func refusal(_ header: Header, _ snapshots: [Snapshot] = [], _ set: (inout AmendOptions) -> Void) -> String? {
            do throws(OpenError) {
                _ = try options(set).steps(for: header, snapshots)
                return nil
            } catch { return error.message }
        }
        #expect(
            refusal(header) { $0.refcountBits = 3 }
                == "Refcount width must be a power of two and may not exceed 64 bits")
        #expect(
            refusal(header) { ($0.version, $0.refcountBits) = (.v2, 8) }
                == "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)"
        )
        #expect(
            refusal(header) { ($0.version, $0.lazyRefcounts) = (.v2, true) }
                == "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
        #expect(
            refusal(header) { $0.backingFile = "x" }
                == "Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.")
        #expect(
            refusal(header) { $0.dataFile = "x" }
                == "data-file can only be set for images that use an external data file")
        #expect(refusal(header) { $0.dataFileIsRaw = true } == "data-file-raw cannot be set on existing images")
        var wide = header
        wide.refcountOrder = 6
        #expect(refusal(wide) { $0.version = .v2 } == "compat=0.10 requires refcount_bits=16")
        var zstd = header
        zstd.incompatible = .compressionType
        #expect(
            refusal(zstd) { $0.version = .v2 } == "Cannot downgrade an image with incompatible features 0x8 set")
        #expect(refusal(header) { $0.version = .v3 } == nil)
        #expect(
            try options { ($0.version, $0.refcountBits) = (.v2, 16) }.steps(for: wide, []) == [
                .refcountBits(16), .downgrade,
            ])
    }
}

extension Bench {
    /// Amends step by step, each on an image that was opened anew.
    fileprivate func amend(_ options: AmendOptions) throws {
        for step in try options.steps(for: image.header, image.snapshots) {
            let failure: OpenError? = try context.complete { [image] in
                do throws(OpenError) {
                    try await image.amend(step)
                    return nil
                } catch { return error }
            }
            if let failure { throw failure }
            try reopen()
        }
    }
}
