import Block
import Glibc

/// poll(2), for where io_uring is refused: it only tells readiness; files go to the pool, whose results arrive through
/// the thread's wake-up.
final class PollEngine: Engine {
    private var waiting: [pollfd] = []
    private var ids: [UInt64] = []
    private var cancelled: [UInt64] = []

    var isRing: Bool { false }

    func another() -> any Engine { PollEngine() }

    func begin() -> Int32 { 0 }
    func end() {}

    func poll(_ descriptor: Int32, for direction: PollDirection, id: UInt64) {
        waiting.append(pollfd(fd: descriptor, events: Int16(direction == .readable ? POLLIN : POLLOUT), revents: 0))
        ids.append(id)
    }

    func cancelPoll(_ descriptor: Int32, id: UInt64) {
        guard let index = ids.firstIndex(of: id) else { return }
        remove(index)
        cancelled.append(id)
    }

    func submit(_ operation: FileOperation, id: UInt64) { preconditionFailure("files go to the pool") }

    func enter(wait: Bool, timeoutNs: UInt64, _ complete: (UInt64, Int32) -> Void) {
        let gone = cancelled
        cancelled.removeAll(keepingCapacity: true)
        for id in gone { complete(id, -ECANCELED) }
        let timeoutMs: Int32
        switch (wait && gone.isEmpty, timeoutNs) {
        case (false, _): timeoutMs = 0
        case (true, 0): timeoutMs = -1
        case (true, let ns): timeoutMs = Int32(clamping: (ns + 999_999) / 1_000_000)
        }
        // Proof: the array holds as many entries as are named.
        guard unsafe Glibc.poll(&waiting, UInt(waiting.count), timeoutMs) > 0 else { return }
        var told: [UInt64] = []
        for index in waiting.indices.reversed() where waiting[index].revents != 0 {
            told.append(ids[index])
            remove(index)
        }
        for id in told.reversed() { complete(id, 0) }
    }

    private func remove(_ index: Int) {
        waiting.swapAt(index, waiting.count - 1)
        ids.swapAt(index, ids.count - 1)
        waiting.removeLast()
        ids.removeLast()
    }
}
