public import Block
import Glibc
import Synchronization

/// Why a simulated run ended without reaching what it ran for.
public enum SimulationFailure: Error, Equatable, CustomStringConvertible {
    /// A task waits, nothing is ready and no timer is set: nothing can ever happen again.
    case stuck(atNs: UInt64, jobsRun: UInt64)
    /// More jobs ran than any honest test needs: tasks keep waking each other.
    case livelock(jobsRun: UInt64)
    /// An image was written in an order that a crash may not survive.
    case disordered(String)

    public var description: String {
        switch self {
        case .stuck(let time, let jobs):
            "the simulation is stuck at \(time) ns after \(jobs) jobs: a task waits for ever"
        case .livelock(let jobs): "the simulation does not come to rest: \(jobs) jobs ran"
        case .disordered(let rule): rule
        }
    }
}

/// A deterministic I/O context: the test's own thread runs every job, chosen from the ready ones by a seeded source (or
/// in order of arrival), under a simulated clock that jumps to the next timer when nothing is ready.
///
/// The same seed and program give the same run. Whoever drives it (`complete`, `run`, `runToIdle`) is its thread; while
/// nobody does, everybody counts as current, so that a test can set up outside.
public final class SimulatedContext: IOContext, TaskExecutor {
    public enum Order: Sendable { case fifo, seeded }

    private struct Ready {
        var jobs: [UnownedJob] = []
        var owner: pthread_t?
    }

    private struct Timer {
        let id: TimerID
        let deadlineNs: UInt64
        let body: () -> Void
    }

    private struct State {
        var nowNs: UInt64 = 0
        var jobsRun: UInt64 = 0
        var nextTimer: UInt64 = 1
        /// Sorted by deadline, then by age, last first.
        var timers: [Timer] = []
        var random: SeededRandom
        /// What a disk complains of.
        var complaint: String?
    }

    public let seed: UInt64
    public let order: Order
    /// No run executes more jobs than this.
    public static let jobLimit: UInt64 = 3_000_000

    private let ready = Mutex(Ready())
    // Proof: only touched by the thread that drives the context, or by the test's while nobody drives it.
    private nonisolated(unsafe) var state: State

    public init(seed: UInt64 = 0, order: Order = .seeded) {
        self.seed = seed
        self.order = order
        unsafe state = State(random: SeededRandom(seed: seed ^ 0x5EED_C0DE))
    }

    // MARK: IOContext

    public var taskExecutor: any TaskExecutor { self }

    public var isCurrent: Bool {
        ready.withLock { ready in
            guard let owner = ready.owner else { return true }
            return owner == pthread_self()
        }
    }

    public var nowNs: UInt64 { unsafe state.nowNs }

    public func schedule(afterMs: UInt64, _ body: @escaping () -> Void) -> TimerID {
        let wait = afterMs.multipliedReportingOverflow(by: 1_000_000)
        return schedule(afterNs: wait.overflow ? .max : wait.partialValue, body)
    }

    public func cancel(_ timer: TimerID) {
        unsafe state.timers.removeAll { $0.id == timer }
    }

