public import Block

/// What `block_set_io_throttle` limits: bytes and operations a second, of all requests or by direction (QEMU's manual,
/// "The QEMU throttling infrastructure").
public struct ThrottleLimits: Equatable, Sendable {
    /// One limit, in units a second.
    public struct Rate: Equatable, Sendable {
        /// What is kept to in the long run. 0: no limit.
        public var average: UInt64
        /// What a burst may reach (`_max`). 0: only a tenth of a second's worth may come at once.
        public var maximum: UInt64
        /// How long a burst may last, in seconds (`_max_length`).
        public var burstSeconds: UInt64

        public init(_ average: UInt64 = 0, maximum: UInt64 = 0, burstSeconds: UInt64 = 1) {
            self.average = average
            self.maximum = maximum
            self.burstSeconds = burstSeconds
        }
    }

    public var bps = Rate()
    public var bpsRead = Rate()
    public var bpsWrite = Rate()
    public var iops = Rate()
    public var iopsRead = Rate()
    public var iopsWrite = Rate()
    /// A request counts as one operation for each this many bytes, and at least as one. 0: always as one.
    public var iopsSize: UInt64 = 0

    public init() {}

    /// No rate is larger, and no burst moves more units.
    public static let largest: UInt64 = 1_000_000_000_000_000

    var rates: [Rate] { [bps, bpsRead, bpsWrite, iops, iopsRead, iopsWrite] }

    /// Whether anything is limited.
    public var isEnabled: Bool { rates.contains { $0.average > 0 } }

    /// Refuses limits that contradict each other, in QEMU's words.
    public func check() throws(OpenError) {
        func clash(_ value: (Rate) -> UInt64) -> Bool {
            (value(bps) > 0 && (value(bpsRead) > 0 || value(bpsWrite) > 0))
                || (value(iops) > 0 && (value(iopsRead) > 0 || value(iopsWrite) > 0))
        }
        if clash(\.average) || clash(\.maximum) {
            throw OpenError("bps/iops/max total values and read/write values cannot be used at the same time")
        }
        if iopsSize > 0, iops.average == 0, iopsRead.average == 0, iopsWrite.average == 0 {
            throw OpenError("iops size requires an iops value to be set")
        }
        for rate in rates { try rate.check() }
    }
}

extension ThrottleLimits.Rate {
    func check() throws(OpenError) {
        let largest = ThrottleLimits.largest
        if average > largest || maximum > largest {
            throw OpenError("bps/iops/max values must be within [0, \(largest)]")
        }
        if burstSeconds == 0 { throw OpenError("the burst length cannot be 0") }
        if burstSeconds > 1, maximum == 0 { throw OpenError("burst length set without burst rate") }
        if maximum > 0, burstSeconds > largest / maximum {
            throw OpenError("burst length too high for this burst rate")
        }
        if maximum > 0, average == 0 { throw OpenError("bps_max/iops_max require corresponding bps/iops values") }
        if maximum > 0, maximum < average { throw OpenError("bps_max/iops_max cannot be lower than bps/iops") }
    }
}
