public import Bytes

/// Keeps requests that must not overlap apart: a caller holds a range, and others that overlap it wait their turn.
public final class RangeLock {
    private var held: [ByteRange] = []
    private let queue = WaitQueue()

    public init() {}

    /// Waits until nothing held overlaps `range`, then holds it.
    public func lock(_ range: ByteRange) async {
        while held.contains(where: { $0.overlaps(range) }) { await queue.wait() }
        held.append(range)
    }

    /// Gives back a range taken by `lock`.
    public func unlock(_ range: ByteRange) {
        guard let index = held.firstIndex(of: range) else {
            preconditionFailure("a range is unlocked that nobody holds")
        }
        held.swapAt(index, held.count - 1)
        held.removeLast()
        queue.wakeAll()
    }
}
