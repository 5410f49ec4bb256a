/// How long a thread that has nothing to do looks for work before it sleeps. Going to sleep and being woken costs a client
/// that waits for its one answer more than the answer; looking costs a core that might sleep.
///
/// The span follows what comes: work that came soon after the thread fell asleep makes it longer, up to the limit, and what
/// the limit would not have reached makes it shorter, or ends it, so that an idle program sleeps.
struct Polling {
    var options = PollingOptions() {
        didSet { spanNs = min(spanNs, options.maxNs) }
    }
    /// The longest span, in nanoseconds; 0: the thread never looks.
    var maxNs: UInt64 {
        get { options.maxNs }
        set { options.maxNs = newValue }
    }
    /// How long the thread looks the next time.
    private(set) var spanNs: UInt64 = 0

    /// The first span: what a client on another core takes to answer, at the least.
    static let firstNs: UInt64 = 4_000

    /// Work came `idleNs` after there was none.
    mutating func note(idleNs: UInt64) {
        if idleNs > maxNs {
            spanNs = options.shrink == 0 ? 0 : spanNs / options.shrink
        } else if idleNs > spanNs {
            let (longer, overflow) = spanNs.multipliedReportingOverflow(by: options.grow == 0 ? 2 : options.grow)
            spanNs = min(overflow ? maxNs : max(longer, Self.firstNs), maxNs)
        }
    }
}

/// How a thread looks for work before it sleeps, as QEMU's properties of an I/O thread have it.
public struct PollingOptions: Equatable, Sendable {
    /// The longest span, in nanoseconds; 0: it sleeps at once.
    public var maxNs: UInt64
    /// What a span that was too short is multiplied with; 0: by 2.
    public var grow: UInt64
    /// What a span that was in vain is divided by; 0: it ends.
    public var shrink: UInt64

    public init(maxNs: UInt64 = 0, grow: UInt64 = 0, shrink: UInt64 = 0) {
        self.maxNs = maxNs
        self.grow = grow
        self.shrink = shrink
    }
}
