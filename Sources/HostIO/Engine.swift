import Block

/// What a thread submits to and waits on: a ring, or epoll beside a thread pool. Confined to its thread.
protocol Engine: AnyObject {
    /// Whether file operations go to the kernel as ring entries; else they go to the pool.
    var isRing: Bool { get }
    /// Whether the thread may make a call itself where it expects not to wait: not where every one is to be seen here.
    var allowsCallsInPlace: Bool { get }
    /// Another one of its kind, for another thread: who may submit files to this one may submit them to that one. The host may
    /// have no room for it.
    func another() throws(BlockError) -> any Engine
    /// Called on the thread, first and last. The first answers 0, or the errno for which there is no engine.
    func begin() -> Int32
    func end()
    /// Tells once, as operation `id`, that the descriptor can be read or written without waiting.
    func poll(_ descriptor: Int32, for direction: PollDirection, id: UInt64)
    /// Gives a poll up: its operation completes with an error, or with readiness that came first.
    func cancelPoll(_ descriptor: Int32, id: UInt64)
    /// A file operation; only where `isRing`.
    func submit(_ operation: FileOperation, id: UInt64)
    /// Hands prepared work to the kernel, waits where asked for a completion or the timeout (0: none), and tells every
    /// completion.
    func enter(wait: Bool, timeoutNs: UInt64, _ complete: (UInt64, Int32) -> Void)
}

extension Engine {
    var allowsCallsInPlace: Bool { true }
}

enum PollDirection { case readable, writable }

/// One call on a file. Memory stays valid until the operation completes: the task that owns it waits for that.
@unsafe
enum FileOperation {
    case read(Int32, UnsafeMutableRawPointer, Int, at: UInt64)
    case write(Int32, UnsafeRawPointer, Int, at: UInt64, dsync: Bool)
    case fdatasync(Int32)
    case fallocate(Int32, mode: Int32, at: UInt64, count: UInt64)
}

/// Operations under way and who waits for each. Slots are reused; an id is a slot and a generation, so that a late
/// completion of a slot's former use finds nobody.
struct OperationTable {
    static let wakeUpID = UInt64.max
    /// Completions that nobody waits for.
    static let ignoredID = UInt64.max - 1

    private var slots: [(generation: UInt32, waiter: Suspension<Int32>?)] = []
    private var free: [UInt32] = []

    /// How many operations are under way.
    var count: Int { slots.count - free.count }

    mutating func add(_ waiter: Suspension<Int32>) -> UInt64 {
        if let index = free.popLast() {
            slots[Int(index)].waiter = waiter
            return UInt64(slots[Int(index)].generation) << 32 | UInt64(index)
        }
        slots.append((0, waiter))
        return UInt64(slots.count - 1)
    }

    mutating func take(_ id: UInt64) -> Suspension<Int32>? {
        let index = Int(truncatingIfNeeded: id & 0xFFFF_FFFF)
        guard index < slots.count, slots[index].generation == UInt32(truncatingIfNeeded: id >> 32),
            let waiter = slots[index].waiter
        else { return nil }
        slots[index].waiter = nil
        // The top generation would make the wake-up's id; it is skipped.
        slots[index].generation = (slots[index].generation + 1) & 0x7FFF_FFFF
        free.append(UInt32(index))
        return waiter
    }
}
