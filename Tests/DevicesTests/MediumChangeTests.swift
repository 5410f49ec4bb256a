import Block
import BlockTestKit
import Bytes
import Devices
import Graph
import GraphTestKit
import Testing

@Suite("media that change under requests")
struct MediumChangeTests {
    /// A disk that answers after a while.
    private func addDisk(_ bench: DeviceBench, _ name: String, seed: UInt64, latencyNs: ClosedRange<UInt64>) {
        let disk = SimDisk(
            bench.context, contents: SparseBytes(length: 1 << 16), SimDisk.Options(seed: seed, latencyNs: latencyNs))
        bench.host.add(name, disk)
    }

    /// What is read at the start of a file.
    private func content(_ bench: DeviceBench, _ name: String) async throws -> Set<UInt8> {
        let storage = try #require(bench.host.files[name]?.storage)
        return Set(try await storage.bytes(at: 0, count: 4096))
    }

    /// Each request is stamped with the medium that was in when it came. Whatever the order of things, no medium ever
    /// sees another one's stamp, and each request succeeds or finds no medium.
    @Test("a request reaches the medium that was in when it came, or none", arguments: UInt64(0)..<30)
    func stamps(seed: UInt64) throws {
        let bench = DeviceBench(seed: seed)
        try bench.run {
            let media = 8
            for index in 0..<media { self.addDisk(bench, "m\(index)", seed: seed, latencyNs: 1_000...80_000) }
            let device = try await bench.add(.floppy, "D")
            var stamp: UInt8 = 0
            try await bench.devices.changeMedium(device: "D", filename: "m0", format: "raw")
            var left = 6
            var written = 0
            for client in 0..<6 {
                bench.context.spawn {
                    var random = SeededRandom(seed: seed &* 97 &+ UInt64(client))
                    for _ in 0..<60 {
                        let mine = stamp
                        do throws(BlockError) {
                            let bytes = [UInt8](repeating: mine + 1, count: 512)
                            switch random.below(4) {
                            case 0: try await device.flush()
                            case 1:
                                let found = try await device.bytes(at: random.below(8) * 512, count: 512)
                                #expect(Set(found).isSubset(of: [0, mine + 1]), "seed \(seed)")
                            default:
                                try await device.write(bytes, at: random.below(8) * 512)
                                written += 1
                            }
                        } catch { if error != .noMedium { Issue.record("seed \(seed): \(error)") } }
                        await bench.context.sleep(ms: random.below(2))
                    }
                    left -= 1
                }
            }
            var random = SeededRandom(seed: seed &+ 5)
            let watcher = Watcher { if device.isReady { stamp += 1 } }
            device.addObserver(watcher)
            for index in 1..<media {
                await bench.context.sleep(ms: random.below(8))
                if random.chance(30) { try await bench.devices.eject(device: "D") }
                if random.chance(30) {
                    _ = await bench.reply {
                        try await bench.devices.changeMedium(device: "D", filename: "missing", format: "raw")
                    }
                }
                try await bench.devices.changeMedium(device: "D", filename: "m\(index)", format: "raw")
            }
            while left > 0 { await bench.context.sleep(ms: 1) }
            #expect(written > 0)
            for index in 0..<media {
                #expect(try await self.content(bench, "m\(index)").isSubset(of: [0, UInt8(index) + 1]), "seed \(seed)")
            }
        }
    }

    private final class Watcher: DriveObserver {
        let onMedium: () -> Void
        init(_ onMedium: @escaping () -> Void) { self.onMedium = onMedium }
        func driveChangedMedium(_ drive: any Drive) { onMedium() }
        func driveWantsEject(_ drive: any Drive) {}
        func driveChangedLength(_ drive: any Drive) {}
    }

    /// A CD in a drive whose requests take 10 ms, and one of them under way.
    private func busyDrive(_ bench: DeviceBench) async throws -> Device {
        addDisk(bench, "slow", seed: 1, latencyNs: 10_000_000...10_000_000)
        bench.host.addRaw("next", bytes: 4096)
        let device = try await bench.add(.scsiCD, "D")
        try await bench.devices.changeMedium(id: "D", filename: "slow", format: "raw")
        bench.context.spawn {
            let bytes = await bench.reply { _ = try await device.bytes(at: 0, count: 512) }
            bench.notes.told.append("read \(bytes)")
        }
        await bench.context.yield()
        _ = bench.notes.take()
        return device
    }

