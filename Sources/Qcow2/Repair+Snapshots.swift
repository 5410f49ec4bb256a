import Block
import Bytes

extension Qcow2Check {
    /// Mends the snapshot table: entries that tell of no L1 table go, extra data that is too long goes, and L1 tables that
    /// share their place get one of their own. The new table is durable before the header names it (O11). False where
    /// nothing was to be done.
    func mendSnapshots() async throws(BlockError) -> Bool {
        var kept = snapshots.filter { $0.fault == nil }
        // Where several lie in one place each gets its own, and none stays.
        let shared = kept.indices.filter {
            kept[$0].mendedL1Size != nil || isContested(kept[$0].l1Offset, kept[$0].l1Size * 8)
        }
        let tableIsContested = header.snapshotCount > 0 && isContested(header.snapshotsOffset, snapshotTableBytes)
        guard damage.snapshotTable || tableIsContested || !shared.isEmpty else { return false }
        var copies = EntryMender.Copies()
        copies.next = freeStart * geometry.clusterSize
        var originals: [Int: UInt64] = [:]
        for index in shared {
            let size =
                geometry.clusters(for: (kept[index].mendedL1Size ?? kept[index].l1Size) * 8) * geometry.clusterSize
            originals[index] = copies.next
            copies.next += size
        }
        guard roomIsEnough(copies) else { return false }
        for index in shared {
            guard let place = originals[index] else { continue }
            if kept[index].mendedL1Size != nil {
                let end = geometry.clusters(for: (kept[index].mendedL1Size ?? 0) * 8) * geometry.clusterSize
                try await writeZeros(ByteRange(at: place, count: end))
            }
            try await copyL1(ByteRange(at: kept[index].l1Offset, count: kept[index].l1Size * 8), to: place)
            kept[index].l1Offset = place
        }
        for snapshot in snapshots where snapshot.fault != nil {
            report("Repairing the snapshot table: snapshot \(snapshot.id) (\(snapshot.name)) is removed")
        }
        try await writeSnapshotTable(kept, at: copies.next)
        return true
    }

    func isContested(_ offset: UInt64, _ size: UInt64) -> Bool {
        guard size > 0, !damage.contested.isEmpty else { return false }
        let clusters = offset / geometry.clusterSize...(offset + size - 1) / geometry.clusterSize
        return clusters.contains { damage.contested.contains($0) }
    }

    private func writeZeros(_ range: ByteRange) async throws(BlockError) {
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(Self.piece)
            try await write(AlignedBuffer(byteCount: Int(part.count)).bytes, at: part.start)
            rest = rest.dropping(part.count)
        }
    }

    private func copyL1(_ table: ByteRange, to place: UInt64) async throws(BlockError) {
        var copies = EntryMender.Copies()
        copies.next = place
        _ = copies.place(of: table, clusterSize: geometry.clusterSize)
        try await writeCopies(copies)
    }

    /// Gives the active L1 table a place of its own where something else uses it too (O7).
    func moveActiveL1() async throws(BlockError) -> Bool {
        let table = ByteRange(at: header.l1TableOffset, count: UInt64(header.l1Size) * 8)
        guard isContested(table.start, table.count) else { return false }
        var copies = EntryMender.Copies()
        copies.next = freeStart * geometry.clusterSize
        let place = copies.place(of: table, clusterSize: geometry.clusterSize)
        guard roomIsEnough(copies) else { return false }
        report("Repairing the place of the active L1 table")
        try await writeCopies(copies)
        try await file.flush()
        header.l1TableOffset = place
        try await writeHeaderFields()
        return true
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

    /// The bytes of a snapshot's entry as they should be. Of extra data that is too long only what is kept is read.
    private func entry(of snapshot: CheckedSnapshot) async throws(BlockError) -> [UInt8] {
        let start = header.snapshotsOffset + snapshot.offset
        let names = 40 + UInt64(snapshot.extraSize)
        let isTooLong = snapshot.extraSize > Limits.snapshotExtraBytes
        let head = ByteRange(at: start, count: isTooLong ? 40 + UInt64(Self.knownExtraBytes) : names)
        var entry = try await bytes(head)
        entry += try await bytes(ByteRange(at: start + names, count: snapshot.length - names))
        let known = extraBytes(of: snapshot, &entry)
        entry.withMutableBytes { (span: inout MutableRawSpan) in
            span.storeBigEndian(snapshot.l1Offset, at: 0)
            span.storeBigEndian(UInt32(snapshot.mendedL1Size ?? snapshot.l1Size), at: 8)
            span.storeBigEndian(known, at: 36)
            if let size = snapshot.mendedDiskSize { span.storeBigEndian(size, at: 48) }
        }
        return entry
    }

    /// Reads bytes, of which those that are not in the file are zeros.
    private func bytes(_ range: ByteRange) async throws(BlockError) -> [UInt8] {
        guard let buffer = try await read(range) else { return [UInt8](repeating: 0, count: Int(range.count)) }
        return buffer.bytes.array
    }

    /// Makes an entry's extra data as long as it must and may be. Answers its length.
    private func extraBytes(of snapshot: CheckedSnapshot, _ entry: inout [UInt8]) -> UInt32 {
        if snapshot.extraSize > Limits.snapshotExtraBytes { return UInt32(Self.knownExtraBytes) }
        guard snapshot.mendedDiskSize != nil, snapshot.extraSize < 16 else { return snapshot.extraSize }
        // The size of the VM state is in the fixed part where there is no extra data.
        let vmState = snapshot.extraSize >= 8 ? Array(entry[40..<48]) : [0, 0, 0, 0] + entry[32..<36]
        entry.replaceSubrange(40..<40 + Int(snapshot.extraSize), with: vmState + [UInt8](repeating: 0, count: 8))
        return 16
    }

    /// The size of the VM state, the disk's size, the instruction count.
    private static var knownExtraBytes: Int { 24 }
}
