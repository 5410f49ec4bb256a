import Glibc
import Synchronization

/// Threads that make blocking calls for an I/O thread, started as work comes, at most `size`.
@safe
final class WorkerPool: Sendable {
    private struct State {
        var work: [@Sendable () -> Void] = []
        var threads: [pthread_t] = []
        var idle = 0
        var isStopping = false
    }

    let size: Int
    // Proof: the mutex and the condition live at fixed addresses from init to deinit; `state` is only touched with the
    // mutex held.
    private nonisolated(unsafe) let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private nonisolated(unsafe) let condition: UnsafeMutablePointer<pthread_cond_t>
    private nonisolated(unsafe) var state = State()

    init(size: Int) {
        self.size = size
        unsafe mutex = .allocate(capacity: 1)
        unsafe condition = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(condition, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe pthread_cond_destroy(condition)
        unsafe mutex.deallocate()
        unsafe condition.deallocate()
    }

    func add(_ work: @escaping @Sendable () -> Void) {
        unsafe pthread_mutex_lock(mutex)
        unsafe state.work.append(work)
        // A thread that is woken still counts as idle: each piece of work that waits needs one of its own.
        if unsafe state.idle < state.work.count && state.threads.count < size { startThread() }
        // Where the host has no thread at all for it the caller does it: all others wait, but it ends.
        let left = unsafe state.threads.isEmpty ? state.work.popLast() : nil
        unsafe pthread_cond_signal(condition)
        unsafe pthread_mutex_unlock(mutex)
        left?()
    }

    /// Ends the threads once their work is done.
    func stop() {
        unsafe pthread_mutex_lock(mutex)
        unsafe state.isStopping = true
        let threads = unsafe state.threads
        unsafe pthread_cond_broadcast(condition)
        unsafe pthread_mutex_unlock(mutex)
        for thread in threads { pthread_join(thread, nil) }
    }

    private func startThread() {
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                // Proof: retained for this thread below, released here once.
                unsafe Unmanaged<WorkerPool>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        if code == 0 { unsafe state.threads.append(thread) }
    }

    private func run() {
        unsafe pthread_mutex_lock(mutex)
        while true {
            while unsafe state.work.isEmpty && !state.isStopping {
                unsafe state.idle += 1
                unsafe pthread_cond_wait(condition, mutex)
                unsafe state.idle -= 1
            }
            guard unsafe !state.work.isEmpty else { break }
            let work = unsafe state.work.removeFirst()
            unsafe pthread_mutex_unlock(mutex)
            work()
            unsafe pthread_mutex_lock(mutex)
        }
        unsafe pthread_mutex_unlock(mutex)
    }
}
