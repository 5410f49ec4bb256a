import Block
import BlockTestKit
import Bytes
import Devices
import Graph
import GraphTestKit
import Testing

@Suite("statistics of a device")
struct StatisticsTests {
    /// A disk that takes 5 ms for each request.
    private func slowDisk(_ bench: DeviceBench, _ common: CommonOptions = CommonOptions()) async throws -> Device {
        try await bench.graph.add(
            NodeOptions(
                .nullCo(NullOptions(size: 1 << 20, latencyNs: 5_000_000, readZeroes: true)), nodeName: "n",
                common: common))
        return try await bench.add(.scsiHD, "D", drive: "n")
    }

    @Test("each kind of request is counted with its bytes and its time")
    func counts() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await slowDisk(bench, CommonOptions(discard: .unmap))
            #expect(device.statistics.read == OperationCounters())
            #expect(device.statistics.idleNs(at: bench.context.nowNs) == nil)
            for _ in 0..<3 { _ = try await device.bytes(at: 0, count: 1000) }
            try await device.write([1, 2, 3], at: 7)
            try await device.zero(ByteRange(at: 0, count: 4096), flags: .mayUnmap)
            try await device.discard(ByteRange(at: 0, count: 8192))
            try await device.unmap(ByteRange(at: 0, count: 512), flags: [])
            try await device.flush()
            let statistics = device.statistics
            #expect(statistics.read.bytes == 3000)
            #expect(statistics.read.operations == 3)
            #expect(statistics.read.timeNs == 15_000_000)
            #expect(statistics.write.bytes == 4099)
            #expect(statistics.write.operations == 2)
            #expect(statistics.write.timeNs == 10_000_000)
            #expect(statistics.unmap.bytes == 8704)
            #expect(statistics.unmap.operations == 2)
            #expect(statistics.flush.operations == 1)
            #expect(statistics.flush.bytes == 0)
            #expect(statistics.flush.timeNs == 5_000_000)
            await bench.context.sleep(ms: 20)
            #expect(statistics.idleNs(at: bench.context.nowNs) == 20_000_000)
        }
    }

    @Test("once asked for, requests are counted by how long they take, and failed ones with them")
    func latencies() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await slowDisk(bench)
            _ = try await device.bytes(at: 0, count: 512)
            let ms: UInt64 = 1_000_000
            try bench.devices.setLatencies(id: "D", read: [ms, 5 * ms, 10 * ms], write: [10 * ms], flush: nil)
            for _ in 0..<3 { _ = try await device.bytes(at: 0, count: 512) }
            try await device.write([1], at: 0)
            try await device.flush()
            // Five milliseconds are not below five.
            #expect(device.statistics.read.latencies?.bins == [0, 0, 3, 0])
            #expect(device.statistics.write.latencies?.bins == [1, 0])
            #expect(device.statistics.flush.latencies == nil)
            // The others go on, this one begins anew.
            try bench.devices.setLatencies(id: "D", read: nil, write: [], flush: nil)
            #expect(device.statistics.write.latencies?.bins == [0])
            #expect(device.statistics.read.latencies?.bins == [0, 0, 3, 0])
            try bench.devices.setLatencies(id: "D", read: nil, write: nil, flush: nil)
            #expect(device.statistics.read.latencies == nil)
            #expect(device.statistics.write.latencies == nil)
        }
    }

    @Test("boundaries that do not rise are refused, and nothing has changed")
    func boundaries() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await slowDisk(bench)
            try bench.devices.setLatencies(id: "D", read: [1], write: nil, flush: nil)
            for wrong in [[0], [5, 5], [5, 4]] as [[UInt64]] {
                do throws(DeviceError) {
                    try bench.devices.setLatencies(id: "D", read: [1, 2], write: wrong, flush: nil)
                    Issue.record("\(wrong) is taken")
                } catch { #expect(error.message == "Device 'D' set write boundaries fail") }
                #expect(device.statistics.read.latencies?.boundaries == [1])
            }
        }
    }

    @Test("requests under way at once each count their own time")
    func overlapping() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await slowDisk(bench)
            var left = 4
            for _ in 0..<4 {
                bench.context.spawn {
                    _ = try? await device.bytes(at: 0, count: 512)
                    left -= 1
                }
            }
            while left > 0 { await bench.context.sleep(ms: 1) }
            #expect(device.statistics.read.timeNs == 20_000_000)
            #expect(bench.context.nowNs < 10_000_000)
        }
    }

    @Test("what could not succeed is invalid, what went wrong has failed, and neither counts bytes")
    func failures() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("r", CommonOptions(isReadOnly: true))
            let file = try #require(bench.host.files["r"])
            let device = try await bench.add(.scsiHD, "D", drive: "r")
            await #expect(throws: BlockError.readOnly) { try await device.write([1], at: 0) }
            await #expect(throws: BlockError.readOnly) { try await device.discard(ByteRange(at: 0, count: 1)) }
            await #expect(throws: BlockError.outOfRange) { try await device.bytes(at: 1 << 16, count: 1) }
            file.storage.plan.add(Fault([.read], error: .io))
            await #expect(throws: BlockError.io) { try await device.bytes(at: 0, count: 1) }
            file.storage.plan.add(Fault([.flush], error: .io))
            _ = await bench.reply { try await device.flush() }
            let statistics = device.statistics
            #expect(statistics.write.invalid == 1 && statistics.write.failed == 0)
            #expect(statistics.unmap.invalid == 1)
            #expect(statistics.read.invalid == 1 && statistics.read.failed == 1)
            #expect(statistics.read.operations == 0 && statistics.read.bytes == 0)
            #expect(bench.notes.errors.first?.user == "D")
        }
    }

    @Test("without a medium requests have failed, and the figures outlive it")
    func emptyDrive() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("iso")
            let device = try await bench.add(.scsiCD, "cd", drive: "iso")
            _ = try await device.bytes(at: 0, count: 100)
            try await bench.devices.eject(device: "cd")
            await #expect(throws: BlockError.noMedium) { try await device.bytes(at: 0, count: 1) }
            await #expect(throws: BlockError.noMedium) { try await device.write([1], at: 0) }
            await #expect(throws: BlockError.noMedium) { try await device.zero(ByteRange(at: 0, count: 1), flags: []) }
            await #expect(throws: BlockError.noMedium) { try await device.discard(ByteRange(at: 0, count: 1)) }
            await #expect(throws: BlockError.noMedium) { try await device.flush() }
            await #expect(throws: BlockError.noMedium) { _ = try await device.status(of: ByteRange(at: 0, count: 1)) }
            await #expect(throws: BlockError.noMedium) { try await device.resize(to: 1) }
            #expect(device.length == 0)
            let statistics = device.statistics
            #expect(statistics.read.bytes == 100 && statistics.read.failed == 1)
            #expect(statistics.write.failed == 2 && statistics.unmap.failed == 1 && statistics.flush.failed == 1)
        }
    }

    @Test("failed and invalid requests count as accesses unless the backend says otherwise", arguments: [true, false])
    func accounting(counts: Bool) throws {
        let bench = DeviceBench()
        try bench.run {
            var request = BackendRequest("D")
            request.accountsFailed = counts
            request.accountsInvalid = counts
            bench.host.addRaw("f", bytes: 512)
            request.medium = Make.raw(nil, .options(Make.file("f")), .readOnly)
            let device = try await bench.devices.add(request)
            await bench.context.sleep(ms: 1)
            await #expect(throws: BlockError.readOnly) { try await device.write([1], at: 0) }
            #expect((device.statistics.lastAccessNs == bench.context.nowNs) == counts)
            await bench.context.sleep(ms: 1)
            try await bench.devices.eject(device: "D")
            await #expect(throws: BlockError.noMedium) { try await device.flush() }
            #expect((device.statistics.lastAccessNs == bench.context.nowNs) == counts)
        }
    }
}
