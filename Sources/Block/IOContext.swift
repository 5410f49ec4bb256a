/// The thread that owns a graph, as the graph sees it: a place where tasks run one at a time, with a clock.
///
/// `IOThread` (HostIO) is the real one, `SimulatedContext` (BlockTestKit) the deterministic one. Everything of the block
/// layers that belongs to a context is a plain class, not Sendable: it is only touched by tasks spawned here. State
/// changes in functions that are not `async`, so each change is atomic; what was checked before an `await` is checked
/// again after it.
public protocol IOContext: AnyObject, Sendable {
    /// Runs the jobs of this context's tasks, one at a time.
    var taskExecutor: any TaskExecutor { get }
    /// Whether the caller runs on this context.
    var isCurrent: Bool { get }
    /// Monotonic time in nanoseconds.
    var nowNs: UInt64 { get }
    /// Runs `body` once on this context, at the earliest `afterMs` milliseconds from now, unless cancelled before; as what
    /// `onOwner` is given, wherever it was asked for.
    func schedule(afterMs: UInt64, _ body: @escaping () -> Void) -> TimerID
    /// Runs work that computes for long, or waits for the kernel, on another thread, and answers what it does. Work is done
    /// in any order, several pieces at once.
    func offload(_ work: @escaping @Sendable () -> Int32) async -> Int32
    /// A timer that has fired, or was cancelled before, is left alone.
    func cancel(_ timer: TimerID)
    /// Parks the running task for `ms` milliseconds.
    func sleep(ms: UInt64) async
    /// Does what concerns more than the caller's own disk, such as telling a monitor: at once, or soon where the caller runs on
    /// a thread that serves some disks only. In the order of asking.
    func onOwner(_ body: @escaping () -> Void)
}

extension IOContext {
    /// For contexts with one thread.
    public func onOwner(_ body: @escaping () -> Void) { body() }

    /// Starts a task that outlives the request it is begun for: not on the thread of one client.
    public func spawnOnOwner(_ body: @escaping () async -> Void) { onOwner { self.spawn(body) } }

    /// Carries `body` out on a thread beside the caller's, and parks the caller until it has ended. Both take turns, so what
    /// `body` holds may be the caller's.
    public func visit(_ executor: any TaskExecutor, _ body: @escaping () async -> Void) async {
        await suspend { (suspension: Suspension<Void>) in
            // Proof: the threads of a context that touch the same things do so in turns.
            nonisolated(unsafe) let (body, suspension) = (body, suspension)
            Task(executorPreference: executor) {
                unsafe await body()
                unsafe suspension.resume()
            }
        }
    }
}

/// Names one timer of one context; never reused.
public struct TimerID: Hashable, Sendable {
    public let number: UInt64
    public init(number: UInt64) { self.number = number }
}

extension IOContext {
    /// For contexts without other threads: in its turn.
    public func offload(_ work: @escaping @Sendable () -> Int32) async -> Int32 {
        await yield()
        return work()
    }

    /// Starts a task of this context. The only way from synchronous code of the context into asynchronous code.
    public func spawn(_ body: @escaping () async -> Void) {
        precondition(isCurrent, "spawn is called on the context it spawns to")
        // Proof: the caller runs on this context (checked above) and the task runs nowhere else, so what the closure
        // holds never leaves the thread it lives on.
        nonisolated(unsafe) let body = body
        Task(executorPreference: taskExecutor) { unsafe await body() }
    }

    /// Runs `body` on this context from anywhere and answers its result. Entry from outside: the program's start,
    /// tests.
    public func run<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) async -> Result {
        await Task(executorPreference: taskExecutor) { await body() }.value
    }

    /// Parks the running task until all that is ready has run, due timers have fired and the kernel has been asked: for
    /// work that would hold others up for long.
    ///
    /// By a timer: a suspension that is resumed while it is made does not suspend at all.
    public func yield() async { await sleep(ms: 0) }

    public func sleep(ms: UInt64) async {
        await suspend { (suspension: Suspension<Void>) in
            _ = schedule(afterMs: ms) { suspension.resume() }
        }
    }
}
