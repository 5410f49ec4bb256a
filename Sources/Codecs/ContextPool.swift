import Synchronization

/// Contexts of a codec's library for whichever threads need one: making one costs as much as a cluster's work.
///
/// There come to be as many as threads that worked at once.
@safe
final class ContextPool<Context: AnyObject>: @unchecked Sendable {
    // Proof of Sendable: `free` is touched with the lock held only, and a context that was taken belongs to its taker alone
    // until it is given back.
    private let lock = Mutex(())
    private nonisolated(unsafe) var free: [Context] = []
    private let make: @Sendable () -> Context

    init(_ make: @escaping @Sendable () -> Context) { self.make = make }

    /// Runs `body` with a context of its own.
    func lend<Result, Failure: Error>(_ body: (Context) throws(Failure) -> Result) throws(Failure) -> Result {
        let context = lock.withLock { _ in unsafe free.popLast() } ?? make()
        defer { lock.withLock { _ in unsafe free.append(context) } }
        return try body(context)
    }
}
