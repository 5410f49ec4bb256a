import Block
import BlockTestKit
import Jobs
import Testing

/// Jobs on a simulated context, and what they told.
private final class Bench {
    let context = SimulatedContext()
    private(set) var told: [String] = []
    private(set) var jobs: JobSet!

    init() {
        jobs = JobSet(context: context) { [unowned self] job, event in
            told.append(event == .status ? job.status.rawValue : "\(event)".uppercased())
        }
    }

    /// What was told since this was asked last.
    func take() -> [String] {
        defer { told = [] }
        return told
    }

    func run(_ body: @escaping () async throws -> Void) throws {
        try context.complete { try await body() }
    }

    func refusal(_ body: () async throws(OpenError) -> Void) async -> String? {
        do { try await body() } catch { return error.message }
        return nil
    }
}

/// Work that does as the test says, and tells what it is asked.
private final class ScriptedWork: JobWork {
    var failure: OpenError?
    var refusal: OpenError?
    var keepsUp = false
    var endsWellWhenCancelled = false
    var canComplete: Bool { keepsUp }
    private(set) var outcome: JobOutcome?
    private(set) var runs = 0
    private var isComplete = false

    func run(_ job: Job) async throws(OpenError) {
        runs += 1
        job.setRemaining(8)
        for _ in 0..<8 {
            await job.pausePoint()
            if job.isStopping { return }
            await job.sleep(ms: 10)
            job.advance(by: 1)
        }
        if let failure { throw failure }
        guard keepsUp else { return }
        job.becomeReady()
        while !isComplete, !job.isStopping {
            await job.pausePoint()
            await job.sleep(ms: 10)
        }
    }

    func complete() { isComplete = true }
    func prepare() async throws(OpenError) { if let refusal { throw refusal } }
    func conclude(_ outcome: JobOutcome) async { self.outcome = outcome }
}

@Suite("a job")
struct JobTests {
    private static let manual = Job.Options(finalizes: false, dismisses: false)

    @Test("by itself it runs, ends and goes, and tells each step")
    func alone() throws {
        let bench = Bench()
        try bench.run {
            let job = try bench.jobs.start("j", .create) { job throws(OpenError) in
                job.setRemaining(3)
                job.advance(by: 3)
            }
            #expect(bench.take() == ["created", "running"])
            await job.waitUntilConcluded()
            #expect(bench.take() == ["waiting", "pending", "COMPLETED", "concluded", "null"])
            #expect(bench.jobs.jobs.isEmpty)
            #expect(job.progress == 3 && job.total == 3 && job.error == nil)
        }
    }

    @Test("whose work fails undoes it and keeps its error until it is dismissed")
    func failure() throws {
        let bench = Bench()
        try bench.run {
            let work = ScriptedWork()
            work.failure = OpenError("no luck")
            let job = try bench.jobs.create("j", .create, work, Job.Options(dismisses: false))
            job.start()
            await job.waitUntilConcluded()
            #expect(bench.take() == ["created", "running", "aborting", "COMPLETED", "concluded"])
            #expect(work.outcome == .failure(OpenError("no luck")))
            #expect(bench.jobs.job("j")?.error?.message == "no luck")
            try job.dismiss()
            #expect(bench.take() == ["null"])
            #expect(bench.jobs.job("j") == nil)
        }
    }

    @Test("that is to be finalized waits for that, and fails where its result cannot stand")
    func finalizing() throws {
        let bench = Bench()
        try bench.run {
            for refusal in [nil, OpenError("not so")] {
                let work = ScriptedWork()
                work.refusal = refusal
                let job = try bench.jobs.create("j", .create, work, Self.manual)
                job.start()
                await bench.context.sleep(ms: 1000)
                #expect(bench.take() == ["created", "running", "waiting", "pending", "PENDING"])
                #expect(work.outcome == nil)
                try await job.finalize()
                let end = ["COMPLETED", "concluded"]
                #expect(bench.take() == (refusal == nil ? end : ["aborting"] + end))
                #expect(job.error == refusal)
                try job.dismiss()
                #expect(bench.take() == ["null"])
            }
        }
    }

