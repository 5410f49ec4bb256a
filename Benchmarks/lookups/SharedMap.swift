import Glibc
import Synchronization

/// Where the clusters of a disk lie, read by several threads and changed by one: what a table of an image would be for
/// docs/decisions/0012-threads.md, and nothing else of an image.
///
/// A reader says in its slot in which epoch it began, before it reads an entry; a place that an entry no longer names is used
/// again only when every reader that might know it has ended. That is rule O17 across threads.
@safe final class SharedMap: @unchecked Sendable {
    /// Epochs stand apart, so that no two readers write one line of a cache.
    private static let stride = 16

    let count: Int
    private let entries: UnsafeMutablePointer<Atomic<UInt64>>
    private let slots: UnsafeMutablePointer<Atomic<UInt64>>
    private let readers: Int
    private let epoch = Atomic<UInt64>(1)

    /// Entry i names place i.
    init(count: Int, readers: Int) {
        self.count = count
        self.readers = readers
        unsafe entries = .allocate(capacity: count)
        for index in 0..<count { unsafe (entries + index).initialize(to: Atomic(UInt64(index))) }
        unsafe slots = .allocate(capacity: readers * Self.stride)
        for index in 0..<readers * Self.stride { unsafe (slots + index).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe entries.deallocate()
        unsafe slots.deallocate()
    }

    // MARK: Readers

    /// Called before an entry is read. The store is ordered before every later load: the owner sees the reader, or the reader
    /// sees what the owner changed before it looked.
    @inline(__always)
    func begin(_ reader: Int) {
        unsafe slots[reader * Self.stride].store(epoch.load(ordering: .acquiring), ordering: .sequentiallyConsistent)
    }

    @inline(__always)
    func end(_ reader: Int) { unsafe slots[reader * Self.stride].store(0, ordering: .releasing) }

    @inline(__always)
    subscript(index: Int) -> UInt64 { unsafe entries[index].load(ordering: .acquiring) }

    // MARK: The owner

    /// Gives an entry another place, whose bytes are written. Answers the epoch that must have ended before the old one is used.
    func move(_ index: Int, to place: UInt64) -> UInt64 {
        unsafe entries[index].store(place, ordering: .sequentiallyConsistent)
        return epoch.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
    }

    /// Whether every reader that began in that epoch or before it has ended.
    func hasEnded(_ epoch: UInt64) -> Bool {
        for reader in 0..<readers {
            let began = unsafe slots[reader * Self.stride].load(ordering: .sequentiallyConsistent)
            if began != 0, began <= epoch { return false }
        }
        return true
    }
}
