import Block
import CLinux
import Glibc

/// io_uring: file operations and polls are entries of one ring, submitted and waited for in one call.
@safe
final class RingEngine: Engine {
    // Proof: the ring is made by `begin` and closed by `end`, and only used between them, on one thread.
    private var ring: OpaquePointer?
    private var ids = [UInt64](repeating: 0, count: RingEngine.batch)
    private var results = [Int32](repeating: 0, count: RingEngine.batch)
    /// Prepared since the ring was last entered.
    private var prepared = 0

    private static let entries: UInt32 = 512
    private static let batch = 64

    var isRing: Bool { true }

    /// Tries whether the kernel gives a ring at all. The thread's own is made by `begin`: a single-issuer ring belongs
    /// to the thread that made it.
    init() throws(BlockError) {
        var trial: OpaquePointer?
        let code = unsafe nacre_ring_open(4, &trial)
        if code < 0 { throw BlockError(errno: -code) }
        unsafe nacre_ring_close(trial)
    }

    func another() throws(BlockError) -> any Engine { try RingEngine() }

    func begin() -> Int32 { unsafe -nacre_ring_open(Self.entries, &ring) }

    func end() {
        unsafe nacre_ring_close(ring)
        unsafe ring = nil
    }

    func poll(_ descriptor: Int32, for direction: PollDirection, id: UInt64) {
        prepared += 1
        unsafe nacre_prep_poll(ring, descriptor, UInt32(direction == .readable ? POLLIN : POLLOUT), id)
    }

    func cancelPoll(_ descriptor: Int32, id: UInt64) {
        prepared += 1
        unsafe nacre_prep_poll_remove(ring, id, OperationTable.ignoredID)
    }

    func submit(_ operation: FileOperation, id: UInt64) {
        prepared += 1
        switch unsafe operation {
        case .read(let file, let memory, let count, let offset):
            unsafe nacre_prep_read(ring, file, memory, UInt32(clamping: count), offset, id)
        case .write(let file, let memory, let count, let offset, let dsync):
            unsafe nacre_prep_write(ring, file, memory, UInt32(clamping: count), offset, dsync ? 1 : 0, id)
        case .fdatasync(let file):
            unsafe nacre_prep_fdatasync(ring, file, id)
        case .fallocate(let file, let mode, let offset, let count):
            unsafe nacre_prep_fallocate(ring, file, mode, offset, count, id)
        }
    }

    func enter(wait: Bool, timeoutNs: UInt64, _ complete: (UInt64, Int32) -> Void) {
        // Deferred work runs only when the ring is entered, so it is entered also where nothing was prepared.
        _ = unsafe nacre_ring_enter(ring, wait ? 1 : 0, timeoutNs)
        prepared = 0
        while true {
            // Proof: both arrays hold `batch` elements, as asked for.
            let count = Int(unsafe nacre_ring_reap(ring, &ids, &results, UInt32(Self.batch)))
            for index in 0..<count { complete(ids[index], results[index]) }
            if count < Self.batch { return }
        }
    }
}
