import Dispatch
import Synchronization

extension IOThread {
    /// Runs `body` on the thread and blocks the caller, which runs on another, until its result is there.
    public func block<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) -> Result {
        precondition(!isCurrent)
        let call = BlockedCall<Result>()
        Task(executorPreference: self) { call.fill(await body()) }
        return call.wait()
    }
}

/// A result that another thread waits for.
private final class BlockedCall<Result: Sendable>: Sendable {
    private let result = Mutex<Result?>(nil)
    private let done = DispatchSemaphore(value: 0)

    func fill(_ result: Result) {
        self.result.withLock { $0 = result }
        done.signal()
    }

    func wait() -> Result {
        done.wait()
        guard let result = result.withLock({ $0 }) else { preconditionFailure("a call ended without its result") }
        return result
    }
}
