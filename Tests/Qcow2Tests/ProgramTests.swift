import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// Random programs of several clients on images of every shape; QEMU judges what is left.
@Suite(.enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct ProgramTests {
    struct Shape: CustomStringConvertible, Sendable {
        var options: String
        var hasBacking = false
        var compresses = false
        var hasSnapshot = false
        var size: UInt64 = 1 << 20

        var description: String {
            options + (hasBacking ? " backing" : "") + (compresses ? " compressed" : "")
                + (hasSnapshot ? " snapshot" : "")
        }
    }

    static let shapes: [Shape] = allShapes.filter { _ in true }
    static let allShapes: [Shape] = [
        Shape(options: "cluster_size=512,refcount_bits=1"),
        Shape(options: "cluster_size=512,refcount_bits=64"),
        Shape(options: "cluster_size=512,refcount_bits=2", hasBacking: true),
        Shape(options: "cluster_size=1024,refcount_bits=4", compresses: true),
        Shape(options: "cluster_size=4096,refcount_bits=8", hasBacking: true, compresses: true),
        Shape(options: "cluster_size=4096,refcount_bits=16", hasSnapshot: true),
        Shape(options: "cluster_size=4096,refcount_bits=32", hasBacking: true, compresses: true, hasSnapshot: true),
        Shape(options: "cluster_size=65536,refcount_bits=16", size: 4 << 20),
        Shape(options: "cluster_size=65536,compression_type=zstd", hasBacking: true, compresses: true, size: 4 << 20),
        Shape(options: "cluster_size=65536,lazy_refcounts=on", hasBacking: true, hasSnapshot: true, size: 4 << 20),
        Shape(options: "cluster_size=2097152", size: 9 << 20),
        Shape(options: "compat=0.10,cluster_size=4096", hasBacking: true),
        Shape(options: "compat=0.10,cluster_size=65536", compresses: true, hasSnapshot: true, size: 4 << 20),
        Shape(options: "preallocation=metadata,cluster_size=4096"),
        Shape(options: "extended_l2=on,cluster_size=16384", size: 4 << 20),
        Shape(options: "extended_l2=on,cluster_size=65536", hasBacking: true, hasSnapshot: true, size: 4 << 20),
        Shape(options: "extended_l2=on,cluster_size=16384", compresses: true, size: 4 << 20),
    ]

    /// Makes the image of a shape, with the model of what it reads as.
    static func make(_ shape: Shape, in folder: Folder, seed: UInt64) throws -> (SparseBytes, SparseBytes?, DiskModel) {
        var random = SeededRandom(seed: seed)
        var base = SparseBytes(length: shape.size - 8192)
        if shape.hasBacking || shape.compresses {
            for _ in 0..<40 {
                let count = 512 * (1 + random.below(20))
                let offset = random.below(base.length - UInt64(count)) & ~511
                let pattern = UInt8(truncatingIfNeeded: 1 + random.below(255 as UInt64))
                let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 64) ^ pattern }
                base.write(bytes.byteSpan, at: offset)
            }
            try folder.write(base, "base.raw")
        }
        if shape.compresses {
            try QemuTool.mustRun(
                "qemu-img",
                ["convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o", shape.options, "base.raw", "t.qcow2"],
                in: folder.url)
            if shape.hasBacking {
                try QemuTool.mustRun(
                    "qemu-img", ["rebase", "-u", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "t.qcow2"],
                    in: folder.url)
            }
            try QemuTool.mustRun("qemu-img", ["resize", "-q", "t.qcow2", "\(shape.size)"], in: folder.url)
        } else {
            let arguments = shape.hasBacking ? ["-b", "base.raw", "-F", "raw"] : []
            try folder.image("t.qcow2", size: "\(shape.size)", options: shape.options, arguments: arguments)
        }
        if shape.hasSnapshot {
            try folder.io("t.qcow2", ["write -P 17 8k 100k", "write -P 18 300k 64k"])
            try QemuTool.mustRun("qemu-img", ["snapshot", "-c", "one", "t.qcow2"], in: folder.url)
            try folder.io("t.qcow2", ["write -P 19 16k 20k"])
        }
        let model = DiskModel(try folder.guestBytes("t.qcow2"))
        return (try folder.read("t.qcow2"), shape.hasBacking ? base : nil, model)
    }

    @Test("after any program the image is clean, leak-free and holds what was written", arguments: shapes, [1, 2])
    func program(_ shape: Shape, _ seed: Int) throws {
        let folder = try Folder()
        let (contents, backing, start) = try Self.make(shape, in: folder, seed: UInt64(seed))
        let bench = try Bench(
            contents, seed: UInt64(seed), options: Options(l2CacheSize: 65536, refcountCacheSize: 4096),
            backing: backing)
        let run = Program(bench, model: start, seed: UInt64(seed) &* 77)
        for _ in 0..<3 {
            try run.concurrently(clients: 5, operations: 60)
            try run.verify()
            try bench.reopen(Options(l2CacheSize: 65536, refcountCacheSize: 4096))
            try run.verify()
            let check = try folder.check(bench.disk.contents)
            #expect(check.status == 0, "\(shape) seed \(seed): \(check.text)")
        }
        try bench.close()
        #expect(bench.reports.isEmpty && bench.fences.isEmpty)
        try folder.write(bench.disk.contents, "t.qcow2")
        try run.verify(folder.guestBytes("t.qcow2"))
        if shape.hasSnapshot {
            try QemuTool.mustRun("qemu-img", ["snapshot", "-a", "one", "t.qcow2"], in: folder.url)
            #expect(try QemuTool.run("qemu-img", ["check", "t.qcow2"], in: folder.url).status == 0)
            let old = try folder.guestBytes("t.qcow2").bytes(ByteRange(at: 8192, count: 100 << 10))
            #expect(old.allSatisfy { $0 == 17 })
        }
    }

    @Test("after any crash the image has no errors and opens", arguments: shapes, [11])
    func crash(_ shape: Shape, _ seed: Int) throws {
        let folder = try Folder()
        let (contents, backing, start) = try Self.make(shape, in: folder, seed: UInt64(seed))
        let bench = try Bench(contents, seed: UInt64(seed), backing: backing)
        let run = Program(bench, model: start, seed: UInt64(seed) &* 77)
        for round in 0..<4 {
            var states: [SparseBytes] = []
            try run.concurrently(clients: 4, operations: 25) { count in
                if count % 17 == 3 { states += bench.disk.crashImages(2, seed: UInt64(round * 100 + count)).suffix(1) }
                if count % 23 == 5 { states.append(bench.disk.crashImage(.random(seed: UInt64(count)))) }
            }
            for state in states {
                let check = try folder.check(state)
                #expect(check.status == 0 || check.status == 3, "\(shape) seed \(seed) round \(round): \(check.text)")
                _ = try Bench(state, backing: backing)
            }
        }
    }
}