    @Test("that was not to stand is undone when it is cancelled while it waits to be finalized")
    func cancelledWhilePending() throws {
        let bench = Bench()
        try bench.run {
            let work = ScriptedWork()
            let job = try bench.jobs.create("j", .create, work, Self.manual)
            job.start()
            await bench.context.sleep(ms: 1000)
            _ = bench.take()
            try await job.cancel(force: false)
            #expect(bench.take() == ["aborting", "CANCELLED", "concluded"])
            #expect(work.outcome == .failure(OpenError("Operation canceled")))
        }
    }

    @Test("rests while it is paused, and goes on from there")
    func pausing() throws {
        let bench = Bench()
        try bench.run {
            let job = try bench.jobs.create("j", .create, ScriptedWork())
            job.start()
            await bench.context.sleep(ms: 25)
            try job.pause()
            #expect(await bench.refusal { () throws(OpenError) in try job.pause() } == "Job is already paused")
            await bench.context.sleep(ms: 1000)
            #expect(bench.take() == ["created", "running", "paused"])
            let progress = job.progress
            #expect(progress < 8 && !job.isBusy && job.isPaused)
            await bench.context.sleep(ms: 1000)
            #expect(job.progress == progress)
            try job.resume()
            #expect(
                await bench.refusal { () throws(OpenError) in try job.resume() }
                    == "Can't resume a job that was not paused")
            await job.waitUntilConcluded()
            #expect(bench.take() == ["running", "waiting", "pending", "COMPLETED", "concluded", "null"])
            #expect(job.progress == 8)
        }
    }

    @Test("that is cancelled fails, paused or not, and does not go on")
    func cancelling() throws {
        for isPaused in [false, true] {
            let bench = Bench()
            try bench.run {
                let work = ScriptedWork()
                let job = try bench.jobs.create("j", .create, work)
                job.start()
                await bench.context.sleep(ms: 25)
                if isPaused {
                    try job.pause()
                    await bench.context.sleep(ms: 25)
                }
                try await job.cancel(force: false)
                await job.waitUntilConcluded()
                let rest = isPaused ? ["paused", "running"] : []
                #expect(
                    bench.take() == ["created", "running"] + rest + ["aborting", "CANCELLED", "concluded", "null"])
                #expect(work.outcome == .failure(OpenError("Operation canceled")))
                #expect(job.progress < 8)
            }
        }
    }

    @Test("that was never started is cancelled without having run, and goes")
    func neverStarted() throws {
        let bench = Bench()
        try bench.run {
            let work = ScriptedWork()
            let job = try bench.jobs.create("j", .create, work, Self.manual)
            try await job.cancel(force: false)
            #expect(bench.take() == ["created", "aborting", "concluded", "null"])
            #expect(work.runs == 0)
        }
    }

    @Test("that keeps up completes when told; cancelled without force it ends as its work says")
    func keepingUp() throws {
        enum Way: CaseIterable { case complete, cancelSoftly, cancelWell, force }
        for way in Way.allCases {
            let bench = Bench()
            try bench.run {
                let work = ScriptedWork()
                work.keepsUp = true
                work.endsWellWhenCancelled = way == .cancelWell || way == .force
                let job = try bench.jobs.create("j", .create, work)
                job.start()
                #expect(
                    await bench.refusal { () throws(OpenError) in try job.complete() }
                        == "Job 'j' in state 'running' cannot accept command verb 'complete'")
                await bench.context.sleep(ms: 500)
                #expect(bench.take() == ["created", "running", "ready", "READY"])
                try job.pause()
                await bench.context.sleep(ms: 500)
                #expect(bench.take() == ["standby"] && job.isReady)
                try job.resume()
                await bench.context.sleep(ms: 5)
                #expect(bench.take() == ["ready"])
                switch way {
                case .complete: try job.complete()
                case .cancelSoftly, .cancelWell: try await job.cancel(force: false)
                case .force: try await job.cancel(force: true)
                }
                await job.waitUntilConcluded()
                let isWell = way == .complete || way == .cancelWell
                #expect(
                    bench.take()
                        == (isWell ? ["waiting", "pending", "COMPLETED"] : ["aborting", "CANCELLED"])
                        + ["concluded", "null"])
            }
        }
    }

    @Test("moves no more bytes than its speed lets it, and a new speed holds at once")
    func speed() throws {
        let bench = Bench()
        try bench.run {
            let job = try bench.jobs.start("j", .create) { job throws(OpenError) in
                for _ in 0..<100 { await job.admit(1000) }
            }
            #expect(
                await bench.refusal { () throws(OpenError) in try job.setSpeed(-1) }
                    == "Parameter 'speed' expects a non-negative value")
            try job.setSpeed(10_000)
            let start = bench.context.nowNs
            await bench.context.sleep(ms: 5000)
            #expect(job.status == .running)
            await bench.context.sleep(ms: 4000)
            #expect(job.status == .running)
            try job.setSpeed(0)
            await job.waitUntilConcluded()
            #expect(bench.context.nowNs - start < 9_100_000_000)
        }
    }

    @Test("work that keeps to its pace is paused and cancelled at each rest")
    func pace() throws {
        let bench = Bench()
        try bench.run {
            let job = try bench.jobs.start("j", .create) { job throws(OpenError) in
                let pace = job.pace
                do throws(BlockError) {
                    while true {
                        job.advance(by: 1)
                        try await pace.rest()
                    }
                } catch { throw OpenError(error.sentence) }
            }
            for _ in 0..<10 { await bench.context.yield() }
            try job.pause()
            for _ in 0..<10 { await bench.context.yield() }
            #expect(job.status == .paused)
            try await job.cancel(force: false)
            await job.waitUntilConcluded()
            #expect(job.error?.message == "Operation canceled")
        }
    }
}

