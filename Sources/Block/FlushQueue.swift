/// Shares flushes between callers: one runs, all that arrive meanwhile share the next. A flush covers what completed
/// before it was issued, so a late caller can never join the one under way.
///
/// Who writes, flushes, and waits for the answer before writing on comes again soon after it. So where a flush was shared, the
/// next one first gives as many callers as that had a few turns of the loop to come: else the first of them would have a flush
/// of its own, and two crowds would take turns.
public final class FlushQueue {
    private enum Turn: Sendable {
        /// The next flush is this caller's to run.
        case lead
        /// A flush that began after this caller arrived has ended.
        case done(BlockError?)
    }

    private let context: any IOContext
    private var running = false
    private var waiting: [Suspension<Turn>] = []
    /// How many shared the last flush, without the caller that ran it.
    private var lastShared = 0

    /// How long a flush waits for those that shared the last one: less than a device takes to flush. Turns are what counts
    /// where the thread is idle, and time where it is busy.
    private static let (patientTurns, patientNs) = (20, 200_000 as UInt64)

    public init(_ context: any IOContext) { self.context = context }

    /// Runs `flush`, or waits for one that begins after this call.
    public func run(_ flush: () async throws(BlockError) -> Void) async throws(BlockError) {
        if running {
            if case .done(let failure) = await suspend({ waiting.append($0) }) {
                if let failure { throw failure }
                return
            }
        }
        running = true
        await gather()
        let followers = waiting
        waiting = []
        lastShared = followers.count
        var failure: BlockError?
        do { try await flush() } catch { failure = error }
        for follower in followers { follower.resume(.done(failure)) }
        if waiting.isEmpty { running = false } else { waiting.removeFirst().resume(.lead) }
        if let failure { throw failure }
    }

    private func gather() async {
        guard waiting.count < lastShared else { return }
        let beganNs = context.nowNs
        for _ in 0..<Self.patientTurns {
            await context.yield()
            guard waiting.count < lastShared, context.nowNs &- beganNs < Self.patientNs else { return }
        }
    }
}
