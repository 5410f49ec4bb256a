import Block
import Bytes

extension Qcow2Check {
    /// An L1 table, and how many disks and snapshots call it theirs.
    struct L1Table {
        let offset: UInt64
        let entries: UInt64
        var times: UInt32
        let isActive: Bool

        var bytes: UInt64 { entries * 8 }
    }

    /// An L2 table, by its cluster, with the number of L1 entries that name it.
    struct NamedTable {
        let cluster: UInt64
        var times: UInt32
        var isActive: Bool
    }

    /// The L1 tables, each once: the active one, then those of the snapshots.
    var l1Tables: [L1Table] {
        var list = [
            L1Table(offset: header.l1TableOffset, entries: UInt64(header.l1Size), times: 1, isActive: true)
        ]
        var known: [UInt64: [Int]] = [:]
        for snapshot in snapshots where snapshot.fault == nil {
            if let same = known[snapshot.l1Offset]?.first(where: { list[$0].entries == snapshot.l1Size }) {
                list[same].times += 1
                continue
            }
            known[snapshot.l1Offset, default: []].append(list.count)
            list.append(
                L1Table(offset: snapshot.l1Offset, entries: snapshot.l1Size, times: 1, isActive: false))
        }
        return list
    }

    /// So many tables are held at once, 16 bytes each.
    private static var tablesAtOnce: Int { 1 << 20 }

    /// Calls `body` with the L2 tables that lie at clusters of the file, in the order of the file. However many entries
    /// name one, it comes once, with their number: what a walk costs follows what the file holds, not what it claims.
    /// Where there are more than are held at once, the L1 tables are read again for the rest. `entry` sees each L1 entry
    /// once.
    func forEachTable(
        entry: (L1Table, UInt64) throws(BlockError) -> Void = { _, _ in },
        _ body: ([NamedTable]) async throws(BlockError) -> Void
    ) async throws(BlockError) {
        var window = 0..<clusters
        var isFirst = true
        while true {
            let named = try await collectTables(&window) { (l1, value) throws(BlockError) in
                if isFirst { try entry(l1, value) }
            }
            isFirst = false
            try await body(named)
            guard window.upperBound < clusters else { return }
            window = window.upperBound..<clusters
        }
    }

    /// The tables of the window, which gives up its upper part where they are too many.
    private func collectTables(
        _ window: inout Range<UInt64>, _ entry: (L1Table, UInt64) throws(BlockError) -> Void
    ) async throws(BlockError) -> [NamedTable] {
        var named: [NamedTable] = []
        for l1 in l1Tables {
            do throws(BlockError) {
                try await forEachEntry(at: l1.offset, count: l1.entries) { (_, value) async throws(BlockError) in
                    try entry(l1, value)
                    let table = value & L2Entry.offsetMask
                    let cluster = table >> UInt64(self.geometry.clusterBits)
                    guard table != 0, table & self.geometry.clusterMask == 0, window.contains(cluster) else { return }
                    named.append(NamedTable(cluster: cluster, times: l1.times, isActive: l1.isActive))
                    if named.count == Self.tablesAtOnce * 2 { Self.bound(&named, &window) }
                }
            } catch {
                if !isFirstRound { throw error }
                try unreadable("ERROR: I/O error in check_refcounts_l1")
            }
        }
        return Self.inOrder(named)
    }

    private static func bound(_ named: inout [NamedTable], _ window: inout Range<UInt64>) {
        named = inOrder(named)
        guard named.count > tablesAtOnce else { return }
        window = window.lowerBound..<named[tablesAtOnce].cluster
        named.removeLast(named.count - tablesAtOnce)
    }

    private static func inOrder(_ named: [NamedTable]) -> [NamedTable] {
        var result: [NamedTable] = []
        for table in named.sorted(by: { $0.cluster < $1.cluster }) {
            guard var last = result.last, last.cluster == table.cluster else {
                result.append(table)
                continue
            }
            let sum = last.times.addingReportingOverflow(table.times)
            last.times = sum.overflow ? .max : sum.partialValue
            last.isActive = last.isActive || table.isActive
            result[result.count - 1] = last
        }
        return result
    }

    /// Tables with a gap of so many bytes at most are read together.
    private static var gap: UInt64 { 64 << 10 }

    /// Reads tables, neighbours together, and calls `body` with the bytes of each that is not all zero. `failed` is told of
    /// what cannot be read.
    func readTables(
        _ tables: [NamedTable], failed: (BlockError) throws(BlockError) -> Void,
        _ body: (NamedTable, RawSpan) async throws(BlockError) -> Void
    ) async throws(BlockError) {
        var next = 0
        while next < tables.count {
            let end = group(tables, from: next)
            try await step(Self.stepsPerRead)
            let start = tables[next].cluster * geometry.clusterSize
            var buffer: AlignedBuffer?
            do throws(BlockError) {
                buffer = try await read(
                    ByteRange(from: start, to: (tables[end - 1].cluster + 1) * geometry.clusterSize))
            } catch {
                if let ending { throw ending }
                // Which of them it is shows when each is read by itself.
                guard end - next == 1 else {
                    for table in tables[next..<end] { try await readTables([table], failed: failed, body) }
                    next = end
                    continue
                }
                try failed(error)
            }
            if let buffer = buffer.take() {
                for table in tables[next..<end] {
                    let within = Int(table.cluster * geometry.clusterSize - start)
                    try await body(table, buffer.bytes.extracting(within..<within + Int(geometry.clusterSize)))
                }
            }
            next = end
        }
    }

    /// The end of the tables that are read together with the one at `first`.
    private func group(_ tables: [NamedTable], from first: Int) -> Int {
        var end = first + 1
        while end < tables.count {
            let gap = (tables[end].cluster - tables[end - 1].cluster - 1) * geometry.clusterSize
            let length = (tables[end].cluster - tables[first].cluster + 1) * geometry.clusterSize
            guard gap <= Self.gap, length <= Self.piece else { break }
            end += 1
        }
        return end
    }
}
