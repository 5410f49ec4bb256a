import Block
import BlockTestKit
import Bytes
import DirtyMap
import Graph
import Image
import Qcow2
import Testing

/// R04, R42: every I/O of every command fails once, and from then on. A command ends well exactly when what it did and said is
/// whole.
@Suite("commands whose I/O fails")
struct FaultTests {
    /// How a command ended: its exit code, or nil where it threw (exit code 1).
    fileprivate typealias Command = (Bench) throws -> Int32?

    private static let modes: [(BlockError, forever: Bool, Fault.Effect)] = [
        (.io, false, .nothing), (.io, true, .torn), (.noSpace, false, .short), (.noSpace, true, .nothing),
        (.io, false, .whole), (.io, false, .torn), (.noSpace, true, .short),
    ]

    /// A chain of two with data in both, an image with a leak, and one whose dirty bit is set.
    fileprivate static func bench() throws -> Bench {
        let bench = Bench()
        try bench.create("base.qcow2", options: "cluster_size=4096", size: "256K")
        try bench.write("base.qcow2", [(0, 9000), (100_000, 5000)])
        try bench.create("top.qcow2", options: "cluster_size=4096", backing: "base.qcow2", backingFormat: "qcow2")
        try bench.write("top.qcow2", [(4096, 4096), (200_000, 100)])
        var leaking = bench.files["top.qcow2"]
        let cluster = leaking.count / 4096
        leaking += [UInt8](repeating: 0, count: 4096)
        let block = leaking[48..<56].reduce(0) { $0 << 8 | Int($1) }
        let first = leaking[block..<block + 8].reduce(0) { $0 << 8 | Int($1) }
        leaking[first + cluster * 2 + 1] = 1
        bench.files["leak.qcow2"] = leaking
        leaking[79] |= 1
        bench.files["dirty.qcow2"] = leaking
        return bench
    }

