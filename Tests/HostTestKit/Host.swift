public import Block
public import HostIO

/// Both engines: every promise of the thread is kept on each. Where the kernel refuses a ring, both are the pool.
public let engines: [IOThread.EngineChoice] = [.automatic, .threads]

/// Runs a test's body on a new I/O thread, and ends the thread.
public func onThread<Value: Sendable>(
    _ engine: IOThread.EngineChoice, _ body: @escaping @Sendable (IOThread) async throws -> Value
) async throws -> Value {
    try await run(on: IOThread(engine: engine), body)
}

/// Runs a test's body on a thread that has not started yet, and ends the thread.
public func run<Value: Sendable>(
    on thread: IOThread, _ body: @escaping @Sendable (IOThread) async throws -> Value
) async throws -> Value {
    thread.start()
    let result = await thread.run { () async -> Result<Value, any Error> in
        do { return .success(try await body(thread)) } catch { return .failure(error) }
    }
    thread.stop()
    return try result.get()
}

extension IOThread {
    /// Lets the others go on until the condition holds; false where it never does.
    public func waits(until condition: () -> Bool) async -> Bool {
        let end = nowNs + 60_000_000_000
        while !condition() {
            if nowNs > end { return false }
            await sleep(ms: 1)
        }
        return true
    }
}

/// The error of the data path that `body` throws.
public func failure(of body: () async throws -> Void) async -> BlockError? {
    do { try await body() } catch { return error as? BlockError }
    return nil
}

/// The words with which `body` is refused; empty where it is not.
public func refusal(of body: () async throws -> Void) async -> String {
    do { try await body() } catch { return (error as? OpenError)?.message ?? "\(error)" }
    return ""
}

/// A count or a list that tasks of one thread share.
public final class Shared<Value> {
    public var value: Value
    public init(_ value: Value) { self.value = value }
}
