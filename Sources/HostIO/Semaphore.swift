import Glibc

/// A counting semaphore of the C library.
@safe
final class Semaphore: Sendable {
    // Proof: allocated in init, freed in deinit, and in between only passed to the sem_* calls, which are thread-safe.
    private nonisolated(unsafe) let handle: UnsafeMutablePointer<sem_t>

    init() {
        unsafe handle = .allocate(capacity: 1)
        unsafe sem_init(handle, 0, 0)
    }

    deinit {
        unsafe sem_destroy(handle)
        unsafe handle.deallocate()
    }

    func signal() { unsafe sem_post(handle) }

    /// Waits through signals (EINTR).
    func wait() { while unsafe sem_wait(handle) != 0 {} }
}
