public import Block
import CLinux
import Glibc
import Logging
import Synchronization

/// The thread that owns a graph: runs the jobs of its tasks one at a time, and between them submits and reaps the I/O
/// they wait for. Serial by being one thread; a task executor, so that tasks started on it never leave it.
///
/// The loop: run the ready jobs, take what other threads sent, fire timers, then enter the kernel once, to submit what
/// the jobs prepared and to wait where nothing is ready.
@safe
public final class IOThread: IOContext, TaskExecutor, @unchecked Sendable {
    // Proof of Sendable: `inbox` is a lock; all else is touched on the thread alone, or before it starts.

    /// How the thread reaches the kernel.
    public enum EngineChoice: Sendable {
        /// io_uring, or the thread pool where the kernel refuses a ring.
        case automatic
        /// The thread pool and poll(2).
        case threads
    }

    /// What other threads hand over.
    private struct Inbox {
        var jobs: [UnownedJob] = []
        var completions: [(id: UInt64, result: Int32)] = []
        var isWoken = false
    }

    private let inbox = Mutex(Inbox())
    private let wakeUp: Int32
    private var ready: [UnownedJob] = []
    private var running: [UnownedJob] = []
    private var timers = TimerQueue()
    private var polling = Polling()
    /// How many completions the kernel has told.
    private var completions: UInt64 = 0
    private var isStopping = false
    /// Jobs that became ready by work of the thread itself, for the budget of enqueues per suspension.
    private(set) var enqueues: UInt64 = 0
    private var thread = pthread_t()
    private var threadStarted = false

    var operations = OperationTable()
    let engine: any Engine
    /// Blocking calls run here, one thread each, under both engines.
    let pool: WorkerPool
    private static let log = Logger(label: "nacre.io")

    /// The file engine that is used when a file asks for `io_uring`.
    public var hasRing: Bool { engine.isRing }

    public convenience init(engine choice: EngineChoice = .automatic, poolSize: Int = 8) {
        self.init(on: Self.engine(choice), poolSize: poolSize)
    }

    init(on engine: any Engine, poolSize: Int) {
        wakeUp = nacre_eventfd()
        precondition(wakeUp >= 0, "eventfd: no descriptors left at the start")
        pool = WorkerPool(size: poolSize)
        self.engine = engine
    }

    private static func engine(_ choice: EngineChoice) -> any Engine {
        guard choice == .automatic else { return PollEngine() }
        do { return try RingEngine() } catch {
            log.warning("io_uring is refused (errno \(error.errno)): files use a thread pool")
            return PollEngine()
        }
    }

    deinit { Glibc.close(wakeUp) }

    // MARK: The thread

