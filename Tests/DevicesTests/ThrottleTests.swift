import Block
import BlockTestKit
import Bytes
import Devices
import Filters
import Graph
import GraphTestKit
import Testing

@Suite("limits of a device")
struct ThrottleTests {
    private func limits(_ set: (inout ThrottleLimits) -> Void) -> ThrottleLimits {
        var limits = ThrottleLimits()
        set(&limits)
        return limits
    }

    private func disk(_ bench: DeviceBench, _ name: String = "D") async throws -> Device {
        try await bench.graph.add(Make.null("n" + name, size: 1 << 30))
        return try await bench.add(.scsiHD, name, drive: "n" + name)
    }

    /// Sends requests one after the other; answers how long they took, in milliseconds.
    private func time(_ bench: DeviceBench, _ count: Int, _ request: () async throws -> Void) async throws -> UInt64 {
        let start = bench.context.nowNs
        for _ in 0..<count { try await request() }
        return (bench.context.nowNs - start) / 1_000_000
    }

    @Test("without limits nothing waits")
    func off() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            #expect(device.throttle == nil)
            #expect(try await time(bench, 1000) { try await device.write([1], at: 0) } == 0)
        }
    }

    @Test("operations come at the average rate, after a tenth of a second's worth at once")
    func operations() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(device: "D", limits { $0.iops = .init(100) })
            // Ten go at once and one more fills the bucket over; the rest comes every 10 ms.
            let ms = try await time(bench, 111) { _ = try await device.bytes(at: 0, count: 512) }
            #expect(ms == 1000)
            #expect(device.statistics.read.timeNs == 1_000_000_000)
        }
    }

    @Test("limits that are lifted let go at once what they held back")
    func lifted() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(device: "D", limits { $0.bps = .init(1) })
            var left = 3
            for _ in 0..<3 {
                bench.context.spawn {
                    _ = try? await device.bytes(at: 0, count: 1 << 20)
                    left -= 1
                }
            }
            await bench.context.sleep(ms: 10)
            #expect(left > 0)
            bench.devices.liftLimits()
            await bench.context.sleep(ms: 10)
            #expect(left == 0 && device.throttle == nil)
        }
    }

    @Test("bytes come at the average rate, whatever the size of the requests", arguments: [1000, 10_000, 100_000])
    func bytes(size: Int) throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(id: "D", limits { $0.bps = .init(1_000_000) })
            let ms = try await time(bench, 2_000_000 / size) {
                try await device.zero(ByteRange(at: 0, count: UInt64(size)), flags: [])
            }
            // All but the first tenth of a second's worth and the last request, which do not wait.
            #expect(abs(Int(ms) - (2000 - 100 - size / 1000)) <= 1, "\(ms)")
        }
    }

    @Test("a limit of one direction leaves the other alone; flushes and discards never wait")
    func directions() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(device: "D", limits { $0.iopsWrite = .init(10) })
            #expect(try await time(bench, 22) { try await device.write([1], at: 0) } == 2000)
            #expect(try await time(bench, 100) { _ = try await device.bytes(at: 0, count: 1) } == 0)
            #expect(try await time(bench, 100) { try await device.flush() } == 0)
            #expect(try await time(bench, 100) { try await device.discard(ByteRange(at: 0, count: 1)) } == 0)
        }
    }

    @Test("a burst goes at its own rate for its length, then the average holds")
    func bursts() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(
                device: "D", limits { $0.iops = .init(100, maximum: 1000, burstSeconds: 2) })
            // The bucket holds 2000 operations and leaks 100 a second meanwhile: 2222 at the burst's rate.
            let burst = try await time(bench, 2200) { _ = try await device.bytes(at: 0, count: 512) }
            #expect((2090...2110).contains(burst), "\(burst)")
            let rest = try await time(bench, 1000) { _ = try await device.bytes(at: 0, count: 512) }
            #expect((9700...10_000).contains(rest), "\(rest)")
        }
    }

    @Test("large requests count as several operations where a size is set")
    func operationSize() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(
                device: "D",
                limits {
                    $0.iops = .init(100)
                    $0.iopsSize = 4096
                })
            #expect(try await time(bench, 12) { _ = try await device.bytes(at: 0, count: 40960) } == 1000)
            await bench.context.sleep(ms: 2000)
            #expect(try await time(bench, 12) { _ = try await device.bytes(at: 0, count: 1) } == 10)
        }
    }

    @Test("never more passes than the limits allow, whatever the requests", arguments: UInt64(0)..<20)
    func neverMore(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let rate = 1 + random.below(UInt64(1_000_000))
        var throttle = Throttle(limits { $0.bpsRead = .init(rate) }, nowNs: 0)
        var now: UInt64 = 0
        var passed: UInt64 = 0
        for _ in 0..<2000 {
            let size: UInt64 = 1 + random.below(rate)
            now += random.below(UInt64(50_000_000)) + throttle.delayNs(isWrite: false, at: now)
            let rest = throttle.delayNs(isWrite: false, at: now)
            #expect(rest <= 1, "a wait is long enough")
            now += rest
            throttle.account(byteCount: size, isWrite: false)
            passed += size
            // What leaks, a tenth of a second's worth, and the request that fills it over.
            let allowed = Double(rate) * (Double(now) / 1e9 + 0.1) + Double(size) + 1
            #expect(Double(passed) <= allowed, "seed \(seed)")
        }
    }

    @Test("members of a group share its limits, in order of arrival")
    func groups() throws {
        let bench = DeviceBench()
        try bench.run {
            let one = try await disk(bench, "A")
            let two = try await disk(bench, "B")
            try bench.devices.setThrottle(device: "A", limits { $0.iops = .init(10) }, group: "g")
            try bench.devices.setThrottle(device: "B", limits { $0.iops = .init(100) }, group: "g")
            #expect(one.throttle === two.throttle)
            #expect(one.throttle?.limits.iops.average == 100)
            #expect(one.throttle?.name == "g")
            var order: [Int] = []
            for index in 0..<31 {
                let device = index % 2 == 0 ? one : two
                bench.context.spawn {
                    _ = try? await device.bytes(at: 0, count: 1)
                    order.append(index)
                }
                await bench.context.yield()
            }
            let start = bench.context.nowNs
            while order.count < 31 { await bench.context.sleep(ms: 10) }
            #expect(order == Array(0..<31))
            #expect(bench.context.nowNs - start == 200_000_000)
        }
    }

    @Test("new limits hold for what waits, and none let it go at once")
    func changes() throws {
        let bench = DeviceBench()
        try bench.run {
            let device = try await disk(bench)
            try bench.devices.setThrottle(device: "D", limits { $0.iops = .init(1) })
            var done = 0
            for _ in 0..<100 {
                bench.context.spawn {
                    _ = try? await device.bytes(at: 0, count: 1)
                    done += 1
                }
            }
            await bench.context.sleep(ms: 1)
            #expect(done == 1)
            #expect(device.throttle?.waitingCount == 99)
            try bench.devices.setThrottle(device: "D", limits { $0.iops = .init(100) })
            await bench.context.sleep(ms: 500)
            #expect((60...65).contains(done), "\(done)")
            try bench.devices.setThrottle(device: "D", ThrottleLimits())
            await bench.context.sleep(ms: 1)
            #expect(done == 100)
            #expect(device.throttle == nil)
        }
    }

    @Test("a medium that goes lets its waiting requests fail at once, and they never reach the next one")
    func ejected() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("a")
            try await bench.addNode("b")
            let device = try await bench.add(.floppy, "D", drive: "a")
            try bench.devices.setThrottle(device: "D", limits { $0.iops = .init(1) })
            var failures: [BlockError] = []
            for _ in 0..<10 {
                bench.context.spawn {
                    do throws(BlockError) { try await device.write([9], at: 0) } catch { failures.append(error) }
                }
            }
            await bench.context.sleep(ms: 1)
            try await bench.devices.eject(device: "D")
            try await bench.devices.insertMedium(id: "D", nodeName: "b")
            await bench.context.sleep(ms: 1)
            #expect(failures == Array(repeating: .noMedium, count: 9))
            let b = try await bench.graph.attach("reader", to: "b", used: .consistentRead, shared: .all)
            #expect(try await b.bytes(at: 0, count: 1) == [0])
        }
    }

    @Test("limits that contradict each other are refused, in QEMU's words")
    func refusals() throws {
        let bench = DeviceBench()
        try bench.run {
            _ = try await disk(bench)
            _ = try await bench.add(.floppy, "empty")
            func refusal(_ set: @escaping (inout ThrottleLimits) -> Void) async -> String {
                await bench.reply { try bench.devices.setThrottle(device: "D", self.limits(set)) }
            }
            let both = "bps/iops/max total values and read/write values cannot be used at the same time"
            #expect(
                await refusal {
                    $0.bps = .init(1); $0.bpsRead = .init(1)
                } == both)
            #expect(
                await refusal {
                    $0.iops = .init(1); $0.iopsWrite = .init(1)
                } == both)
            #expect(
                await refusal {
                    $0.bps = .init(1, maximum: 2); $0.bpsWrite = .init(0, maximum: 2)
                } == both)
            #expect(await refusal { $0.iopsSize = 1 } == "iops size requires an iops value to be set")
            let range = "bps/iops/max values must be within [0, 1000000000000000]"
            #expect(await refusal { $0.bps = .init(1_000_000_000_000_001) } == range)
            #expect(await refusal { $0.bps = .init(1, maximum: .max) } == range)
            #expect(await refusal { $0.bps = .init(1, burstSeconds: 0) } == "the burst length cannot be 0")
            #expect(await refusal { $0.bps = .init(1, burstSeconds: 2) } == "burst length set without burst rate")
            #expect(
                await refusal { $0.bps = .init(1, maximum: 1000, burstSeconds: 1_000_000_000_001) }
                    == "burst length too high for this burst rate")
            #expect(
                await refusal { $0.bps = .init(0, maximum: 1) }
                    == "bps_max/iops_max require corresponding bps/iops values")
            #expect(
                await refusal { $0.bps = .init(2, maximum: 1) } == "bps_max/iops_max cannot be lower than bps/iops")
            #expect(bench.devices.device("D")?.throttle == nil)
            #expect(
                await bench.reply { try bench.devices.setThrottle(device: "empty", ThrottleLimits()) }
                    == "Device has no medium")
            #expect(
                await bench.reply { try bench.devices.setThrottle(device: "x", ThrottleLimits()) }
                    == "DeviceNotFound: Device 'x' not found")
        }
    }
}
