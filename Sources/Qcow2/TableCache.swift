/// A table that a `TableCache` holds.
protocol CachedTable: AnyObject {
    /// Its index in the table of tables: L1 index or refcount table index.
    var index: Int { get }
    /// Where it stands in the cache's list; the cache's own.
    var slot: Int { get set }
    /// Set by whoever looks it up, cleared as the clock's hand passes.
    var wasUsed: Bool { get set }
    /// Whether it must stay: dirty, or somebody works on it.
    var isPinned: Bool { get }
}

/// Tables in memory, found by index without hashing, evicted by second chance when there are more than `capacity`.
/// Pinned tables stay; where all are pinned the cache grows over its capacity and shrinks later.
struct TableCache<Table: CachedTable> {
    /// Chunks of 512 indices; a chunk is empty until one of its tables is loaded.
    private var directory: [[Table?]]
    private var resident: [Table] = []
    private var hand = 0
    var capacity: Int

    private static var chunkBits: Int { 9 }

    init(indices: Int, capacity: Int) {
        directory = Array(repeating: [], count: (indices + 511) >> Self.chunkBits)
        self.capacity = max(capacity, 1)
    }

    var count: Int { resident.count }
    var tables: [Table] { resident }

    func find(_ index: Int) -> Table? {
        let chunk = index >> Self.chunkBits
        guard chunk < directory.count, !directory[chunk].isEmpty else { return nil }
        return directory[chunk][index & 511]
    }

    mutating func insert(_ table: Table) {
        makeRoom()
        let chunk = table.index >> Self.chunkBits
        while directory.count <= chunk { directory.append([]) }
        if directory[chunk].isEmpty { directory[chunk] = Array(repeating: nil, count: 512) }
        precondition(directory[chunk][table.index & 511] == nil, "a table is cached twice")
        directory[chunk][table.index & 511] = table
        table.slot = resident.count
        resident.append(table)
    }

    mutating func remove(_ table: Table) {
        directory[table.index >> Self.chunkBits][table.index & 511] = nil
        let last = resident.removeLast()
        if last !== table {
            resident[table.slot] = last
            last.slot = table.slot
        }
    }

    /// Evicts until one more fits, as far as tables can be evicted.
    private mutating func makeRoom() {
        var steps = 2 * resident.count
        while resident.count >= capacity, steps > 0 {
            steps -= 1
            if hand >= resident.count { hand = 0 }
            let table = resident[hand]
            if table.isPinned {
                hand += 1
            } else if table.wasUsed {
                table.wasUsed = false
                hand += 1
            } else {
                remove(table)
            }
        }
    }
}