/// Several clients that change sectors of their own, and a model of what the disk must read as.
final class Program {
    let bench: Bench
    var model: DiskModel
    private var random: SeededRandom

    init(_ bench: Bench, model: DiskModel, seed: UInt64) {
        self.bench = bench
        self.model = model
        random = SeededRandom(seed: seed)
    }

    /// A chunk of 1 to 16 sectors that belongs to this client: chunks of 8 KiB go round among them.
    private func chunk(_ client: Int, of clients: Int) -> ByteRange {
        let chunks = model.length / 8192 / UInt64(clients)
        let base = (random.below(chunks) * UInt64(clients) + UInt64(client)) * 8192
        let first = random.below(16 as UInt64)
        let count = 1 + random.below(16 - first)
        return random.chance(30)
            ? ByteRange(at: base, count: 8192) : ByteRange(at: base + first * 512, count: count * 512)
    }

    func concurrently(clients: Int, operations: Int, _ observe: @escaping (Int) -> Void = { _ in }) throws {
        var done = 0
        var failures: [any Error] = []
        var running = clients
        let bench = self.bench
        try bench.context.complete {
            for client in 0..<clients {
                bench.context.spawn {
                    for _ in 0..<operations {
                        if let failure = await self.outcome(client, clients) { failures.append(failure) }
                        done += 1
                        observe(done)
                    }
                    running -= 1
                }
            }
            while running > 0 { await bench.context.sleep(ms: 1) }
        }
        if let failure = failures.first { throw failure }
    }

    private func outcome(_ client: Int, _ clients: Int) async -> (any Error)? {
        do {
            try await step(client, clients)
            return nil
        } catch { return error }
    }

    private func step(_ client: Int, _ clients: Int) async throws {
        let range = chunk(client, of: clients)
        switch random.below(10) {
        case 0...4:
            let bytes = random.bytes(Int(range.count))
            try await bench.io.write(bytes, at: range.start)
            model.write(bytes, at: range.start)
        case 5:
            try await bench.io.zero(range, flags: [])
            model.zero(range)
        case 6:
            try await bench.io.zero(range, flags: .mayUnmap)
            model.zero(range)
        case 7:
            try await bench.io.discard(range)
            model.discard(range)
        case 8:
            let found = try await bench.io.bytes(at: range.start, count: Int(range.count))
            if let mismatch = model.observe(found, at: range.start) { throw mismatch }
        default:
            if random.chance(40) { try await bench.io.flush() }
        }
    }

    func verify() throws {
        var offset: UInt64 = 0
        while offset < model.length {
            let count = min(model.length - offset, 256 << 10)
            if let mismatch = model.observe(try bench.read(offset, Int(count)), at: offset) { throw mismatch }
            offset += count
        }
    }

    func verify(_ contents: SparseBytes) throws {
        guard contents.length == model.length else { throw BlockError.outOfRange }
        if let mismatch = model.observe(contents.array, at: 0) { throw mismatch }
    }
}