    /// Starts the thread.
    public func start() {
        precondition(!threadStarted)
        threadStarted = true
        let started = Semaphore()
        let box = unsafe Unmanaged.passRetained(StartBox(thread: self, started: started))
        var created = pthread_t()
        // Proof: the new thread takes the box exactly once.
        let code = unsafe pthread_create(
            &created, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let box = unsafe Unmanaged<StartBox>.fromOpaque(argument).takeRetainedValue()
                box.thread.main(started: box.started)
                return nil
            }, box.toOpaque())
        precondition(code == 0, "no thread could be started")
        started.wait()
    }

    /// Asks the loop to end once the jobs that are ready have run, and waits for its end. Called from another thread.
    public func stop() {
        precondition(!isCurrent)
        enqueueExternal { $0.isStopping = true }
        pthread_join(thread, nil)
        pool.stop()
    }

    private func main(started: Semaphore) {
        thread = pthread_self()
        engine.begin()
        armWakeUp()
        started.signal()
        while !isStopping || !ready.isEmpty { turn() }
        engine.end()
    }

    /// One round of the loop.
    private func turn() {
        runReady()
        takeInbox()
        while let body = timers.takeDue(at: nowNs) { body() }
        guard ready.isEmpty, !isStopping else { return enter(wait: false) }
        guard polling.maxNs > 0 else { return enter(wait: true) }
        let startNs = nowNs
        if !lookForWork(from: startNs) { enter(wait: true) }
        polling.note(idleNs: nowNs - startNs)
    }

    private func enter(wait: Bool) {
        // The clock is read once: it may pass the timer's time between two readings.
        let now = nowNs
        let timeout = timers.nextNs.map { $0 > now ? $0 - now : 1 } ?? 0
        engine.enter(wait: wait, timeoutNs: timeout) { id, result in self.complete(id, result) }
    }

    /// Asks the kernel again and again, for as long as that pays or a timer lets it. False where nothing came.
    private func lookForWork(from startNs: UInt64) -> Bool {
        let endNs = min(startNs &+ polling.spanNs, timers.nextNs ?? .max)
        let before = completions
        while nowNs < endNs {
            enter(wait: false)
            if completions != before { return true }
        }
        return false
    }

    /// Jobs that become ready meanwhile run too, but not for ever: those of a client that keeps us busy hold up neither
    /// timers nor the kernel, through which all others come.
    private func runReady() {
        var (rounds, end) = (0, UInt64.max)
        while !ready.isEmpty {
            swap(&ready, &running)
            for job in running {
                // Proof: each job was enqueued once and is run once, on the executor it was enqueued to.
                unsafe job.runSynchronously(on: asUnownedTaskExecutor())
            }
            running.removeAll(keepingCapacity: true)
            rounds += 1
            // Most turns are over by then, and never ask for the time.
            guard rounds % Self.roundsPerLook == 0 else { continue }
            let now = nowNs
            if now >= end { return }
            if end == .max { end = now + Self.turnNs }
        }
    }

    /// How long jobs follow upon jobs before the kernel is entered: long beside the call, short beside what a client
    /// takes for a delay.
    private static let turnNs: UInt64 = 500_000
    /// How many rounds of jobs there are between two looks at the clock.
    private static let roundsPerLook = 4

    // MARK: Wake-ups

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            enqueues &+= 1
            ready.append(job)
        } else {
            post { $0.jobs.append(job) }
        }
    }

    /// Hands the result of a pooled operation over to the thread.
    func postCompletion(_ id: UInt64, _ result: Int32) {
        post { $0.completions.append((id, result)) }
    }

    private func post(_ change: (inout Inbox) -> Void) {
        let mustWake = inbox.withLock { inbox in
            change(&inbox)
            defer { inbox.isWoken = true }
            return !inbox.isWoken
        }
        guard mustWake else { return }
        var one: UInt64 = 1
        // Proof: eight bytes of a local.
        _ = unsafe Glibc.write(wakeUp, &one, 8)
    }

    private func enqueueExternal(_ body: @escaping @Sendable (IOThread) -> Void) {
        Task(executorPreference: self) { body(self) }
    }

    private func takeInbox() {
        let (jobs, completions) = inbox.withLock { inbox in
            let taken = (inbox.jobs, inbox.completions)
            if !inbox.jobs.isEmpty { inbox.jobs = [] }
            if !inbox.completions.isEmpty { inbox.completions = [] }
            inbox.isWoken = false
            return taken
        }
        ready.append(contentsOf: jobs)
        for (id, result) in completions { complete(id, result) }
    }

    private func armWakeUp() {
        engine.poll(wakeUp, for: .readable, id: OperationTable.wakeUpID)
    }

    private func complete(_ id: UInt64, _ result: Int32) {
        completions &+= 1
        if id == OperationTable.wakeUpID {
            var count: UInt64 = 0
            // Proof: eight bytes of a local.
            _ = unsafe Glibc.read(wakeUp, &count, 8)
            armWakeUp()
        } else {
            operations.take(id)?.resume(result)
        }
    }

    /// How long the thread looks for work before it sleeps, at most, in nanoseconds; 0: it sleeps at once.
    public var pollMaxNs: UInt64 {
        get { polling.maxNs }
        set { polling.maxNs = newValue }
    }

    // MARK: IOContext

    public var taskExecutor: any TaskExecutor { self }
    public var isCurrent: Bool { pthread_equal(thread, pthread_self()) != 0 }

    public var nowNs: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Wall-clock time: microseconds of UTC since 1970.
    public static var wallClockUs: UInt64 {
        var time = timespec()
        // Proof: one local structure.
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1000
    }

    public func schedule(afterMs: UInt64, _ body: @escaping () -> Void) -> TimerID {
        // What overflows is never: some client asked for it.
        let wait = afterMs.multipliedReportingOverflow(by: 1_000_000)
        let time = nowNs.addingReportingOverflow(wait.partialValue)
        return timers.add(at: wait.overflow || time.overflow ? .max : time.partialValue, body)
    }

    public func cancel(_ timer: TimerID) { timers.remove(timer) }
}

/// What a new thread is given.
private final class StartBox: Sendable {
    let thread: IOThread
    let started: Semaphore
    init(thread: IOThread, started: Semaphore) {
        self.thread = thread
        self.started = started
    }
}
