import Block

/// A descriptor that a task waits for.
struct Readiness {
    let thread: IOThread
    let descriptor: Int32
    let id: UInt64

    /// Gives it up: the task goes on. From any of the threads that take turns.
    func cancel() {
        if thread.isOwn { thread.engine.cancelPoll(descriptor, id: id) } else { thread.post { $0.polls.append(self) } }
    }
}

extension IOThread {
    /// Parks the task until the descriptor is ready, or what `note` was told is cancelled.
    func ready(_ descriptor: Int32, for direction: PollDirection, note: (Readiness?) -> Void) async {
        _ = await suspend { (waiter: Suspension<Int32>) in
            let thread = here
            let id = thread.operations.add(waiter)
            note(Readiness(thread: thread, descriptor: descriptor, id: id))
            thread.engine.poll(descriptor, for: direction, id: id)
        }
        note(nil)
    }
}
