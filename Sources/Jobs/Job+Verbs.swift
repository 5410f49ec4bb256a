public import Block
import Filters

// What clients ask of a job. Each checks first that the job stands where it may be asked; a refusal has no effect.
extension Job {
    private func check(_ verb: JobVerb) throws(OpenError) {
        guard verb.statuses.contains(status) else { throw refusal(verb) }
    }

    private func refusal(_ verb: JobVerb) -> OpenError {
        OpenError("Job '\(id)' in state '\(status.rawValue)' cannot accept command verb '\(verb.rawValue)'")
    }

    /// The work rests at its next pause point.
    public func pause() throws(OpenError) {
        try check(.pause)
        guard !isUserPaused else { throw OpenError("Job is already paused") }
        isUserPaused = true
        pauses += 1
        wake()
    }

    public func resume() throws(OpenError) {
        guard isUserPaused else { throw OpenError("Can't resume a job that was not paused") }
        try check(.resume)
        isUserPaused = false
        pauses -= 1
        wake()
    }

    /// Bytes a second; 0: as fast as it can.
    public func setSpeed(_ speed: Int64) throws(OpenError) {
        try check(.setSpeed)
        guard speed >= 0 else { throw OpenError("Parameter 'speed' expects a non-negative value") }
        self.speed = UInt64(speed)
        var limits = ThrottleLimits()
        limits.bps = .init(self.speed)
        throttle = speed > 0 ? Throttle(limits, nowNs: context.nowNs) : nil
        wake()
    }

    /// A ready job finishes what it keeps up with, and ends.
    public func complete() throws(OpenError) {
        try check(.complete)
        guard work.canComplete, !isCancelRequested else {
            throw OpenError("The active block job '\(id)' cannot be completed")
        }
        work.complete()
        wake()
    }

    /// Ends it; without force a job that has an end of its own for that takes it. One whose work is done, and waits to be
    /// finalized, is undone.
    public func cancel(force: Bool) async throws(OpenError) {
        try check(.cancel)
        cancelWork(force: force)
        if status == .created || (status == .pending && isForceCancelled) { await abort() }
    }

    /// Tells the work to end.
    func cancelWork(force: Bool) {
        let force = force || !work.endsWellWhenCancelled || !isReady
        if isUserPaused {
            isUserPaused = false
            pauses -= 1
        }
        // A job whose work is done has ended well unless it must not.
        if force || !isDone {
            isCancelRequested = true
            if force { isForceCancelled = true }
        }
        wake()
    }

    /// Makes the result of a job stand whose work is done.
    public func finalize() async throws(OpenError) {
        try check(.finalize)
        guard !isEnding else { throw refusal(.finalize) }
        await end()
    }

    /// Makes a concluded job go.
    public func dismiss() throws(OpenError) {
        try check(.dismiss)
        move(to: .null)
    }
}
