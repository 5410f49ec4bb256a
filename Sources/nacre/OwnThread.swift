import Block
import Dispatch
import HostIO
import Synchronization

/// An I/O thread for one command of the program: started, used and stopped.
enum OwnThread {
    /// Runs `body` on a new I/O thread and waits for its result.
    static func run<Result: Sendable>(_ body: @escaping @Sendable (IOThread) async -> Result) -> Result {
        let thread = IOThread()
        thread.start()
        let slot = Slot<Result>()
        Task { slot.fill(await thread.run { await body(thread) }) }
        slot.done.wait()
        thread.stop()
        guard let result = slot.take() else { preconditionFailure("a task ended without its result") }
        return result
    }

    private final class Slot<Result: Sendable>: Sendable {
        private let outcome = Mutex<Result?>(nil)
        let done = DispatchSemaphore(value: 0)

        func fill(_ result: Result) {
            outcome.withLock { $0 = result }
            done.signal()
        }

        func take() -> Result? { outcome.withLock { $0 } }
    }
}
