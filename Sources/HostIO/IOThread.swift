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
///
/// It may have peers, threads that run tasks beside it: `IOThread+Peers.swift`. Whoever holds the thread as an
/// `IOContext` then means the one of them on which he runs.
@safe
public final class IOThread: IOContext, TaskExecutor, @unchecked Sendable {
    // Proof of Sendable: `inbox` is a lock; `peers` changes while the thread is alone and is read in turns; all else is
    // touched on the thread alone, or before it starts.

    /// How the thread reaches the kernel.
    public enum EngineChoice: Sendable {
        /// io_uring, or the thread pool where the kernel refuses a ring.
        case automatic
        /// The thread pool and poll(2).
        case threads
    }

    /// What other threads hand over.
    struct Inbox {
        var jobs: [UnownedJob] = []
        var completions: [(id: UInt64, result: Int32)] = []
        /// Timers that are set, those that are not wanted any more, and such polls.
        var timers: [(id: TimerID, ns: UInt64, body: () -> Void)] = []
        var cancelled: [TimerID] = []
        var polls: [Readiness] = []
        var isWoken = false
    }

    private let inbox = Mutex(Inbox())
    private let wakeUp: Int32
    private var ready: [UnownedJob] = []
    private var running: [UnownedJob] = []
    var timers = TimerQueue()
    private var lastTimer: UInt64
    var polling = Polling()
    /// How many completions the kernel has told.
    private var completions: UInt64 = 0
    private var isStopping = false
    /// Jobs that became ready by work of the thread itself, for the budget of enqueues per suspension.
    private(set) var enqueues: UInt64 = 0
    private var thread = pthread_t()
    private var threadStarted = false
    private var startError: Int32 = 0

    /// The number among its peers; the owner's is 0.
    let number: Int
    let turns: Turns
    /// Started by the owner, in its turns; none is ever removed.
    var peers: [IOThread] = []
    /// Those that nobody has taken.
    var idlePeers: [IOThread] = []
    var holdsTurn = false

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

    convenience init(on engine: any Engine, poolSize: Int) {
        let wakeUp = nacre_eventfd()
        precondition(wakeUp >= 0, "eventfd: no descriptors left at the start")
        self.init(on: engine, WorkerPool(size: poolSize), wakeUp: wakeUp, number: 0, Turns())
    }

    /// Takes `wakeUp` over, an eventfd.
    init(on engine: any Engine, _ pool: WorkerPool, wakeUp: Int32, number: Int, _ turns: Turns) {
        self.engine = engine
        self.pool = pool
        self.wakeUp = wakeUp
        self.number = number
        self.turns = turns
        lastTimer = UInt64(number) << 48
    }

    static func engine(_ choice: EngineChoice) -> any Engine {
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
        let code = tryToStart()
        precondition(code == 0, "no thread could be started, or the kernel gave a small ring and refuses the real one")
    }

    /// Starts the thread. Answers 0, or the errno that it could not be started for; it is then of no use.
    func tryToStart() -> Int32 {
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
        guard code == 0 else {
            // Proof: no thread has taken the box.
            unsafe box.release()
            return code
        }
        started.wait()
        if startError != 0 { pthread_join(thread, nil) }
        return startError
    }

    /// Asks the loop to end once the jobs that are ready have run, and waits for its end; then its peers'. Called from
    /// another thread.
    public func stop() {
        precondition(!isOwn)
        enqueueExternal { $0.isStopping = true }
        pthread_join(thread, nil)
        pool.stop()
        for peer in peers { peer.stop() }
    }

    private func main(started: Semaphore) {
        thread = pthread_self()
        startError = engine.begin()
        guard startError == 0 else { return started.signal() }
        armWakeUp()
        started.signal()
        while !isStopping || !ready.isEmpty { turn() }
        engine.end()
    }

    /// One round of the loop.
    private func turn() {
        beginTurn()
        // First, so that what was handed over in order is done in order.
        takeInbox()
        runReady()
        while let body = timers.takeDue(at: nowNs) { body() }
        endTurn()
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
        if isOwn {
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

    func post(_ change: (inout Inbox) -> Void) {
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

    func enqueueExternal(_ body: @escaping @Sendable (IOThread) -> Void) {
        Task(executorPreference: self) { body(self) }
    }

    private func takeInbox() {
        let taken = inbox.withLock { inbox in
            // What was not woken was handed nothing.
            guard inbox.isWoken else { return Inbox() }
            return exchange(&inbox, with: Inbox())
        }
        guard taken.isWoken else { return }
        ready.append(contentsOf: taken.jobs)
        for timer in taken.timers { timers.add(timer.id, at: timer.ns, timer.body) }
        for timer in taken.cancelled { timers.remove(timer) }
        for poll in taken.polls { engine.cancelPoll(poll.descriptor, id: poll.id) }
        for (id, result) in taken.completions { complete(id, result) }
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

    /// Whether the caller runs on this very thread.
    var isOwn: Bool { pthread_equal(thread, pthread_self()) != 0 }

    // MARK: IOContext

    public var taskExecutor: any TaskExecutor { here }
    public var isCurrent: Bool { here.isOwn }

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
        let (thread, ns) = (here, time(afterMs: afterMs))
        let timer = thread.nextTimer()
        if thread === self {
            timers.add(timer, at: ns, body)
        } else {
            // Proof: the owner runs it in a turn of its own, when nobody else runs.
            nonisolated(unsafe) let body = body
            post { unsafe $0.timers.append((timer, ns, body)) }
        }
        return timer
    }

    public func cancel(_ timer: TimerID) {
        if here === self { timers.remove(timer) } else { post { $0.cancelled.append(timer) } }
    }

    public func sleep(ms: UInt64) async {
        await suspend { (suspension: Suspension<Void>) in
            let thread = here
            thread.timers.add(thread.nextTimer(), at: time(afterMs: ms)) { suspension.resume() }
        }
    }

    private func nextTimer() -> TimerID {
        lastTimer += 1
        return TimerID(number: lastTimer)
    }

    private func time(afterMs: UInt64) -> UInt64 {
        // What overflows is never: some client asked for it.
        let wait = afterMs.multipliedReportingOverflow(by: 1_000_000)
        let time = nowNs.addingReportingOverflow(wait.partialValue)
        return wait.overflow || time.overflow ? .max : time.partialValue
    }
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
