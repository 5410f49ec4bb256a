/// The limits of `block_set_io_throttle`: bytes and operations a second, for all requests or by direction.
public struct ThrottleLimits: Equatable, Sendable {
    /// One limit. 0: none.
    public struct Rate: Equatable, Sendable {
        /// Units a second.
        public var average: UInt64
        /// Units a second in a burst.
        public var maximum: UInt64
        /// How long a burst may last, in seconds.
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
    /// Bytes that count as one operation; 0: every request is one, whatever its length.
    public var iopsSize: UInt64 = 0

    public init() {}

    /// Whether anything is limited.
    public var isEnabled: Bool { self != ThrottleLimits() }
}