@Suite("jobs")
struct JobSetTests {
    @Test("have ids of their own, which are identifiers")
    func ids() throws {
        let bench = Bench()
        try bench.run {
            for bad in ["", "1", "-a", "a b", "a/", "ä"] {
                #expect(
                    await bench.refusal { () throws(OpenError) in try bench.jobs.start(bad, .create) { _ in } }
                        == "Invalid job ID '\(bad)'")
            }
            #expect(bench.take() == [])
            for id in ["a", "A.b-c_9"] { _ = try bench.jobs.create(id, .create, ScriptedWork()) }
            #expect(
                await bench.refusal { () throws(OpenError) in try bench.jobs.start("a", .create) { _ in } }
                    == "Job ID 'a' already in use")
            #expect(bench.jobs.jobs.map(\.id) == ["A.b-c_9", "a"])
        }
    }

    @Test("that are never dismissed do not pile up without end")
    func limit() throws {
        let bench = Bench()
        try bench.run {
            for number in 0..<JobSet.limit {
                try bench.jobs.start("j\(number)", .create, Job.Options(dismisses: false)) { _ in }
            }
            await bench.context.sleep(ms: 10)
            #expect(bench.jobs.jobs.allSatisfy { $0.status == .concluded })
            #expect(
                await bench.refusal { () throws(OpenError) in try bench.jobs.start("z", .create) { _ in } }
                    == "There are 1024 jobs already")
            try bench.jobs.job("j7")?.dismiss()
            try bench.jobs.start("z", .create) { _ in }
        }
    }

    @Test("all end when the set closes, whatever they wait for")
    func closing() throws {
        let bench = Bench()
        try bench.run {
            let works = (0..<5).map { _ in ScriptedWork() }
            var jobs: [Job] = []
            for (number, work) in works.enumerated() {
                work.keepsUp = number == 3
                jobs.append(
                    try bench.jobs.create(
                        "j\(number)", .create, work, Job.Options(finalizes: number != 4, dismisses: false)))
            }
            for job in jobs.dropFirst() { job.start() }
            try jobs[2].pause()
            await bench.context.sleep(ms: 1000)
            #expect(jobs.map(\.status) == [.created, .concluded, .paused, .ready, .pending])
            await bench.jobs.close()
            #expect(jobs.map(\.status) == [.null, .concluded, .concluded, .concluded, .concluded])
            #expect(works.map { $0.outcome == .success } == [false, true, false, false, false])
            #expect(
                await bench.refusal { () throws(OpenError) in try bench.jobs.start("z", .create) { _ in } } != nil)
        }
    }

    @Test("every verb is refused wherever it has no meaning, with no effect")
    func verbs() throws {
        for (verb, name) in [("dismiss", "dismiss"), ("finalize", "finalize")] {
            let bench = Bench()
            try bench.run {
                let job = try bench.jobs.create("j", .create, ScriptedWork())
                job.start()
                _ = bench.take()
                let text = await bench.refusal { () throws(OpenError) in
                    if verb == "dismiss" { try job.dismiss() } else { try await job.finalize() }
                }
                #expect(text == "Job 'j' in state 'running' cannot accept command verb '\(name)'")
                #expect(bench.take() == [])
            }
        }
    }
}
