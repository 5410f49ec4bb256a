/// How long a thread that has nothing to do looks for work before it sleeps. Going to sleep and being woken costs a client
/// that waits for its one answer more than the answer; looking costs a core that might sleep.
///
/// The span follows what comes: work that came soon after the thread fell asleep doubles it, up to the limit, and what the
/// limit would not have reached ends it, so that an idle program sleeps.
struct Polling {
    /// The longest span, in nanoseconds; 0: the thread never looks.
    var maxNs: UInt64 = 0 {
        didSet { spanNs = min(spanNs, maxNs) }
    }
    /// How long the thread looks the next time.
    private(set) var spanNs: UInt64 = 0

    /// The first span: what a client on another core takes to answer, at the least.
    static let firstNs: UInt64 = 4_000

    /// Work came `idleNs` after there was none.
    mutating func note(idleNs: UInt64) {
        if idleNs > maxNs {
            spanNs = 0
        } else if idleNs > spanNs {
            spanNs = min(max(2 * spanNs, Self.firstNs), maxNs)
        }
    }
}
