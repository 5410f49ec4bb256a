/// One parked task. It is resumed exactly once, on the context's thread; resuming puts its job on the ready queue.
///
/// The one place below `HostIO` that holds an unsafe continuation: a checked one allocates at every wait.
@safe
public struct Suspension<Value: Sendable> {
    // Proof: every path that stores a suspension resumes it once (WaitQueue empties its list, an engine completes each
    // operation once); the type is confined to its IOContext's thread.
    @usableFromInline let continuation: UnsafeContinuation<Value, Never>

    @inlinable
    init(_ continuation: UnsafeContinuation<Value, Never>) { unsafe self.continuation = continuation }

    @inlinable
    public func resume(_ value: Value) { unsafe continuation.resume(returning: value) }
}

extension Suspension where Value == Void {
    @inlinable
    public func resume() { resume(()) }
}

/// Parks the running task; `body` runs at once and keeps the suspension for whoever will resume it.
@inlinable
public func suspend<Value: Sendable>(_ body: (Suspension<Value>) -> Void) async -> Value {
    await unsafe withUnsafeContinuation { continuation in
        body(unsafe Suspension(continuation))
    }
}

/// Where one task waits for its next work. Confined to one IOContext.
public final class Parking {
    private var parked: Suspension<Void>?

    public init() {}

    /// Parks the running task until it is woken. Whether there is work must be looked at before and afterwards.
    public func park() async { await suspend { parked = $0 } }

    /// Without effect where nobody is parked.
    public func wake() {
        guard let suspension = parked else { return }
        parked = nil
        suspension.resume()
    }
}

/// Tasks that wait for a condition, first come first woken. Confined to one IOContext.
public final class WaitQueue {
    private var waiting: [Suspension<Void>] = []

    public init() {}

    public var isEmpty: Bool { waiting.isEmpty }

    /// Parks the running task until it is woken. The condition must be looked at again afterwards.
    public func wait() async { await suspend { waiting.append($0) } }

    public func wakeOne() {
        guard !waiting.isEmpty else { return }
        waiting.removeFirst().resume()
    }

    public func wakeAll() {
        guard !waiting.isEmpty else { return }
        let woken = waiting
        waiting.removeAll(keepingCapacity: true)
        for suspension in woken { suspension.resume() }
    }
}

/// Mutual exclusion between tasks of one IOContext, held across awaits, granted in order of arrival.
public final class AsyncLock {
    private var held = false
    private let queue = WaitQueue()

    public init() {}

    public func lock() async {
        if held { await queue.wait() } else { held = true }
    }

    public func unlock() {
        // The lock passes straight to the first waiter, so that a newcomer cannot overtake it.
        if queue.isEmpty { held = false } else { queue.wakeOne() }
    }
}
