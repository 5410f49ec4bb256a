import Block

/// What one kind of operation has done so far.
public struct OperationCounters: Equatable, Sendable {
    /// Bytes of operations that succeeded.
    public internal(set) var bytes: UInt64 = 0
    /// Operations that succeeded.
    public internal(set) var operations: UInt64 = 0
    /// Operations that failed: no medium, a full disk, an error of the host.
    public internal(set) var failed: UInt64 = 0
    /// Operations that could not succeed: malformed, past the end, a write where writing is refused.
    public internal(set) var invalid: UInt64 = 0
    /// What they took altogether, in nanoseconds.
    public internal(set) var timeNs: UInt64 = 0
    /// How many took how long, failed ones too, where somebody asked for it.
    public internal(set) var latencies: LatencyHistogram?

    public init() {}

    mutating func succeed(_ byteCount: UInt64, _ durationNs: UInt64) {
        bytes &+= byteCount
        operations &+= 1
        timeNs &+= durationNs
        latencies?.count(durationNs)
    }
}

/// The figures behind `query-blockstats` of one device. Writes of zeros count as writes, unless
/// the initiator gave the range up.
public struct DeviceStatistics: Equatable, Sendable {
    enum Operation { case read, write, flush, unmap }

    public internal(set) var read = OperationCounters()
    public internal(set) var write = OperationCounters()
    public internal(set) var flush = OperationCounters()
    public internal(set) var unmap = OperationCounters()
    /// When the last operation ended, in the context's nanoseconds; nil before the first.
    public internal(set) var lastAccessNs: UInt64?
    /// Whether invalid and failed operations count as accesses, the latter with their time (`account_invalid`,
    /// `account_failed`).
    public internal(set) var accountsInvalid = true
    public internal(set) var accountsFailed = true

    /// `idle_time_ns`: how long ago the last operation ended; nil before the first.
    public func idleNs(at nowNs: UInt64) -> UInt64? { lastAccessNs.map { nowNs > $0 ? nowNs - $0 : 0 } }

    mutating func succeed(_ operation: Operation, _ byteCount: UInt64, from startNs: UInt64, to nowNs: UInt64) {
        lastAccessNs = nowNs
        let durationNs = nowNs &- startNs
        switch operation {
        case .read: read.succeed(byteCount, durationNs)
        case .write: write.succeed(byteCount, durationNs)
        case .flush: flush.succeed(byteCount, durationNs)
        case .unmap: unmap.succeed(byteCount, durationNs)
        }
    }

    mutating func fail(_ operation: Operation, _ error: BlockError, from startNs: UInt64, to nowNs: UInt64) {
        var counters = self[operation]
        switch error {
        case .readOnly, .outOfRange, .invalid, .unsupported, .permission:
            counters.invalid &+= 1
            if accountsInvalid { lastAccessNs = nowNs }
        case .io, .noSpace, .corrupt, .fenced, .noMedium, .busy, .closed, .limit, .system:
            counters.failed &+= 1
            counters.latencies?.count(nowNs &- startNs)
            if accountsFailed {
                counters.timeNs &+= nowNs &- startNs
                lastAccessNs = nowNs
            }
        }
        self[operation] = counters
    }

    private subscript(operation: Operation) -> OperationCounters {
        get {
            switch operation {
            case .read: read
            case .write: write
            case .flush: flush
            case .unmap: unmap
            }
        }
        set {
            switch operation {
            case .read: read = newValue
            case .write: write = newValue
            case .flush: flush = newValue
            case .unmap: unmap = newValue
            }
        }
    }
}