    @Test("what is under way ends on the old medium; what comes while that is waited for finds no medium")
    func waiting() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            bench.context.spawn {
                let reply = await bench.reply {
                    try await bench.devices.changeMedium(device: "D", filename: "next", format: "raw")
                }
                bench.notes.told.append("change \(reply)")
            }
            await bench.context.sleep(ms: 5)
            let reply = await bench.reply { _ = try await device.bytes(at: 0, count: 512) }
            #expect(reply == "noMedium")
            await bench.context.sleep(ms: 5)
            #expect(
                bench.notes.take() == [
                    "read ok", "tray-open D D", "lost", "tray-closed D D", "found", "change ok",
                ])
            #expect(device.length == 4096)
            #expect(bench.host.files["slow"]?.handles.isEmpty == true)
        }
    }

    @Test("a tray that two initiators hold opens when both have let go, or when management forces it")
    func twoLocks() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            let other = bench.notes
            device.setLocked(true, by: device)
            device.setLocked(true, by: other)
            device.setLocked(false, by: device)
            #expect(device.isLocked && !device.moveTray(open: true))
            device.setLocked(false, by: other)
            #expect(!device.isLocked && device.moveTray(open: true))

            #expect(device.moveTray(open: false))
            device.setLocked(true, by: device)
            device.setLocked(true, by: other)
            try bench.devices.openTray(device: "D", id: nil, force: true)
            #expect(!device.isLocked && device.isTrayOpen)
            await bench.context.sleep(ms: 20)
        }
    }

    @Test("a lock that comes while a change waits refuses it, and leaves all as it was")
    func lateLock() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            var replies: [String] = []
            bench.context.spawn {
                replies.append(
                    await bench.reply {
                        try await bench.devices.changeMedium(device: "D", filename: "next", format: "raw")
                    })
                replies.append(await bench.reply { try await bench.devices.eject(device: "D") })
            }
            await bench.context.sleep(ms: 5)
            device.setLocked(true, by: device)
            await bench.context.sleep(ms: 20)
            let text = "Device 'D' is locked and force was not specified, wait for tray to open and try again"
            #expect(replies == [text, text])
            #expect(bench.notes.take() == ["read ok", "eject?", "eject?"])
            #expect(device.isReady && device.length == 1 << 16)
            #expect(try await device.bytes(at: 0, count: 1) == [0])
            #expect(bench.host.files["next"]?.handles.isEmpty == true)
        }
    }

    @Test("the initiator opens and closes the tray while a change waits: the change still happens once, in order")
    func lateTray() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            var reply = ""
            bench.context.spawn {
                reply = await bench.reply {
                    try await bench.devices.changeMedium(device: "D", filename: "next", format: "raw")
                }
            }
            await bench.context.sleep(ms: 5)
            #expect(device.moveTray(open: true))
            await bench.context.sleep(ms: 20)
            #expect(reply == "ok")
            #expect(bench.notes.take() == ["tray-open D D", "lost", "read ok", "tray-closed D D", "found"])
            #expect(device.isReady && device.length == 4096)
        }
    }

    @Test("a tray that closes while an insertion or a removal waits refuses it")
    func lateClose() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            try await bench.addNode("disc")
            try bench.devices.openTray(device: "D")
            var reply = ""
            bench.context.spawn { reply = await bench.reply { try await bench.devices.removeMedium(id: "D") } }
            await bench.context.sleep(ms: 5)
            try bench.devices.closeTray(device: "D")
            await bench.context.sleep(ms: 20)
            #expect(reply == "Tray of device 'D' is not open")
            #expect(device.isReady)
            try await bench.devices.eject(device: "D")
            // The node is made to wait by a user whose request is under way.
            bench.context.spawn {
                reply = await bench.reply { try await bench.devices.insertMedium(id: "D", nodeName: "disc") }
            }
            try bench.devices.closeTray(device: "D")
            await bench.context.sleep(ms: 20)
            #expect(reply == "Tray of the device is not open")
            #expect(!device.hasMedium && bench.graph.users(of: "disc").isEmpty)
        }
    }

    @Test("changes of one drive take turns, and one that comes after its end finds no device")
    func turns() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await busyDrive(bench)
            bench.host.addRaw("third", bytes: 8192)
            var replies: [String: String] = [:]
            func start(_ name: String, _ body: @escaping () async throws -> Void) {
                bench.context.spawn { replies[name] = await bench.reply(body) }
            }
            let devices = bench.devices
            start("first") { try await devices.changeMedium(id: "D", filename: "next", format: "raw") }
            await bench.context.sleep(ms: 1)
            start("second") { try await devices.changeMedium(id: "D", filename: "third", format: "raw") }
            await bench.context.sleep(ms: 1)
            start("unplug") { try await devices.remove("D") }
            await bench.context.sleep(ms: 1)
            start("late") { try await devices.changeMedium(id: "D", filename: "next", format: "raw") }
            start("again") { try await devices.remove("D") }
            await bench.context.sleep(ms: 50)
            #expect(
                replies == [
                    "first": "ok", "second": "ok", "unplug": "ok", "late": "DeviceNotFound: Device 'D' not found",
                    "again": "DeviceNotFound: Device 'D' not found",
                ])
            #expect(!device.isReady && devices.devices.isEmpty)
            #expect(
                bench.notes.take() == [
                    "read ok", "tray-open D D", "lost", "tray-closed D D", "found", "tray-open D D", "lost",
                    "tray-closed D D", "found", "lost", "deleted D",
                ])
        }
    }
}
