public import Block

/// All jobs of one context.
public final class JobSet {
    private let context: any IOContext
    private let observer: (Job, JobEvent) -> Void
    /// Newest first, as QEMU lists them.
    public private(set) var jobs: [Job] = []
    private var isClosing = false

    /// Jobs at once. One that has ended and is not dismissed counts, so that a client that never dismisses any does not
    /// make the list grow for ever.
    public static let limit = 1024

    /// `observer` is told of every change at the moment it happens; it must not wait.
    public init(context: any IOContext, observer: @escaping (Job, JobEvent) -> Void) {
        self.context = context
        self.observer = observer
    }

    /// The job of this id, or nil.
    public func job(_ id: String) -> Job? { jobs.first { $0.id == id } }

    /// Makes a job, which does nothing until it is started.
    public func create(
        _ id: String, _ kind: JobKind, _ work: any JobWork, _ options: Job.Options = Job.Options()
    ) throws(OpenError) -> Job {
        guard Self.isWellFormed(id) else { throw OpenError("Invalid job ID '\(id)'") }
        guard job(id) == nil else { throw OpenError("Job ID '\(id)' already in use") }
        guard jobs.count < Self.limit, !isClosing else { throw OpenError("There are \(jobs.count) jobs already") }
        let job = Job(id, kind, options, work, on: context) { [weak self] job, event in self?.note(job, event) }
        jobs.insert(job, at: 0)
        job.move(to: .created)
        return job
    }

    /// Makes a job of one closure and starts it.
    @discardableResult
    public func start(
        _ id: String, _ kind: JobKind, _ options: Job.Options = Job.Options(),
        _ body: @escaping (Job) async throws(OpenError) -> Void
    ) throws(OpenError) -> Job {
        let job = try create(id, kind, ClosureWork(body), options)
        job.start()
        return job
    }

    /// Cancels all jobs, and waits until each has ended. None can be made any more.
    public func close() async {
        isClosing = true
        for job in jobs where job.status != .concluded {
            job.cancelWork(force: true)
            if job.status == .created || job.status == .pending { await job.abort() }
            await job.waitUntilConcluded()
        }
    }

    private func note(_ job: Job, _ event: JobEvent) {
        if job.status == .null { jobs.removeAll { $0 === job } }
        observer(job, event)
    }

    /// A letter, then letters, digits, `-`, `.` and `_`.
    private static func isWellFormed(_ id: String) -> Bool {
        func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) }
        guard let first = id.utf8.first, isLetter(first) else { return false }
        return id.utf8.allSatisfy { byte in
            isLetter(byte) || (0x30...0x39).contains(byte) || byte == 0x2D || byte == 0x2E || byte == 0x5F
        }
    }
}

/// Work that is one closure.
private final class ClosureWork: JobWork {
    private let body: (Job) async throws(OpenError) -> Void

    init(_ body: @escaping (Job) async throws(OpenError) -> Void) { self.body = body }

    func run(_ job: Job) async throws(OpenError) { try await body(job) }
}