    // MARK: TaskExecutor

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        ready.withLock { $0.jobs.append(job) }
    }

    // MARK: driving

    /// As `schedule(afterMs:)`, by the nanosecond: latencies of simulated devices.
    @discardableResult
    public func schedule(afterNs: UInt64, _ body: @escaping () -> Void) -> TimerID {
        let id = TimerID(number: unsafe state.nextTimer)
        unsafe state.nextTimer += 1
        let deadline = unsafe state.nowNs.addingReportingOverflow(afterNs)
        let timer = Timer(id: id, deadlineNs: deadline.overflow ? .max : deadline.partialValue, body: body)
        // Among equal deadlines the older one is nearer to the end, where the next to fire is taken.
        let index = unsafe state.timers.firstIndex { $0.deadlineNs <= timer.deadlineNs } ?? state.timers.endIndex
        unsafe state.timers.insert(timer, at: index)
        return id
    }

    /// Parks the running task until the others that are ready have had a chance to run.
    public func yield() async {
        await suspend { (suspension: Suspension<Void>) in
            schedule(afterNs: 0) { suspension.resume() }
        }
    }

    /// Whether neither a job is ready nor a timer set.
    public var isIdle: Bool {
        let hasTimers = unsafe !state.timers.isEmpty
        return !hasTimers && ready.withLock { $0.jobs.isEmpty }
    }

    /// Runs jobs, and timers when none is ready, until the condition holds. Throws where that can never be.
    public func run(until condition: () -> Bool) throws(SimulationFailure) {
        let outer = takeThread()
        defer { giveThread(back: outer) }
        while !condition() {
            if try !step() { throw .stuck(atNs: nowNs, jobsRun: unsafe state.jobsRun) }
        }
    }

    /// Runs until neither a job is ready nor a timer set.
    public func runToIdle() throws(SimulationFailure) {
        let outer = takeThread()
        defer { giveThread(back: outer) }
        while try step() {}
    }

    /// Runs what is ready and the timers due within `ns`, and moves the clock on by `ns`.
    public func advance(ns: UInt64) throws(SimulationFailure) {
        let outer = takeThread()
        defer { giveThread(back: outer) }
        let goal = nowNs + ns
        while true {
            if try runOneJob() { continue }
            guard let next = unsafe state.timers.last, next.deadlineNs <= goal else { break }
            fire()
        }
        unsafe state.nowNs = goal
    }

    /// Runs `body` as a task of this context to its end, from a test that is not asynchronous, and answers its result.
    /// Throws what the body throws, or `SimulationFailure` where it never ends.
    public func complete<Result>(_ body: @escaping () async throws -> Result) throws -> Result {
        let outer = takeThread()
        defer { giveThread(back: outer) }
        let outcome = Outcome<Result>()
        spawn {
            do { outcome.value = .success(try await body()) } catch { outcome.value = .failure(error) }
        }
        try run { outcome.value != nil }
        guard let value = outcome.value else { preconditionFailure("the run ended without an outcome") }
        let result = try value.get()
        if let complaint = unsafe state.complaint { throw SimulationFailure.disordered(complaint) }
        return result
    }

    /// Makes this and every later `complete` that would end well throw.
    func complain(_ what: String) { unsafe state.complaint = state.complaint ?? what }

    private final class Outcome<Value> {
        var value: Result<Value, any Error>?
    }

    /// Runs one job, or fires the next timer. False where there is neither.
    private func step() throws(SimulationFailure) -> Bool {
        if try runOneJob() { return true }
        guard unsafe !state.timers.isEmpty else { return false }
        fire()
        return true
    }

    private func runOneJob() throws(SimulationFailure) -> Bool {
        if unsafe state.jobsRun > Self.jobLimit { throw .livelock(jobsRun: unsafe state.jobsRun) }
        let job = ready.withLock { ready -> UnownedJob? in
            guard !ready.jobs.isEmpty else { return nil }
            let index = order == .fifo ? 0 : unsafe state.random.below(ready.jobs.count)
            return ready.jobs.remove(at: index)
        }
        guard let job else { return false }
        unsafe state.jobsRun += 1
        // Proof: self outlives the call, and each job is taken from the queue once.
        unsafe job.runSynchronously(on: asUnownedTaskExecutor())
        return true
    }

    private func fire() {
        guard let timer = unsafe state.timers.popLast() else { return }
        unsafe state.nowNs = max(state.nowNs, timer.deadlineNs)
        timer.body()
    }

    private func takeThread() -> pthread_t? {
        ready.withLock { ready in
            let outer = ready.owner
            precondition(outer == nil || outer == pthread_self(), "two threads drive one simulated context")
            ready.owner = pthread_self()
            return outer
        }
    }

    private func giveThread(back outer: pthread_t?) {
        ready.withLock { $0.owner = outer }
    }
}
