import HostIO

/// An I/O thread for one command of the program: started, used and stopped.
enum OwnThread {
    /// Runs `body` on a new I/O thread and waits for its result.
    static func run<Result: Sendable>(_ body: @escaping @Sendable (IOThread) async -> Result) -> Result {
        let thread = IOThread()
        thread.start()
        defer { thread.stop() }
        return thread.block { await body(thread) }
    }
}
