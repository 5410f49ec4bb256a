/// Where a job stands in its life, by QEMU's names (`JobStatus` of the wire).
public enum JobStatus: String, CaseIterable, Sendable {
    /// It does not exist yet.
    case undefined
    /// It exists and does nothing.
    case created
    case running
    /// Stopped in its work; it goes on when it is resumed.
    case paused
    /// It has done all it can and keeps up until it is told to complete.
    case ready
    /// Paused while ready.
    case standby
    /// Done; it waits for those that end together with it.
    case waiting
    /// Done; it waits to be finalized.
    case pending
    /// It has failed or was cancelled, and undoes what it did.
    case aborting
    /// All is over; its outcome can be asked for.
    case concluded
    /// It is gone.
    case null

    /// What it can become from here.
    var successors: Set<JobStatus> {
        switch self {
        case .undefined: [.created]
        case .created: [.running, .aborting, .null]
        case .running: [.paused, .ready, .waiting, .aborting]
        case .paused: [.running]
        case .ready: [.standby, .waiting, .aborting]
        case .standby: [.ready]
        case .waiting: [.pending, .aborting]
        case .pending: [.aborting, .concluded]
        case .aborting: [.aborting, .concluded]
        case .concluded: [.null]
        case .null: []
        }
    }
}

/// What a client may ask of a job, by QEMU's names (`JobVerb`).
public enum JobVerb: String, CaseIterable, Sendable {
    case cancel, pause, resume
    case setSpeed = "set-speed"
    case complete, finalize, dismiss

    /// Where a job has to stand to be asked.
    var statuses: Set<JobStatus> {
        switch self {
        case .cancel: [.created, .running, .paused, .ready, .standby, .waiting, .pending]
        case .pause, .resume, .setSpeed: [.created, .running, .paused, .ready, .standby]
        case .complete: [.ready]
        case .finalize: [.pending]
        case .dismiss: [.concluded]
        }
    }
}

/// What a job does, by QEMU's names (`JobType`).
public enum JobKind: String, CaseIterable, Sendable {
    case create
    /// Ours alone: a check beside writers.
    case check
}

/// What a job has to tell of itself.
public enum JobEvent: Sendable {
    /// Its status has changed.
    case status
    /// It can be completed.
    case ready
    /// It waits to be finalized.
    case pending
    /// It has ended; where it failed it has an error.
    case completed
    /// It has ended, cancelled.
    case cancelled
}
