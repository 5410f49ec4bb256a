import Block
import Jobs
import QMPTypes

// The commands of Schema/job.json and Schema/block-job.json.
extension Service {
    func queryJobs() async throws(QMPError) -> [JobInfo] { jobs.jobs.map { JobInfo($0) } }

    func jobPause(_ arguments: JobPauseArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try job.pause() } catch { throw QMPError(error) }
    }

    func jobResume(_ arguments: JobResumeArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try job.resume() } catch { throw QMPError(error) }
    }

    func jobCancel(_ arguments: JobCancelArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try await job.cancel(force: true) } catch { throw QMPError(error) }
    }

    func jobComplete(_ arguments: JobCompleteArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try job.complete() } catch { throw QMPError(error) }
    }

    func jobFinalize(_ arguments: JobFinalizeArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try await job.finalize() } catch { throw QMPError(error) }
    }

    func jobDismiss(_ arguments: JobDismissArguments) async throws(QMPError) {
        let job = try job(arguments.id)
        do { try job.dismiss() } catch { throw QMPError(error) }
    }

    private func job(_ id: String) throws(QMPError) -> Job {
        guard let job = jobs.job(id) else { throw QMPError("Job not found") }
        return job
    }

    // MARK: Block jobs

    func queryBlockJobs() async throws(QMPError) -> [BlockJobInfo] {
        jobs.jobs.filter(\.options.isBlockJob).map { BlockJobInfo($0) }
    }

    func blockJobSetSpeed(_ arguments: BlockJobSetSpeedArguments) async throws(QMPError) {
        let job = try blockJob(arguments.device)
        do { try job.setSpeed(arguments.speed) } catch { throw QMPError(error) }
    }

    func blockJobCancel(_ arguments: BlockJobCancelArguments) async throws(QMPError) {
        let job = try blockJob(arguments.device)
        let force = arguments.force ?? false
        if job.isUserPaused, !force {
            throw QMPError("The block job for device '\(arguments.device)' is currently paused")
        }
        do { try await job.cancel(force: force) } catch { throw QMPError(error) }
    }

    func blockJobPause(_ arguments: BlockJobPauseArguments) async throws(QMPError) {
        let job = try blockJob(arguments.device)
        do { try job.pause() } catch { throw QMPError(error) }
    }

    func blockJobResume(_ arguments: BlockJobResumeArguments) async throws(QMPError) {
        let job = try blockJob(arguments.device)
        do { try job.resume() } catch { throw QMPError(error) }
    }

    func blockJobComplete(_ arguments: BlockJobCompleteArguments) async throws(QMPError) {
        let job = try blockJob(arguments.device)
        do { try job.complete() } catch { throw QMPError(error) }
    }

    func blockJobFinalize(_ arguments: BlockJobFinalizeArguments) async throws(QMPError) {
        let job = try blockJob(arguments.id)
        do { try await job.finalize() } catch { throw QMPError(error) }
    }

    func blockJobDismiss(_ arguments: BlockJobDismissArguments) async throws(QMPError) {
        let job = try blockJob(arguments.id)
        do { try job.dismiss() } catch { throw QMPError(error) }
    }

    private func blockJob(_ id: String) throws(QMPError) -> Job {
        guard let job = jobs.job(id), job.options.isBlockJob else {
            throw QMPError("Block job '\(id)' not found", class: .deviceNotActive)
        }
        return job
    }

    // MARK: Events

    func tell(_ event: JobEvent, of job: Job) {
        if event == .status {
            return tell(.jobStatusChange(JobStatusChangeEvent(id: job.id, status: QMPTypes.JobStatus(job.status))))
        }
        guard job.options.isBlockJob else { return }
        let (type, length, offset) = (JobType(job.kind), Int64(clamping: job.total), Int64(clamping: job.progress))
        let speed = Int64(clamping: job.speed)
        switch event {
        case .status: break
        case .ready:
            tell(
                .blockJobReady(
                    BlockJobReadyEvent(type: type, device: job.id, len: length, offset: offset, speed: speed)))
        case .pending: tell(.blockJobPending(BlockJobPendingEvent(type: type, id: job.id)))
        case .completed:
            tell(
                .blockJobCompleted(
                    BlockJobCompletedEvent(
                        type: type, device: job.id, len: length, offset: offset, speed: speed, error: job.error?.message
                    )))
        case .cancelled:
            tell(
                .blockJobCancelled(
                    BlockJobCancelledEvent(type: type, device: job.id, len: length, offset: offset, speed: speed)))
        }
    }
}

extension QMPTypes.JobType {
    fileprivate init(_ kind: JobKind) {
        switch kind {
        case .create: self = .create
        case .check: self = .check
        }
    }
}

extension QMPTypes.JobStatus {
    fileprivate init(_ status: Jobs.JobStatus) {
        switch status {
        case .undefined: self = .undefined
        case .created: self = .created
        case .running: self = .running
        case .paused: self = .paused
        case .ready: self = .ready
        case .standby: self = .standby
        case .waiting: self = .waiting
        case .pending: self = .pending
        case .aborting: self = .aborting
        case .concluded: self = .concluded
        case .null: self = .null
        }
    }
}

extension JobInfo {
    fileprivate init(_ job: Job) {
        self.init(
            id: job.id, type: JobType(job.kind), status: QMPTypes.JobStatus(job.status),
            currentProgress: Int64(clamping: job.progress), totalProgress: Int64(clamping: job.total),
            error: job.error?.message)
    }
}

extension BlockJobInfo {
    fileprivate init(_ job: Job) {
        self.init(
            type: job.kind.rawValue, device: job.id, len: Int64(clamping: job.total),
            offset: Int64(clamping: job.progress), busy: job.isBusy, paused: job.isPaused,
            speed: Int64(clamping: job.speed), ioStatus: .ok, ready: job.isReady,
            status: QMPTypes.JobStatus(job.status), autoFinalize: job.options.finalizes,
            autoDismiss: job.options.dismisses, error: job.error?.message)
    }
}
