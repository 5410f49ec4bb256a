import Block
import Bytes

extension Qcow2Check {
    /// Mends the snapshot table: entries that tell of no L1 table go, extra data that is too long goes, and L1 tables that
    /// share their place get one of their own. The new table is durable before the header names it (O11). False where
    /// nothing was to be done.
    func mendSnapshots() async throws(BlockError) -> Bool {
        var kept = snapshots.filter { $0.fault == nil }
        let tableIsContested = isContested(header.snapshotsOffset, snapshotTableBytes)
        guard let shared = sharedL1s(kept) else {
            report("ERROR too many snapshots share the place of their L1 table with something else")
            return false
        }
        let activeIsInHeader = header.l1Size > 0 && header.l1TableOffset < geometry.clusterSize
        guard damage.snapshotTable || header.snapshotCount > 0 && tableIsContested || !shared.isEmpty else {
            return false
        }
        guard !activeIsInHeader else { return false }
        var copies = EntryMender.Copies()
        copies.next = freeStart * geometry.clusterSize
        var originals: [Int: UInt64] = [:]
        for index in shared {
            // Each has its own copy, also where several lie in one place.
            let size = geometry.clusters(for: kept[index].l1Size * 8) * geometry.clusterSize
            originals[index] = copies.next
            copies.next += size
        }
        guard roomIsEnough(copies) else { return false }
        for index in shared {
            guard let place = originals[index] else { continue }
            try await copyL1(kept[index], to: place)
            kept[index].l1Offset = place
        }
        for snapshot in snapshots where snapshot.fault != nil {
            report("Repairing the snapshot table: snapshot \(snapshot.id) (\(snapshot.name)) is removed")
        }
        try await writeSnapshotTable(kept, at: copies.next)
        return true
    }

    /// The snapshots whose L1 table is not theirs alone: of those that are in one place the first one keeps it.
    private func sharedL1s(_ kept: [CheckedSnapshot]) -> [Int]? {
        var taken: [ByteRange] = [
            ByteRange(at: 0, count: geometry.clusterSize), whole(header.l1TableOffset, UInt64(header.l1Size) * 8),
        ]
        if header.snapshotCount > 0 { taken.append(whole(header.snapshotsOffset, snapshotTableBytes)) }
        var shared: [Int] = []
        for (index, snapshot) in kept.enumerated() where isContested(snapshot.l1Offset, snapshot.l1Size * 8) {
            guard taken.count < Self.sharedLimit else { return nil }
            let place = whole(snapshot.l1Offset, snapshot.l1Size * 8)
            if taken.contains(where: { !$0.intersection(place).isEmpty }) { shared.append(index) }
            taken.append(place)
        }
        return shared
    }

    /// So many are held against each other.
    private static var sharedLimit: Int { 4096 }

    private func whole(_ offset: UInt64, _ size: UInt64) -> ByteRange {
        ByteRange(at: offset, count: geometry.clusters(for: size) * geometry.clusterSize)
    }

    private func isContested(_ offset: UInt64, _ size: UInt64) -> Bool {
        guard size > 0, !damage.contested.isEmpty else { return false }
        let clusters = offset / geometry.clusterSize...(offset + size - 1) / geometry.clusterSize
        return clusters.contains { damage.contested.contains($0) }
    }

    private func copyL1(_ snapshot: CheckedSnapshot, to place: UInt64) async throws(BlockError) {
        var copies = EntryMender.Copies()
        copies.next = place
        _ = copies.place(
            of: ByteRange(at: snapshot.l1Offset, count: snapshot.l1Size * 8), clusterSize: geometry.clusterSize)
        try await writeCopies(copies)
    }

    private func writeSnapshotTable(_ kept: [CheckedSnapshot], at place: UInt64) async throws(BlockError) {
        var table: [UInt8] = []
        var written: UInt64 = 0
        for snapshot in kept {
            table += try await entry(of: snapshot)
            while table.count % 8 != 0 { table.append(0) }
            if table.count >= Int(Self.piece) {
                try await write(table.byteSpan, at: place + written)
                written += UInt64(table.count)
                table = []
            }
            try await step(Self.stepsPerRead)
        }
        if !table.isEmpty {
            let end = geometry.clusters(for: written + UInt64(table.count)) * geometry.clusterSize - written
            table += [UInt8](repeating: 0, count: Int(end) - table.count)
            try await write(table.byteSpan, at: place + written)
        }
        try await file.flush()
        header.snapshotCount = UInt32(kept.count)
        header.snapshotsOffset = kept.isEmpty ? 0 : place
        try await writeHeaderFields()
    }

    /// The bytes of a snapshot's entry as they should be.
    private func entry(of snapshot: CheckedSnapshot) async throws(BlockError) -> [UInt8] {
        guard
            let bytes = try await read(ByteRange(at: header.snapshotsOffset + snapshot.offset, count: snapshot.length))
        else { throw .io }
        var entry = bytes.bytes.array
        if snapshot.extraSize > Limits.snapshotExtraBytes {
            entry.removeSubrange(40 + Self.knownExtraBytes..<40 + Int(snapshot.extraSize))
        }
        entry.withMutableBytes { (span: inout MutableRawSpan) in
            span.storeBigEndian(snapshot.l1Offset, at: 0)
            if snapshot.extraSize > Limits.snapshotExtraBytes {
                span.storeBigEndian(UInt32(Self.knownExtraBytes), at: 36)
            }
        }
        return entry
    }

    /// The size of the VM state, the disk's size, the instruction count.
    private static var knownExtraBytes: Int { 24 }
}
