/// Leaky buckets under given limits, as a value: each request pours its bytes and its operation into the buckets of its
/// direction, they leak at the average rate, and while one is too full requests wait. It knows no clock; times are
/// nanoseconds of the caller's.
public struct Throttle: Sendable {
    private struct Bucket {
        let rate: ThrottleLimits.Rate
        /// What has been poured in and not leaked at the average rate.
        var level = 0.0
        /// The same, at the burst's rate: keeps a long burst to its own pace.
        var burstLevel = 0.0

        init(_ rate: ThrottleLimits.Rate) { self.rate = rate }

        mutating func leak(seconds: Double) {
            level = max(0, level - Double(rate.average) * seconds)
            burstLevel = max(0, burstLevel - Double(rate.maximum) * seconds)
        }

        mutating func pour(_ units: Double) {
            guard rate.average > 0 else { return }
            level += units
            if rate.burstSeconds > 1 { burstLevel += units }
        }

        /// How long until another request may be poured in, in seconds.
        var delay: Double {
            guard rate.average > 0 else { return 0 }
            let average = Double(rate.average)
            let maximum = Double(rate.maximum)
            let capacity = rate.maximum > 0 ? maximum * Double(rate.burstSeconds) : average * Throttle.instant
            if level > capacity { return (level - capacity) / average }
            guard rate.burstSeconds > 1, burstLevel > maximum * Throttle.instant else { return 0 }
            return (burstLevel - maximum * Throttle.instant) / maximum
        }
    }

    /// What may come at once without a burst is what is due in this many seconds.
    private static let instant = 0.1
    /// A request waits no longer in one go; then it is looked at again. An hour, in nanoseconds.
    private static let longestWaitNs = 3_600_000_000_000.0

    public let limits: ThrottleLimits
    private var bytes: (all: Bucket, read: Bucket, write: Bucket)
    private var operations: (all: Bucket, read: Bucket, write: Bucket)
    private var leakedNs: UInt64

    public init(_ limits: ThrottleLimits, nowNs: UInt64) {
        self.limits = limits
        bytes = (Bucket(limits.bps), Bucket(limits.bpsRead), Bucket(limits.bpsWrite))
        operations = (Bucket(limits.iops), Bucket(limits.iopsRead), Bucket(limits.iopsWrite))
        leakedNs = nowNs
    }

    /// How long the next request has to wait, in nanoseconds; 0: it may go.
    public mutating func delayNs(isWrite: Bool, at nowNs: UInt64) -> UInt64 {
        leak(until: nowNs)
        let own = isWrite ? (bytes.write, operations.write) : (bytes.read, operations.read)
        let delay = max(max(bytes.all.delay, operations.all.delay), max(own.0.delay, own.1.delay))
        return delay > 0 ? UInt64(min((delay * 1e9).rounded(.up), Self.longestWaitNs)) : 0
    }

    /// Pours a request in that goes now.
    public mutating func account(byteCount: UInt64, isWrite: Bool) {
        let size = Double(byteCount)
        let units = limits.iopsSize > 0 ? max(1, size / Double(limits.iopsSize)) : 1
        bytes.all.pour(size)
        operations.all.pour(units)
        if isWrite {
            bytes.write.pour(size)
            operations.write.pour(units)
        } else {
            bytes.read.pour(size)
            operations.read.pour(units)
        }
    }

    private mutating func leak(until nowNs: UInt64) {
        guard nowNs > leakedNs else { return }
        let seconds = Double(nowNs - leakedNs) / 1e9
        leakedNs = nowNs
        bytes.all.leak(seconds: seconds)
        bytes.read.leak(seconds: seconds)
        bytes.write.leak(seconds: seconds)
        operations.all.leak(seconds: seconds)
        operations.read.leak(seconds: seconds)
        operations.write.leak(seconds: seconds)
    }
}
