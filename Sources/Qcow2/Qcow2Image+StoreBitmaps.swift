public import Block
import Bytes
import DirtyMap

// Persistent bitmaps, from memory into the image. What is new is written beside what is there, with its refcounts, and made
// durable; then one write of the header names the new directory instead of the old one, whose clusters are freed (O10).

/// What a new directory says of a bitmap.
private enum BitmapEntry {
    /// As it stands in the file.
    case kept(StoredBitmap)
    /// As it is in memory.
    case new(DirtyBitmap, DirtyMap)
}

extension Qcow2Image {
    /// Stores all bitmaps that are to be kept, consistent with the data. No request is under way, and none comes before they
    /// are marked as in use again.
    func storeBitmaps() async throws(BlockError) {
        await structure.lock()
        defer { structure.unlock() }
        let kept = bitmaps.all.filter(\.isPersistent)
        // In a damaged image what is marked as in use stays so.
        guard !kept.isEmpty || !storedBitmaps.isEmpty, !isCorrupt else { return }
        if let writeRefusal { throw writeRefusal }
        var entries: [BitmapEntry] = []
        for old in storedBitmaps {
            guard let bitmap = kept.first(where: { $0.name == old.name }) else { continue }
            entries.append(bitmap.map.map { .new(bitmap, $0) } ?? .kept(old))
        }
        for bitmap in kept where !storedBitmaps.contains(where: { $0.name == bitmap.name }) {
            if let map = bitmap.map { entries.append(.new(bitmap, map)) }
        }
        try await replaceDirectory(entries)
    }

    /// Removes a bitmap from the file, durably. Nothing happens where it is not there.
    public func removeStoredBitmap(_ name: String) async throws(BlockError) {
        if let writeRefusal { throw writeRefusal }
        await structure.lock()
        defer { structure.unlock() }
        if let writeRefusal { throw writeRefusal }
        guard storedBitmaps.contains(where: { $0.name == name }) else { return }
        try await replaceDirectory(storedBitmaps.filter { $0.name != name }.map { .kept($0) })
    }

    /// The caller holds `structure`.
    private func replaceDirectory(_ entries: [BitmapEntry]) async throws(BlockError) {
        let unchanged: [StoredBitmap] = entries.compactMap { if case .kept(let stored) = $0 { stored } else { nil } }
        if unchanged == storedBitmaps, unchanged.count == entries.count { return }
        let stale = await staleClusters(but: unchanged)
        var taken: [ClusterRun] = []
        var new: (list: [StoredBitmap], extent: BitmapExtension?) = ([], nil)
        do {
            new = try await writeBitmaps(entries, &taken)
            release(try await commitLocked())
        } catch {
            for run in taken {
                forgetMetadata(run)
                freed.add(run)
            }
            throw error
        }
        do { try await nameDirectory(new.extent) } catch {
            // Which directory the header names is unknown now.
            fence(error)
            throw error
        }
        storedBitmaps = new.list
        header.setBitmapExtension(new.extent)
        header.autoclear = diskHeader.autoclear
        for run in stale {
            forgetMetadata(run)
            freed.add(run)
        }
    }

    // MARK: Writing

    /// Writes the bits, tables and directory of a new list, without naming them. `taken` tells the places, also on failure.
    private func writeBitmaps(_ entries: [BitmapEntry], _ taken: inout [ClusterRun])
        async throws(BlockError) -> (list: [StoredBitmap], extent: BitmapExtension?)
    {
        var list: [StoredBitmap] = []
        for entry in entries {
            switch entry {
            case .kept(let stored): list.append(stored)
            case .new(let bitmap, let map): list.append(try await write(bitmap, map, &taken))
            }
        }
        guard !list.isEmpty else { return ([], nil) }
        let directory = StoredBitmap.directory(list)
        let offset = try await writeRow(directory, &taken)
        let extent = BitmapExtension(
            count: UInt32(list.count), directorySize: UInt64(directory.count), directoryOffset: offset)
        return (list, extent)
    }

