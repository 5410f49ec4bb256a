/// What one kind of operation has done so far.
public struct OperationCounters: Equatable, Sendable {
    /// Bytes of operations that succeeded.
    public internal(set) var bytes: UInt64 = 0
    /// Operations that succeeded.
    public internal(set) var operations: UInt64 = 0
    /// Operations that reached the medium, or would have, and failed.
    public internal(set) var failed: UInt64 = 0
    /// Operations that were malformed, past the end, or not allowed.
    public internal(set) var invalid: UInt64 = 0
    /// The time that operations took, in nanoseconds, failed ones included unless they are not accounted.
    public internal(set) var timeNs: UInt64 = 0
}

/// The figures behind `query-blockstats` of one device. Writes of zeros count as writes.
public struct DeviceStatistics: Equatable, Sendable {
    public internal(set) var read = OperationCounters()
    public internal(set) var write = OperationCounters()
    public internal(set) var flush = OperationCounters()
    public internal(set) var unmap = OperationCounters()
    /// When the last operation ended, in the context's nanoseconds; nil before the first.
    public internal(set) var lastAccessNs: UInt64?
    /// Whether invalid and failed operations count as accesses (`stats-account-invalid`, `stats-account-failed`).
    public var accountsInvalid = true
    public var accountsFailed = true

    public init() {}

    /// `idle_time_ns`: how long ago the last operation ended; nil before the first.
    public func idleNs(at nowNs: UInt64) -> UInt64? {
        lastAccessNs.map { nowNs > $0 ? nowNs - $0 : 0 }
    }
}
