import Block
import Bytes

/// A change of the whole image that takes effect with one write: tables and refcounts as they shall be lie in free clusters,
/// beside those in force, until the header's first sector names them all (docs/decisions/0005-one-sector.md).
///
/// The caller holds the image's `structure`; no request is under way, and nothing waits for a commit.
final class NextImage {
    let image: Qcow2Image
    let refcounts: NextRefcounts
    /// The header with its new places; nothing of it holds yet.
    var header: Header
    var l1: [UInt64]
    var snapshots: [Snapshot]
    var snapshotTableBytes: UInt64
    private let pace: Pace

    init(_ image: Qcow2Image, refcountOrder: UInt32, _ pace: Pace) {
        self.image = image
        self.pace = pace
        refcounts = NextRefcounts(image, refcountOrder: refcountOrder)
        header = image.header
        header.refcountOrder = refcountOrder
        (l1, snapshots, snapshotTableBytes) = (image.l1, image.snapshots, image.snapshotTableBytes)
    }

    var bits: UInt64 { UInt64(image.geometry.clusterBits) }

    // MARK: Mappings

    /// Takes a mapping away: its L1 table, the tables that this names, and what those name have a reference less.
    func drop(_ l1: [UInt64], at offset: UInt64) async throws(BlockError) {
        for (index, entry) in l1.enumerated() {
            guard let table = try await table(entry, index) else { continue }
            for position in 0..<table.count { try await count(table[position], by: -1) }
            try await refcounts.change(table.offset >> bits, by: -1)
        }
        try await refcounts.change(l1Clusters(offset, l1.count), by: -1)
    }

    /// Another mapping like one that stays as it is: what both name has a reference more, and neither may write it in place. A
    /// table that says otherwise is copied for the new mapping, the others are shared. Answers the new mapping.
    func share(_ l1: [UInt64]) async throws(BlockError) -> [UInt64] {
        var shared = l1
        for (index, entry) in l1.enumerated() {
            shared[index] = 0
            guard let table = try await table(entry, index) else { continue }
            for position in 0..<table.count {
                try await count(table[position], by: 1)
                flag(table, position, isAlone: false)
            }
            if table.dirty == 0 {
                try await refcounts.change(table.offset >> bits, by: 1)
                shared[index] = table.offset
            } else {
                shared[index] = try await write(table)
            }
        }
        return shared
    }

    /// The mapping with flags that tell which of its clusters are used once: tables are copied where one has changed.
    func flagged(_ l1: [UInt64]) async throws(BlockError) -> [UInt64] {
        var flagged = l1
        for (index, entry) in l1.enumerated() {
            flagged[index] = 0
            guard let table = try await table(entry, index) else { continue }
            for position in 0..<table.count {
                guard let place = image.rules.place(of: table[position]) else { continue }
                flag(table, position, isAlone: try await refcounts.count(of: place >> bits) == 1)
            }
            if table.dirty == 0 {
                let isAlone = try await refcounts.count(of: table.offset >> bits) == 1
                flagged[index] = table.offset | (isAlone ? L2Entry.copied : 0)
            } else {
                try await refcounts.change(table.offset >> bits, by: -1)
                flagged[index] = try await write(table)
            }
        }
        return flagged
    }

    /// Sets or clears an entry's COPIED, which compressed clusters do not have.
    private func flag(_ table: L2Table, _ position: Int, isAlone: Bool) {
        var entry = table[position]
        guard !entry.isCompressed, entry.isOwn != isAlone else { return }
        entry.descriptor ^= L2Entry.copied
        table.set(entry, at: position)
    }

    /// Reads the L2 table that an L1 entry names; nil where it names none.
    func table(_ entry: UInt64, _ index: Int) async throws(BlockError) -> L2Table? {
        let offset = entry & L2Entry.offsetMask
        guard offset != 0 else { return nil }
        try await pace.rest()
        guard entry & image.rules.l1MustBeZero == 0, offset < image.rules.hostEnd, image.liesInFile(offset) else {
            throw .corrupt
        }
        let bytes = try await image.readCluster(at: offset)
        let table = image.table(index, at: offset, [UInt64](bigEndian: bytes.bytes))
        for position in 0..<table.count
        where image.rules.read(table[position]) == .invalid || image.metadataNamed(by: table[position]) != nil {
            throw .corrupt
        }
        return table
    }

    private func count(_ entry: L2Entry, by delta: Int) async throws(BlockError) {
        for cluster in image.clustersNamed(by: entry) { try await refcounts.change(cluster, by: delta) }
    }

    /// Writes a table that is used once; answers its L1 entry.
    func write(_ table: L2Table) async throws(BlockError) -> UInt64 {
        let row = try await refcounts.takeRow(1)
        try await image.writeTable(table.words, at: row.start << bits)
        return row.start << bits | L2Entry.copied
    }

    // MARK: Tables

    func l1Clusters(_ offset: UInt64, _ entries: Int) -> ClusterRun {
        ClusterRun(start: offset >> bits, count: image.geometry.clusters(for: UInt64(entries) * 8))
    }

