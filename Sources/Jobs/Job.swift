public import Block
import Filters

/// One job: work that goes on beside the commands, which can be watched, paused and cancelled (QEMU's `docs/devel`
/// calls it a background job; the states and verbs are those of its `job.json`).
///
/// ```text
///   created → running ⇄ paused            waiting → pending → concluded → null
///                ↓  ↘                    ↗             ↓          ↑
///              ready ⇄ standby ─────────┘           aborting ─────┘
/// ```
///
/// Confined to its context. Every text is QEMU 7.2's.
public final class Job {
    /// How a job is made.
    public struct Options: Sendable {
        /// Whether it ends by itself once its work is done; else `finalize` ends it.
        public var finalizes: Bool
        /// Whether it goes by itself once it has ended; else `dismiss` makes it go.
        public var dismisses: Bool
        /// Whether it works on a node, so that the older commands and events for block jobs know it.
        public var isBlockJob: Bool

        public init(finalizes: Bool = true, dismisses: Bool = true, isBlockJob: Bool = false) {
            self.finalizes = finalizes
            self.dismisses = dismisses
            self.isBlockJob = isBlockJob
        }
    }

    public let id: String
    public let kind: JobKind
    public let options: Options
    public internal(set) var status: JobStatus = .undefined

    /// How far it has come, in units of its own, bytes mostly.
    public private(set) var progress: UInt64 = 0
    /// The progress at which it is done, as far as is known.
    public private(set) var total: UInt64 = 0
    /// Why it failed.
    public internal(set) var error: OpenError?
    /// Bytes a second; 0: as fast as it can.
    public internal(set) var speed: UInt64 = 0

    let work: any JobWork
    let context: any IOContext
    let tell: (JobEvent) -> Void

    /// How often it is to be paused; it rests while this is not 0.
    var pauses = 0
    public internal(set) var isUserPaused = false
    /// Whether it rests at a pause point.
    public internal(set) var isResting = false
    /// Somebody asked for its end; with force where it must not count as a success.
    var isCancelRequested = false
    var isForceCancelled = false
    /// Its work has returned.
    var isDone = false
    /// Its end is under way, which happens once.
    var isEnding = false
    let resumed = WaitQueue()
    let concluded = WaitQueue()
    var throttle: Throttle?
    var timer: TimerID?
    private var sleeper: Suspension<Void>?

    init(
        _ id: String, _ kind: JobKind, _ options: Options, _ work: any JobWork, on context: any IOContext,
        tell: @escaping (Job, JobEvent) -> Void
    ) {
        self.id = id
        self.kind = kind
        self.options = options
        self.work = work
        self.context = context
        weak var job: Job?
        self.tell = { event in if let job { tell(job, event) } }
        job = self
    }

    /// Whether it was cancelled, and is to end as a failure.
    public var isCancelled: Bool { isForceCancelled }
    /// Whether it is to end soon, be it as a success that keeps up no longer.
    public var isStopping: Bool { isCancelRequested }
    /// Whether it works at this moment, or could.
    public var isBusy: Bool { [.running, .ready].contains(status) && !isResting }
    public var isPaused: Bool { pauses > 0 }
    public var isReady: Bool { status == .ready || status == .standby }

    // MARK: What the work calls

    /// So much is still to be done, from where it stands.
    public func setRemaining(_ count: UInt64) { total = progress.saturatingSum(count) }

    /// More is to be done than was known.
    public func addRemaining(_ count: UInt64) { total = total.saturatingSum(count) }

    /// So much more is done.
    public func advance(by count: UInt64) { progress = progress.saturatingSum(count) }

    /// Rests while the job is paused. Whether it is cancelled is to be looked at afterwards.
    public func pausePoint() async {
        while pauses > 0, !isCancelRequested {
            let status = self.status
            move(to: status == .ready ? .standby : .paused)
            isResting = true
            while pauses > 0, !isCancelRequested { await resumed.wait() }
            isResting = false
            move(to: status)
        }
    }

    /// For work that counts its steps: rests where the job is paused, and learns at each rest that it is cancelled.
    public var pace: Pace {
        Pace(
            context, isWanted: { [weak self] in self.map { !$0.isCancelled } ?? false },
            pausing: { [weak self] in await self?.pausePoint() })
    }

    /// Waits until so many more bytes may be moved at the job's speed, or the job is cancelled or paused.
    public func admit(_ byteCount: UInt64) async {
        while let delay = throttle?.delayNs(isWrite: true, at: context.nowNs), delay > 0, !isCancelRequested,
            pauses == 0
        {
            await sleep(ms: delay / 1_000_000 + 1)
        }
        throttle?.account(byteCount: byteCount, isWrite: true)
    }

    /// The work has done all it can, and from now on keeps up until it is told to complete.
    public func becomeReady() {
        move(to: .ready)
        tell(.ready)
    }

    /// Parks the work for a time; a verb wakes it early.
    public func sleep(ms: UInt64) async {
        await suspend { (suspension: Suspension<Void>) in
            precondition(sleeper == nil, "the work of a job sleeps twice at once")
            sleeper = suspension
            timer = context.schedule(afterMs: ms) { [weak self] in self?.wake() }
        }
    }

    /// Wakes the work, so that it looks again at what it shall do.
    func wake() {
        resumed.wakeAll()
        guard let suspension = sleeper else { return }
        sleeper = nil
        if let timer { context.cancel(timer) }
        timer = nil
        suspension.resume()
    }

    /// Waits until it has ended, well or not.
    public func waitUntilConcluded() async {
        while status != .concluded, status != .null { await concluded.wait() }
    }

    func move(to next: JobStatus) {
        precondition(status.successors.contains(next), "a job goes from \(status) to \(next)")
        status = next
        tell(.status)
    }
}

extension UInt64 {
    fileprivate func saturatingSum(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
