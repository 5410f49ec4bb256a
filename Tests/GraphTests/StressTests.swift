import Block
import BlockTestKit
import Bytes
import FoundationEssentials
import Graph
import GraphTestKit
import Qcow2
import Testing

/// The graph changes under clients whose requests take time; a model of the disk says what they must read.
@Suite("changes under load")
struct StressTests {
    static let size: UInt64 = 256 << 10
    static let clients = 4

    /// `NACRE_SCHEDULES` runs more of them.
    static let seeds: ClosedRange<UInt64> =
        1...max(
            12, ProcessInfo.processInfo.environment["NACRE_SCHEDULES"].flatMap { UInt64($0) } ?? 0)

    /// What one run has, shared by its clients.
    final class Run {
        let bench: GraphBench
        let seed: UInt64
        var model = DiskModel(length: StressTests.size)
        var disks: [String: SimDisk] = [:]
        /// In half of the runs discards are carried out, in the others they may be left.
        var common: CommonOptions { CommonOptions(discard: seed % 2 == 0 ? .unmap : .ignore) }
        var running = StressTests.clients
        /// The clients' way to the disk; nil while the export is gone.
        var root: BlockRoot?
        let attached = WaitQueue()

        init(_ seed: UInt64) {
            self.seed = seed
            bench = GraphBench(.qemu, seed: seed)
        }

        /// A new image on a disk of its own, which answers after a while.
        func addImage(_ name: String, backing: String?) async throws {
            let disk = SimDisk(
                bench.context, SimDisk.Options(seed: seed &+ UInt64(disks.count), latencyNs: 1_000...60_000))
            disks[name] = disk
            var options = CreateOptions(size: model.length)
            options.clusterSize = 4096
            options.backingFile = backing
            options.backingFormat = backing == nil ? nil : "qcow2"
            try await Qcow2Create.create(on: disk, options)
            disk.audit = OrderAudit(disk)
            bench.host.add(name, disk)
        }

        func attach(_ node: String) async throws {
            root = try await bench.attach(node)
            attached.wakeAll()
        }

        /// Removes the export while requests are under way: they end first.
        func detach() async {
            guard let old = root else { return }
            root = nil
            await bench.graph.detach(old)
        }

        /// Nothing is under way: the disk is what the model says.
        func compare(_ node: String) async throws {
            let root = try await bench.attach(node, writable: false)
            let bytes = try await root.bytes(at: 0, count: Int(root.length))
            #expect(model.length == root.length, "seed \(seed)")
            #expect(model.observe(bytes, at: 0) == nil, "seed \(seed)")
            await bench.graph.detach(root)
        }
    }

    /// One client, which has a part of the disk for itself.
    private func client(_ index: Int, _ run: Run) async throws {
        var random = SeededRandom(seed: run.seed &* 31 &+ UInt64(index))
        for _ in 0..<150 {
            while run.root == nil { await run.attached.wait() }
            guard let root = run.root else { return }
            let region = run.model.length / UInt64(Self.clients)
            let at = UInt64(index) * region + random.below(region - 9000)
            do throws(BlockError) {
                try await request(ByteRange(at: at, count: 1 + random.below(9000)), &random, run, root)
            } catch {
                // The export was removed first.
                guard error == .closed, run.root !== root else { throw error }
            }
        }
    }

    private func request(_ range: ByteRange, _ random: inout SeededRandom, _ run: Run, _ root: BlockRoot)
        async throws(BlockError)
    {
        switch random.below(11) {
        case 0...4:
            let bytes = random.bytes(Int(range.count))
            try await root.write(bytes, at: range.start, flags: random.chance(10) ? .fua : [])
            run.model.write(bytes, at: range.start)
        case 5:
            try await root.zero(range, flags: random.chance(50) ? .mayUnmap : [])
            run.model.zero(range)
        case 6:
            try await root.discard(range)
            run.model.discard(range)
        case 7: try await root.flush()
        default:
            let bytes = try await root.bytes(at: range.start, count: Int(range.count))
            // What a discard left, zeros or what was there, has to stay so once it is seen.
            if let mismatch = run.model.observe(bytes, at: range.start) {
                Issue.record("seed \(run.seed): \(mismatch)")
            }
        }
    }

    /// Snapshots, reopens, removed exports, new sizes and failing changes, until the clients have ended.
    private func change(_ run: Run) async throws {
        var random = SeededRandom(seed: run.seed &+ 77)
        let graph = run.bench.graph
        var top = 0
        while run.running > 0 {
            await run.bench.context.sleep(ms: random.below(4))
            let name = "n\(top)"
            var options = Qcow2Options(
                file: .options(Make.file("\(top)")),
                backing: top == 0 ? nil : .child(.node("n\(top - 1)")))
            switch random.below(6) {
            case 0:
                options.cacheSize = 65536 << random.below(4)
                try await graph.reopen([NodeOptions(.qcow2(options), nodeName: name, common: run.common)])
            case 1:
                let text = await run.bench.failure {
                    try await graph.reopen([NodeOptions(.qcow2(options), nodeName: name, common: .readOnly)])
                }
                #expect(text == "Read-only block node '\(name)' cannot support read-write users")
            case 2:
                let text = await run.bench.failure {
                    try await graph.resize(device: nil, nodeName: name, to: 512)
                }
                #expect(text.hasPrefix("Permission conflict on node '\(name)'"))
                await run.detach()
                if random.chance(60) {
                    let size = Self.size / 2 + (random.below(Self.size) & ~511)
                    try await graph.resize(device: nil, nodeName: name, to: Int64(size))
                    run.model.resize(to: size)
                }
                try await run.compare(name)
                try await run.attach(name)
            default:
                guard top < 8 else { break }
                top += 1
                try await run.addImage("\(top)", backing: "\(top - 1)")
                try await graph.add(Make.qcow2("n\(top)", "\(top)", backing: BackingReference.none, run.common))
                try await graph.snapshot(node: name, overlay: "n\(top)")
            }
        }
        await run.detach()
        try await run.compare("n\(top)")
    }

    @Test("R70, R85: clients read what they wrote, and every image of the chain is clean", arguments: seeds)
    func underLoad(seed: UInt64) throws {
        let run = Run(seed)
        try run.bench.run {
            try await run.addImage("0", backing: nil)
            try await run.bench.graph.add(Make.qcow2("n0", "0", run.common))
            try await run.attach("n0")
            for index in 0..<Self.clients {
                run.bench.context.spawn {
                    do { try await self.client(index, run) } catch {
                        Issue.record("seed \(seed), client \(index): \(error)")
                    }
                    run.running -= 1
                }
            }
            try await change(run)
        }
        for (name, disk) in run.disks {
            let check = MiniCheck(disk.durable)
            #expect(check.isClean, "seed \(seed), image \(name): \(check.errors) \(check.leaks) leaks")
        }
        // Opened again from its files alone, the chain reads the same.
        let last = try #require(run.disks.keys.compactMap { Int($0) }.max())
        try run.bench.run {
            try await run.bench.graph.add(Make.qcow2("again", "\(last)", .readOnly))
            try await run.compare("again")
        }
    }
}
