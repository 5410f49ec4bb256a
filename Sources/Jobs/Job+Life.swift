import Block

// What becomes of a job by itself.
extension Job {
    /// Begins the work; answers at once.
    public func start() {
        move(to: .running)
        context.spawn { await self.live() }
    }

    private func live() async {
        await pausePoint()
        if !isCancelled {
            do { try await work.run(self) } catch { self.error = error }
        }
        isDone = true
        guard !hasFailed else { return await abort() }
        move(to: .waiting)
        move(to: .pending)
        if options.finalizes { await end() } else { tell(.pending) }
    }

    /// Whether it has failed; a job that was cancelled has.
    private var hasFailed: Bool {
        if isCancelled { error = OpenError("Operation canceled") }
        return error != nil
    }

    /// The end of a job whose work is done.
    func end() async {
        isEnding = true
        do { try await work.prepare() } catch { self.error = error }
        // It may have been cancelled while it prepared.
        await conclude()
    }

    /// The end of one that failed, was cancelled, or must not stand.
    func abort() async {
        guard !isEnding else { return }
        isEnding = true
        await conclude()
    }

    private func conclude() async {
        let hasStarted = status != .created
        if hasFailed, status != .aborting { move(to: .aborting) }
        await work.conclude(error.map { .failure($0) } ?? .success)
        if hasStarted { tell(isCancelled ? .cancelled : .completed) }
        move(to: .concluded)
        if options.dismisses || !hasStarted { move(to: .null) }
        concluded.wakeAll()
    }
}
