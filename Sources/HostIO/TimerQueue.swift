import Block

/// The timers of one thread: a binary heap by time, then by order of making. A cancelled timer keeps its place and is
/// skipped.
struct TimerQueue {
    private var heap: [(atNs: UInt64, number: UInt64)] = []
    private var bodies: [UInt64: () -> Void] = [:]

    /// When the earliest timer fires.
    var nextNs: UInt64? {
        mutating get {
            while let first = heap.first, bodies[first.number] == nil { removeFirst() }
            return heap.first?.atNs
        }
    }

    mutating func add(_ timer: TimerID, at ns: UInt64, _ body: @escaping () -> Void) {
        bodies[timer.number] = body
        heap.append((ns, timer.number))
        siftUp(heap.count - 1)
    }

    mutating func remove(_ timer: TimerID) { bodies[timer.number] = nil }

    /// Takes the body of the earliest timer that is due.
    mutating func takeDue(at ns: UInt64) -> (() -> Void)? {
        guard let next = nextNs, next <= ns, let first = heap.first else { return nil }
        removeFirst()
        return bodies.removeValue(forKey: first.number)
    }

    private mutating func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0, heap[child] < heap[(child - 1) / 2] {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }
}