    /// Fails each I/O of a command in turn; `isWhole` says whether what it left is what it leaves without a failure.
    fileprivate func sweep(
        _ name: String, reads: [String], on make: () throws -> Bench = Self.bench,
        _ command: Command,
        isWhole: (Bench) -> Bool = { _ in true }
    ) throws {
        let good = try make()
        let sources = reads.map { good.files[$0] }
        let before = good.files.faults.seen
        let code = try command(good)
        let (count, said) = (good.files.faults.seen - before, good.said)
        #expect(count > 0 && isWhole(good), "\(name)")
        for (error, forever, effect) in Self.modes {
            for nth in 0..<count {
                let bench = try make()
                bench.files.faults.add(
                    Fault(Set(RequestKind.allCases), nth: nth, forever: forever, error: error, effect: effect))
                var found: Int32?
                do { found = try command(bench) } catch { found = nil }
                let isComplete = found == code && bench.said == said && isWhole(bench)
                let what: Comment =
                    "\(name): I/O \(nth) of \(count) fails with \(error), forever \(forever), \(effect) done"
                // A check says with 1 that it could not look everywhere.
                #expect(isComplete || found == nil || found == 1, what)
                // What a failed write or flush made is not whole, even where all its bytes happen to be there.
                let changes = bench.files.faults.firedKinds.subtracting([.read, .status])
                if changes.isEmpty, bench.said == said, isWhole(bench) { #expect(found == code, what) }
                #expect(bench.files.openNow == 0, what)
                for (path, bytes) in zip(reads, sources) { #expect(bench.files[path] == bytes, what) }
            }
        }
    }

    @Test("R42: info, of one image and of a chain")
    func info() throws {
        for chain in [false, true] {
            try sweep("info", reads: ["top.qcow2", "base.qcow2"]) { bench in
                try bench.run {
                    try await $0.info(ImageReference("top.qcow2", format: nil), form: .human, chain: chain)
                }
                return 0
            }
        }
    }

    @Test("R42: map")
    func map() throws {
        try sweep("map", reads: ["top.qcow2", "base.qcow2"]) { bench in
            try bench.run {
                try await $0.map(ImageReference("top.qcow2", format: nil), form: .json, start: 0, count: nil)
            }
            return 0
        }
    }

    @Test("R42: check")
    func check() throws {
        for path in ["top.qcow2", "leak.qcow2"] {
            try sweep("check", reads: ["top.qcow2", "base.qcow2", "leak.qcow2"]) { try Self.check($0, path, .none) }
        }
    }

    private static func check(_ bench: Bench, _ path: String, _ repair: ImageTool.Repair) throws -> Int32 {
        try bench.run {
            try await $0.check(ImageReference(path, format: "qcow2"), form: .human, repair: repair, quiet: false)
        }
    }

    @Test(
        "R42, R82: check that repairs: what a failure leaves is repaired by the next run",
        arguments: ["leak.qcow2", "dirty.qcow2"])
    func repair(path: String) throws {
        try sweep("check -r all", reads: ["top.qcow2", "base.qcow2"]) { bench in
            let code = try Self.check(bench, path, .all)
            return code
        } isWhole: {
            MiniCheck(SparseBytes($0.files[path])).isClean
        }
        for nth in 0..<40 {
            let bench = try Self.bench()
            bench.files.faults.add(Fault(Set(RequestKind.allCases), nth: nth, forever: true, error: .io))
            _ = try? Self.check(bench, path, .all)
            bench.files.faults.clear()
            #expect(MiniCheck(SparseBytes(bench.files[path])).errors.isEmpty, "I/O \(nth)")
            #expect(try Self.check(bench, path, .all) == 0, "I/O \(nth)")
        }
    }

    /// An image with two bitmaps, each with changes of its own.
    private static func marked() throws -> Bench {
        let bench = Bench()
        try bench.create("bits.qcow2", options: "cluster_size=4096", size: "256K")
        for (name, offset) in [("a", 0), ("other", 100_000)] as [(String, UInt64)] {
            try bitmap(bench, name, [.add])
            try bench.run { [files = bench.files] _ in
                let file = try await files.open(FileSpec(filename: "bits.qcow2"))
                let image = try await Qcow2Image.open(file: file, options: Options())
                try image.bitmaps.all.named(name).map?.set(ByteRange(at: offset, count: 5000))
                try await image.close()
                await file.close()
            }
        }
        return bench
    }

    private static func bitmap(_ bench: Bench, _ name: String, _ commands: [BitmapCommand]) throws {
        try bench.run {
            try await $0.bitmap(
                BitmapRequest(
                    image: ImageReference("bits.qcow2", format: "qcow2"), name: name, commands: commands,
                    granularity: nil, source: nil))
        }
    }

    private static func bitmaps(_ bench: Bench) -> [MiniCheck.Bitmap] {
        MiniCheck(SparseBytes(bench.files["bits.qcow2"])).bitmaps
    }

    @Test(
        "R42, R80: bitmap: a failure is told, the disk is sound, and a bitmap that is consistent is the old one or the new one",
        arguments: [("new", .add), ("a", .remove), ("a", .clear), ("a", .disable), ("a", .merge("other"))]
            as [(String, BitmapCommand)])
    func bitmap(name: String, command: BitmapCommand) throws {
        let good = try Self.marked()
        let before = Self.bitmaps(good)
        try Self.bitmap(good, name, [command])
        let after = Self.bitmaps(good)
        #expect(before != after)
        try sweep("bitmap \(command)", reads: [], on: Self.marked) {
            try Self.bitmap($0, name, [command])
            return 0
        } isWhole: { bench in
            let check = MiniCheck(SparseBytes(bench.files["bits.qcow2"]))
            #expect(check.errors.isEmpty, "\(check.errors)")
            for found in check.bitmaps where !found.isInUse { #expect(before.contains(found) || after.contains(found)) }
            return check.bitmaps == after
        }
    }

    @Test("R42: create: a file that could not be made whole goes again, the backing file stays as it was")
    func create() throws {
        for (options, backing) in [(nil, nil), ("preallocation=metadata", nil), (nil, "base.qcow2")]
            as [(String?, String?)]
        {
            try sweep("create", reads: ["base.qcow2"]) { bench in
                try bench.create(
                    "new.qcow2", options: options, backing: backing, backingFormat: backing.map { _ in "qcow2" },
                    size: backing == nil ? "1M" : nil)
                return 0
            } isWhole: {
                MiniCheck(SparseBytes($0.files["new.qcow2"])).isClean
            }
        }
        let bench = try Self.bench()
        bench.files.faults.add(Fault(Set(RequestKind.allCases), nth: 3, forever: true, error: .noSpace))
        #expect(throws: (any Error).self) { try bench.create("new.qcow2", size: "1M") }
        #expect(!bench.files.holds("new.qcow2"))
    }

    @Test("R42: rebase: the new backing file is named where all that is needed was copied, and not before")
    func rebase() throws {
        for backing in ["", "leak.qcow2"] {
            try sweep("rebase", reads: ["base.qcow2", "leak.qcow2"]) { bench in
                let request = RebaseRequest(
                    image: ImageReference("top.qcow2", format: "qcow2"), backingFile: backing,
                    backingFormat: backing.isEmpty ? nil : "qcow2")
                try bench.run { try await $0.rebase(request) }
                return 0
            } isWhole: {
                let check = MiniCheck(SparseBytes($0.files["top.qcow2"]))
                return check.isClean && $0.backingName("top.qcow2") == backing
            }
        }
    }

    @Test("R42: commit: the image is emptied where the base has it all, and not before")
    func commit() throws {
        try sweep("commit", reads: ["leak.qcow2"]) { bench in
            try bench.run { try await $0.commit(CommitRequest(image: ImageReference("top.qcow2", format: "qcow2"))) }
            return 0
        } isWhole: {
            let (top, base) = (
                MiniCheck(SparseBytes($0.files["top.qcow2"])), MiniCheck(SparseBytes($0.files["base.qcow2"]))
            )
            return top.isClean && base.isClean && top.mapped.isEmpty && base.mapped.count == 6
        }
    }
}

extension FaultTests {
    @Test(
        "R42: convert: a target that is not whole is not there, the source stays as it was", arguments: [false, true])
    func convert(isCompressed: Bool) throws {
        try sweep("convert", reads: ["top.qcow2", "base.qcow2"]) { bench in
            var request = ConvertRequest(sources: ["top.qcow2"], target: "new.qcow2")
            (request.format, request.targetFormat) = ("qcow2", "qcow2")
            request.options = OptionList("cluster_size=4096")
            request.isCompressed = isCompressed
            request.workers = 3
            let asked = request
            do { try bench.run { try await $0.convert(asked) } } catch {
                #expect(!bench.files.holds("new.qcow2") && bench.files.unnamed == 0)
                throw error
            }
            return 0
        } isWhole: {
            MiniCheck(SparseBytes($0.files["new.qcow2"])).isClean
        }
    }

    @Test("R42: compare, measure and dd")
    func others() throws {
        try sweep("compare", reads: ["top.qcow2", "base.qcow2"]) { bench in
            let code = try bench.run { try await $0.compare(CompareRequest("top.qcow2", "leak.qcow2")) }
            return code
        }
        try sweep("measure", reads: ["top.qcow2", "base.qcow2"]) { bench in
            let request = try MeasureRequest(
                operands: ["top.qcow2"], format: "qcow2", size: nil, targetFormat: "qcow2", options: OptionList(),
                snapshot: nil, forceShare: false)
            try bench.run { try await $0.measure(request, form: .human) }
            return 0
        }
        try sweep("dd", reads: ["top.qcow2", "base.qcow2"]) { bench in
            var request = try CopyBlocksRequest(["bs=64k", "if=top.qcow2", "of=new.raw"])
            request.format = "qcow2"
            let asked = request
            try bench.run { try await $0.copyBlocks(asked) }
            return 0
        } isWhole: {
            $0.files["new.raw"].count == 256 << 10
        }
    }
}
