import Block
import BlockTestKit
import Bytes
import Devices
import FoundationEssentials
import Graph
import GraphTestKit
import Qcow2
import Testing

/// Media come and go, are snapshotted and grow, an initiator plays with tray and lock, and clients write meanwhile. A
/// model of each medium says what it must hold.
@Suite("drives under load")
struct DriveStressTests {
    static let size: UInt64 = 128 << 10
    static let clients = 4
    static let media = 6

    /// `NACRE_SCHEDULES` runs more of them.
    static let seeds: ClosedRange<UInt64> =
        1...max(12, ProcessInfo.processInfo.environment["NACRE_SCHEDULES"].flatMap { UInt64($0) } ?? 0)

    /// What one run has, shared by its tasks.
    final class Run {
        let bench: DeviceBench
        let seed: UInt64
        var models = Array(repeating: DiskModel(length: DriveStressTests.size), count: DriveStressTests.media)
        /// The uppermost image of each medium.
        var tops = (0..<DriveStressTests.media).map { "m\($0)" }
        var device: Device!
        var running = DriveStressTests.clients
        var done = 0
        var isOver = false
        /// Which medium a node is the uppermost of.
        private var known: [String: Int] = [:]

        init(_ seed: UInt64) {
            self.seed = seed
            bench = DeviceBench(seed: seed)
        }

        func addImage(_ name: String) async throws {
            let disk = SimDisk(
                bench.context, SimDisk.Options(seed: seed &+ UInt64(name.utf8.count), latencyNs: 1_000...60_000))
            var options = CreateOptions(size: DriveStressTests.size)
            options.clusterSize = 4096
            try await Qcow2Create.create(on: disk, options)
            bench.host.add(name, disk)
        }

        /// The medium in reach.
        var current: Int? {
            guard device.isReady, let name = device.nodeName else { return nil }
            if let index = known[name] { return index }
            var node = bench.graph.node(name)
            while let below = node?.backingNode { node = bench.graph.node(below) }
            known[name] = node.flatMap { Int($0.filename.dropFirst()) }
            return known[name]
        }
    }

    /// One client, which has a part of every medium for itself.
    private func client(_ index: Int, _ run: Run) async {
        var random = SeededRandom(seed: run.seed &* 31 &+ UInt64(index))
        while !run.isOver {
            let region = Self.size / UInt64(Self.clients)
            let at = UInt64(index) * region + random.below(region - 5000)
            let range = ByteRange(at: at, count: 1 + random.below(UInt64(5000)))
            let medium = run.current
            do throws(BlockError) {
                try await request(range, &random, run, medium)
                run.done += 1
            } catch {
                if error != .noMedium { Issue.record("seed \(run.seed): \(error)") }
            }
            await run.bench.context.sleep(ms: random.below(2))
        }
        run.running -= 1
    }

    private func request(_ range: ByteRange, _ random: inout SeededRandom, _ run: Run, _ medium: Int?)
        async throws(BlockError)
    {
        let device = run.device!
        switch random.below(8) {
        case 0...3:
            let bytes = random.bytes(Int(range.count))
            try await device.write(bytes, at: range.start, flags: random.chance(10) ? .fua : [])
            if let medium { run.models[medium].write(bytes, at: range.start) }
        case 4:
            try await device.zero(range, flags: random.chance(50) ? .mayUnmap : [])
            if let medium { run.models[medium].zero(range) }
        case 5: try await device.flush()
        default:
            let bytes = try await device.bytes(at: range.start, count: Int(range.count))
            if let medium, let mismatch = run.models[medium].mismatch(bytes, at: range.start) {
                Issue.record("seed \(run.seed), medium \(medium): \(mismatch)")
            }
        }
        #expect(medium != nil, "seed \(run.seed): a request without a medium succeeds")
    }

    /// Opens and closes the tray, and holds it closed for a while.
    private func initiator(_ run: Run) async {
        var random = SeededRandom(seed: run.seed &+ 12)
        while !run.isOver {
            await run.bench.context.sleep(ms: random.below(5))
            switch random.below(4) {
            case 0: run.device.setLocked(random.chance(50), by: run.device)
            case 1: _ = run.device.moveTray(open: true)
            default: _ = run.device.moveTray(open: false)
            }
        }
    }

    private func manage(_ run: Run) async throws {
        var random = SeededRandom(seed: run.seed &+ 77)
        let (devices, graph) = (run.bench.devices, run.bench.graph)
        var snapshots = 0
        for _ in 0..<60 {
            await run.bench.context.sleep(ms: random.below(4))
            switch random.below(6) {
            case 0:
                let medium = run.device.nodeName
                _ = await run.bench.reply {
                    try await devices.eject(id: "D", force: random.chance(50))
                    #expect(!run.device.hasMedium)
                }
                if medium != nil, random.chance(50) { _ = run.device.moveTray(open: false) }
            case 1:
                guard let name = run.device.nodeName, let top = graph.node(name)?.filename,
                    let medium = run.tops.firstIndex(of: top)
                else { break }
                snapshots += 1
                let file = "s\(snapshots)"
                try await graph.snapshotSync(SnapshotSyncRequest(device: "D", snapshotFile: file))
                run.tops[medium] = file
            case 2:
                guard let name = run.device.nodeName, let top = graph.node(name)?.filename,
                    let medium = run.tops.firstIndex(of: top)
                else { break }
                let length = run.models[medium].length + 4096
                try await graph.resize(device: "D", nodeName: nil, to: Int64(length))
                run.models[medium].resize(to: length)
            default:
                let next = run.tops[random.below(Self.media)]
                guard run.device.nodeName.flatMap({ graph.node($0)?.filename }) != next else { break }
                let reply = await run.bench.reply {
                    try await devices.changeMedium(
                        id: "D", filename: next, format: "qcow2", readOnlyMode: .readWrite, force: random.chance(70))
                }
                #expect(reply == "ok" || reply.contains("is locked"), "seed \(run.seed): \(reply)")
            }
        }
    }

    @Test("every medium holds what was written to it, whatever happened to the drive", arguments: seeds)
    func underLoad(seed: UInt64) throws {
        let run = Run(seed)
        try run.bench.run {
            for name in run.tops { try await run.addImage(name) }
            run.device = try await run.bench.add(.scsiCD, "D")
            for index in 0..<Self.clients { run.bench.context.spawn { await self.client(index, run) } }
            run.bench.context.spawn { await self.initiator(run) }
            try await manage(run)
            run.isOver = true
            while run.running > 0 { await run.bench.context.sleep(ms: 1) }
            await run.bench.context.sleep(ms: 10)
            _ = await run.bench.reply { try await run.bench.devices.eject(id: "D", force: true) }
            #expect(run.done > 100, "seed \(seed): \(run.done)")
            #expect(run.bench.notes.errors.isEmpty && run.bench.notes.warnings.isEmpty)
            #expect(run.bench.graph.nodes.isEmpty)
            for (index, top) in run.tops.enumerated() {
                try await run.bench.graph.add(Make.qcow2("again\(index)", top, .readOnly))
                let root = try await run.bench.graph.attach(
                    "reader", to: "again\(index)", used: .consistentRead, shared: .all)
                #expect(root.length == run.models[index].length, "seed \(seed)")
                let bytes = try await root.bytes(at: 0, count: Int(root.length))
                #expect(run.models[index].mismatch(bytes, at: 0) == nil, "seed \(seed), medium \(index)")
            }
        }
    }
}
