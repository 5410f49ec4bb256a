import Glibc

/// Runs a body on a thread of its own.
final class Worker: @unchecked Sendable {
    private var thread = pthread_t()
    private let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
        let own = unsafe Unmanaged.passRetained(self)
        unsafe pthread_create(
            &thread, nil,
            { pointer in
                if let pointer = unsafe pointer {
                    unsafe Unmanaged<Worker>.fromOpaque(pointer).takeRetainedValue().body()
                }
                return nil
            }, own.toOpaque())
    }
    func join() { pthread_join(thread, nil) }
}

/// Wakes another thread.
final class Signal: Sendable {
    private let ends: (receiving: Int32, sending: Int32)

    init() {
        var pair: [Int32] = [0, 0]
        unsafe pipe(&pair)
        ends = (pair[0], pair[1])
    }

    deinit {
        close(ends.receiving)
        close(ends.sending)
    }

    func send() {
        var byte: UInt8 = 1
        _ = unsafe Glibc.write(ends.sending, &byte, 1)
    }

    func wait() {
        var byte: UInt8 = 0
        _ = unsafe Glibc.read(ends.receiving, &byte, 1)
    }
}

/// Seconds of CPU that the calling thread has used.
func cpuTime() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