    private func write(_ bitmap: DirtyBitmap, _ map: DirtyMap, _ taken: inout [ClusterRun])
        async throws(BlockError) -> StoredBitmap
    {
        let clusters = StoredBitmap.clusters(length: length, granularityBits: map.granularityBits, geometry)
        guard map.length == length, clusters <= Limits.bitmapBytes >> UInt64(geometry.clusterBits) else { throw .limit }
        var table: [UInt64] = []
        for index in 0..<clusters {
            let start = index << UInt64(geometry.clusterBits)
            switch map.piece(at: start, count: geometry.clusterSize) {
            case .clean: table.append(BitmapCluster.clean.entry)
            case .dirty: table.append(BitmapCluster.dirty.entry)
            case .mixed:
                let run = try await takeClusters(atMost: 1)
                taken.add(run)
                var bits = AlignedBuffer(byteCount: Int(geometry.clusterSize))
                var span = bits.mutableBytes
                map.store(from: start, in: &span)
                let offset = run.start << UInt64(geometry.clusterBits)
                try await file.write(at: offset, from: bits.bytes, flags: [])
                table.append(BitmapCluster.stored(offset).entry)
            }
        }
        // A disk without a byte has a table all the same.
        if table.isEmpty { table = [BitmapCluster.clean.entry] }
        let offset = try await writeRow(table.bigEndianBytes(0..<table.count).bytes.array, &taken)
        return StoredBitmap(
            tableOffset: offset, tableSize: UInt32(table.count), flags: bitmap.isEnabled ? .auto : [],
            granularityBits: map.granularityBits, name: bitmap.name ?? "")
    }

    /// Writes bytes to clusters of their own, in a row. Answers where. What is behind them in the last cluster means nothing: the
    /// file has zeros there where it is as long, and ends with them where it is not.
    private func writeRow(_ bytes: [UInt8], _ taken: inout [ClusterRun]) async throws(BlockError) -> UInt64 {
        let run = try await takeRow(geometry.clusters(for: UInt64(bytes.count)))
        taken.add(run)
        for cluster in run.start..<run.end { noteMetadata(cluster: cluster) }
        let bits = UInt64(geometry.clusterBits)
        let (offset, end) = (run.start << bits, min(run.end << bits, file.length))
        let padding = [UInt8](repeating: 0, count: Int(max(end, offset + UInt64(bytes.count)) - offset) - bytes.count)
        let buffer = AlignedBuffer(copying: bytes + padding)
        try await file.write(at: offset, from: buffer.bytes, flags: [])
        return offset
    }

    // MARK: What goes

    /// The clusters that only the directory in the file names, and bitmaps in it that are not kept. What is claimed by other
    /// metadata is left out, and so are a table that cannot be read and what it names: they stay counted and nothing names
    /// them any more, the one kind of damage that D4 allows, which every check tells of. To fail instead would leave all
    /// bitmaps of the image marked as in use, or make one that is damaged impossible to remove. What does reach the file is
    /// still held to every rule, so no bit that a bitmap had to keep is lost by this.
    private func staleClusters(but kept: [StoredBitmap]) async -> [ClusterRun] {
        guard let extent = storedExtension else { return [] }
        let bits = UInt64(geometry.clusterBits)
        var runs: [ClusterRun] = []
        func add(_ offset: UInt64, _ bytes: UInt64) {
            let run = ClusterRun(start: offset >> bits, count: geometry.clusters(for: bytes))
            for cluster in run.start..<run.end where contested.contains(cluster) { return }
            runs.add(run)
        }
        for bitmap in storedBitmaps where !kept.contains(bitmap) {
            do throws(OpenError) {
                let table = try await Self.readTable(
                    "bitmap table", file, at: bitmap.tableOffset, count: Int(bitmap.tableSize))
                for entry in table {
                    guard case .stored(let offset) = BitmapCluster(entry, geometry), offset < rules.hostEnd,
                        !metadata.contains(offset >> bits)
                    else { continue }
                    add(offset, geometry.clusterSize)
                }
            } catch { continue }
            add(bitmap.tableOffset, UInt64(bitmap.tableSize) * 8)
        }
        add(extent.directoryOffset, extent.directorySize)
        return runs
    }

    /// Notes the clusters of the directory and of the tables.
    func noteBitmapMetadata(_ note: (UInt64, UInt64) -> Void) {
        guard let extent = storedExtension else { return }
        note(extent.directoryOffset, extent.directorySize)
        for bitmap in storedBitmaps { note(bitmap.tableOffset, UInt64(bitmap.tableSize) * 8) }
    }
}
