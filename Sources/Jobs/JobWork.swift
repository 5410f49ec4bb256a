public import Block

/// What a job is there for. The calls come on the job's context one after another: `run`; when the job may end, `prepare`;
/// then `conclude`.
public protocol JobWork: AnyObject {
    /// Does the work. It calls `job.pausePoint()` often, or rests at `job.pace`, and returns soon where the job is
    /// cancelled: whatever it returns then, the job has failed. A job that was cancelled before it ran is not run.
    func run(_ job: Job) async throws(OpenError)
    /// The last that can fail: what makes the result stand. Not called where the work failed.
    func prepare() async throws(OpenError)
    /// The end: the result stands, or what was done is undone. Called once for every job.
    func conclude(_ outcome: JobOutcome) async
    /// Whether a ready job can be told to complete.
    var canComplete: Bool { get }
    /// A ready job shall complete: `run` returns soon.
    func complete()
    /// Whether being cancelled without force is an end of its own, as that of a ready mirror is: a success.
    var endsWellWhenCancelled: Bool { get }
}

extension JobWork {
    public func prepare() async throws(OpenError) {}
    public func conclude(_ outcome: JobOutcome) async {}
    public var canComplete: Bool { false }
    public func complete() {}
    public var endsWellWhenCancelled: Bool { false }
}

/// How a job ended.
public enum JobOutcome: Equatable, Sendable {
    case success
    case failure(OpenError)
}