    /// The active L1 table is used by nothing any more.
    func dropL1() async throws(BlockError) {
        try await refcounts.change(l1Clusters(header.l1TableOffset, l1.count), by: -1)
    }

    /// Gives the mapping an L1 table at a new place, `entries` long. The old one stays counted.
    func writeL1(_ table: [UInt64], entries: Int) async throws(BlockError) {
        l1 = table + repeatElement(0, count: max(0, entries - table.count))
        header.l1Size = UInt32(l1.count)
        header.l1TableOffset = try await writeTable(l1)
    }

    /// Writes an L1 table into clusters of its own; answers where.
    func writeTable(_ l1: [UInt64]) async throws(BlockError) -> UInt64 {
        let clusters = l1Clusters(0, l1.count).count
        let row = try await refcounts.takeRow(clusters)
        let padding = repeatElement(0 as UInt64, count: Int(clusters) << Int(bits - 3) - l1.count)
        try await image.writeTable(l1 + padding, at: row.start << bits)
        return row.start << bits
    }

    /// Gives the image another list of snapshots; the old table's place is free.
    func writeSnapshots(_ list: [Snapshot]) async throws(BlockError) {
        let old = image.geometry.clusters(for: snapshotTableBytes)
        if header.snapshotCount > 0 {
            try await refcounts.change(ClusterRun(start: header.snapshotsOffset >> bits, count: old), by: -1)
        }
        let bytes = list.table
        guard bytes.count <= Limits.snapshotTableBytes else { throw .system(27) }
        let row = try await refcounts.takeRow(image.geometry.clusters(for: UInt64(bytes.count)))
        if !bytes.isEmpty {
            let padding = Int(row.count << bits) - bytes.count
            let buffer = AlignedBuffer(copying: bytes + repeatElement(0, count: padding))
            try await image.file.write(at: row.start << bits, from: buffer.bytes, flags: [])
        }
        (snapshots, snapshotTableBytes) = (list, UInt64(bytes.count))
        header.snapshotCount = UInt32(list.count)
        header.snapshotsOffset = row.start << bits
    }
}

extension Qcow2Image {
    /// Plans another state of the image and puts it in force: all of it, or on any failure before the header is written nothing.
    /// `onFreed` may give back to the host what the old state alone used. No request is under way.
    func switchOver(
        refcountOrder: UInt32? = nil, pace: Pace, onFreed: ([ByteRange]) async -> Void,
        _ plan: (NextImage) async throws(BlockError) -> Void
    ) async throws(BlockError) {
        if let writeRefusal { throw writeRefusal }
        try await drain()
        await structure.lock()
        defer { structure.unlock() }
        if let writeRefusal { throw writeRefusal }
        guard !hasChanges, !freed.isPending, tickets.isEmpty else { throw .busy }
        // Two structures claim one cluster: its count cannot tell what of them goes.
        guard contested.count == 0 else { throw .corrupt }
        let next = NextImage(self, refcountOrder: refcountOrder ?? geometry.refcountOrder, pace)
        defer { highWater = max(highWater, next.refcounts.reach << UInt64(geometry.clusterBits)) }
        try await plan(next)
        guard next.refcounts.hasChanges else { return }
        let table = try await next.refcounts.finish()
        next.header.refcountTableOffset = table.start << UInt64(geometry.clusterBits)
        next.header.refcountTableClusters = UInt32(table.count)
        try await flushFile()
        do throws(BlockError) {
            try await writeHeaderFields { $0.takePlaces(of: next.header) }
        } catch {
            // Which state the file is in is unknown now.
            fence(error)
            throw error
        }
        adopt(next)
        try? await next.refcounts.forEachFreed(pace, onFreed)
    }

    /// The header names the new state: memory follows.
    private func adopt(_ next: NextImage) {
        header.takePlaces(of: next.header)
        (l1, refcountTable) = (next.l1, next.refcounts.table)
        (snapshots, snapshotTableBytes) = (next.snapshots, next.snapshotTableBytes)
        l2 = TableCache(indices: l1.count, capacity: l2.capacity)
        blocks = TableCache(indices: 0, capacity: blocks.capacity)
        length = header.size & ~511
        (places, packing) = (FreePlaces(), nil)
        decoder.forget()
        // What is packed in another width is read by whoever opens the image anew.
        if header.refcountOrder != geometry.refcountOrder { isClosed = true }
        do throws(OpenError) { try noteMetadata() } catch { fence(error.cause ?? .limit) }
    }
}

extension Header {
    /// Takes over where tables lie, and what goes with that. All of it stands in the header's first sector.
    fileprivate mutating func takePlaces(of other: Header) {
        size = other.size
        (l1Size, l1TableOffset) = (other.l1Size, other.l1TableOffset)
        (refcountTableOffset, refcountTableClusters) = (other.refcountTableOffset, other.refcountTableClusters)
        refcountOrder = other.refcountOrder
        (snapshotCount, snapshotsOffset) = (other.snapshotCount, other.snapshotsOffset)
    }
}
