/// Shares flushes between callers: one runs, all that arrive meanwhile share the next. A flush covers what completed
/// before it was issued, so a late caller can never join the one under way.
public final class FlushQueue {
    private enum Turn: Sendable {
        /// The next flush is this caller's to run.
        case lead
        /// A flush that began after this caller arrived has ended.
        case done(BlockError?)
    }

    private var running = false
    private var waiting: [Suspension<Turn>] = []

    public init() {}

    /// Runs `flush`, or waits for one that begins after this call.
    public func run(_ flush: () async throws(BlockError) -> Void) async throws(BlockError) {
        if running {
            if case .done(let failure) = await suspend({ waiting.append($0) }) {
                if let failure { throw failure }
                return
            }
        }
        running = true
        let followers = waiting
        waiting = []
        var failure: BlockError?
        do { try await flush() } catch { failure = error }
        for follower in followers { follower.resume(.done(failure)) }
        if waiting.isEmpty { running = false } else { waiting.removeFirst().resume(.lead) }
        if let failure { throw failure }
    }
}
