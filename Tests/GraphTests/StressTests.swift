import Block
import BlockTestKit
import Bytes
import Graph
import Qcow2
import Testing

/// The graph changes under clients whose requests take time; a model of the disk says what they must read.
@Suite("changes under load")
struct StressTests {
    static let size: UInt64 = 256 << 10
    static let clients = 4
    static let region = size / UInt64(clients)

    /// What one run has, shared by its clients.
    final class Run {
        let bench: GraphBench
        let seed: UInt64
        var model = DiskModel(length: StressTests.size)
        var disks: [String: SimDisk] = [:]
        var running = StressTests.clients
        let ended = WaitQueue()

        init(_ seed: UInt64) {
            self.seed = seed
            bench = GraphBench(.qemu)
        }

        /// A new image on a disk of its own, which answers after a while.
        func addImage(_ name: String, backing: String?) async throws {
            let disk = SimDisk(
                bench.context, SimDisk.Options(seed: seed &+ UInt64(disks.count), latencyNs: 1_000...60_000))
            disks[name] = disk
            var options = CreateOptions(size: StressTests.size)
            options.clusterSize = 4096
            options.backingFile = backing
            options.backingFormat = backing == nil ? nil : "qcow2"
            try await Qcow2Create.create(on: disk, options)
            bench.host.add(name, disk)
        }
    }

    /// One client, which has a region of the disk for itself.
    private func client(_ index: Int, _ run: Run, _ root: BlockRoot) async throws {
        var random = SeededRandom(seed: run.seed &* 31 &+ UInt64(index))
        let start = UInt64(index) * Self.region
        for _ in 0..<150 {
            let at = start + random.below(Self.region - 9000)
            let count = 1 + Int(random.below(9000))
            let range = ByteRange(at: at, count: UInt64(count))
            switch random.below(10) {
            case 0...4:
                let bytes = random.bytes(count)
                run.model.write(bytes, at: at)
                try await root.write(bytes, at: at, flags: random.chance(10) ? .fua : [])
            case 5:
                run.model.zero(range)
                try await root.zero(range, flags: random.chance(50) ? .mayUnmap : [])
            case 6: try await root.flush()
            default:
                let bytes = try await root.bytes(at: at, count: count)
                if let mismatch = run.model.mismatch(bytes, at: at) { throw mismatch }
            }
        }
    }

    /// Snapshots, reopens and failing changes, until the clients have ended.
    private func change(_ run: Run) async throws {
        var random = SeededRandom(seed: run.seed &+ 77)
        let graph = run.bench.graph
        var top = 0
        while run.running > 0, top < 8 {
            await run.bench.context.sleep(ms: random.below(4))
            let name = "n\(top)"
            var options = Qcow2Options(
                file: .options(Make.file("\(top)")),
                backing: top == 0 ? nil : .child(.node("n\(top - 1)")))
            switch random.below(4) {
            case 0:
                options.cacheSize = 65536 << random.below(4)
                try await graph.reopen([NodeOptions(.qcow2(options), nodeName: name)])
            case 1:
                let text = await run.bench.failure {
                    try await graph.reopen([NodeOptions(.qcow2(options), nodeName: name, common: .readOnly)])
                }
                #expect(text == "Read-only block node '\(name)' cannot support read-write users")
            default:
                top += 1
                try await run.addImage("\(top)", backing: "\(top - 1)")
                try await graph.add(Make.qcow2("n\(top)", "\(top)", backing: BackingReference.none))
                try await graph.snapshot(node: name, overlay: "n\(top)")
            }
        }
        while run.running > 0 { await run.ended.wait() }
    }

    @Test(
        "clients read what they wrote, and every image of the chain is clean", arguments: 1...12 as ClosedRange<UInt64>)
    func underLoad(seed: UInt64) throws {
        let run = Run(seed)
        try run.bench.run {
            try await run.addImage("0", backing: nil)
            try await run.bench.graph.add(Make.qcow2("n0", "0"))
            let root = try await run.bench.attach("n0")
            for index in 0..<Self.clients {
                run.bench.context.spawn {
                    do { try await self.client(index, run, root) } catch {
                        Issue.record("seed \(seed), client \(index): \(error)")
                    }
                    run.running -= 1
                    run.ended.wakeAll()
                }
            }
            try await change(run)
            let bytes = try await root.bytes(at: 0, count: Int(Self.size))
            #expect(run.model.mismatch(bytes, at: 0) == nil, "seed \(seed)")
        }
        for (name, disk) in run.disks {
            let check = MiniCheck(disk.durable)
            #expect(check.isClean, "seed \(seed), image \(name): \(check.errors) \(check.leaks) leaks")
        }
        // Opened again from its files alone, the chain reads the same.
        let last = try #require(run.disks.keys.compactMap { Int($0) }.max())
        try run.bench.run {
            try await run.bench.graph.add(Make.qcow2("again", "\(last)", .readOnly))
            let root = try await run.bench.attach("again", writable: false)
            let bytes = try await root.bytes(at: 0, count: Int(Self.size))
            #expect(run.model.mismatch(bytes, at: 0) == nil, "seed \(seed)")
        }
    }
}
