public import Block
import Bytes
import DirtyMap

extension Qcow2Image {
    /// Why the disk cannot have this size, in QEMU's words; nil where it can.
    public func resizeRefusal(_ newLength: UInt64) -> OpenError? {
        if newLength % 512 != 0 { return OpenError("The new size must be a multiple of 512", cause: .invalid) }
        if header.version < 3, !snapshots.isEmpty {
            return OpenError("Can't resize a v2 image which has snapshots", cause: .unsupported)
        }
        guard newLength <= UInt64(Int64.max), geometry.l1Entries(for: newLength) * 8 <= Limits.l1Bytes else {
            return OpenError("Failed to grow the L1 table: File too large", cause: .limit)
        }
        let most = Limits.bitmapBytes >> UInt64(geometry.clusterBits)
        for bitmap in bitmaps.all where bitmap.isPersistent {
            let clusters = StoredBitmap.clusters(length: newLength, granularityBits: bitmap.granularityBits, geometry)
            if clusters > most {
                return OpenError("Too much space will be occupied by bitmap '\(bitmap.name ?? "")'", cause: .limit)
            }
        }
        return nil
    }

    /// Sets the disk's size, durable with the next commit.
    ///
    /// A disk that shrinks has its new size in the file before its clusters past the end are unmapped and freed: after a
    /// crash between the two, what is past the end is hidden, while the old size would bring the backing file to light.
    /// A disk that grows keeps its old size in the file until `confirmLength`: by then the walker has zeroed what it gained
    /// where the backing file reaches. Entries that a crash left past the old end go first.
    public func resize(to newLength: UInt64) async throws(BlockError) {
        // A growth that nobody has confirmed is taken back also where nothing may be written any more.
        let takesBack = newLength < length && newLength >= header.size
        if !takesBack, let writeRefusal { throw writeRefusal }
        if let refusal = resizeRefusal(newLength) { throw refusal.cause ?? .invalid }
        await structure.lock()
        defer { structure.unlock() }
        defer { bitmaps.resize(to: length) }
        if newLength < length, newLength >= header.size {
            let grown = ByteRange(from: newLength, to: length)
            length = newLength
            await settle(grown)
        }
        if let writeRefusal { throw writeRefusal }
        if newLength < length {
            try await shrink(to: newLength)
        } else {
            // A disk that stays as long as it is keeps what lies behind it: a machine's state.
            if newLength > length || header.size != length { try await unmapPast(length) }
            try await growData(to: newLength)
            let entries = geometry.l1Entries(for: newLength)
            if entries > UInt64(l1.count) { try await growL1(to: entries) }
            if readsRawData { try await mapRawData(ByteRange(from: length, to: newLength)) }
            length = newLength
        }
    }

    /// Makes the file for data as long as the disk, so that it can be read by itself. Where it was longer it may hold anything
    /// there: a raw one gains zeros all the same.
    private func growData(to newLength: UInt64) async throws(BlockError) {
        guard let data else { return }
        let end = min(data.length, newLength)
        if isDataRaw, end > length { try await data.zero(ByteRange(from: length, to: end), flags: .mayUnmap) }
        if data.limits.growable, data.length < newLength { try await data.resize(to: newLength) }
    }

    /// Names the place of all that a disk with a raw file for data gains, as creation does, for programs that look at tables. That
    /// is durable before the new size is.
    private func mapRawData(_ gained: ByteRange) async throws(BlockError) {
        guard gained.end <= Limits.hostOffset else { throw .noSpace }
        var rest = gained
        while !rest.isEmpty {
            if case .now = commitUrgency { release(try await commitLocked()) }
            switch tableToChange(at: rest.start) {
            case .needs(let need): try await resolveLocked(need)
            case .failed(let failure): throw failure
            case .table(let table):
                let part = rest.prefix(geometry.l2Coverage - rest.start % geometry.l2Coverage)
                var place = cluster(of: part.start) << UInt64(geometry.clusterBits)
                for (position, subclusters) in parts(of: subclusters(of: part)) {
                    replace(table, position, with: rules.placed(table[position], subclusters, at: place))
                    place += geometry.clusterSize
                }
                rest = rest.dropping(part.count)
            }
        }
    }

    public func confirmLength() {
        guard header.size != length else { return }
        header.size = length
        isSizeDirty = true
    }

    private func shrink(to newLength: UInt64) async throws(BlockError) {
        let old = length
        // New requests past the end are refused from here on; those that fill places there are awaited.
        length = newLength
        await settle(ByteRange(from: newLength, to: old))
        // A growth that was not committed yet is no size of the file: to store it now would be to store it too early.
        let isStored = diskHeader.size > newLength
        if isStored {
            do throws(BlockError) { try await writeHeaderFields { $0.size = newLength } } catch {
                // Which size the file has is not known: the next commit says it again.
                length = old
                isSizeDirty = true
                if error != .noSpace { fence(error) }
                throw error
            }
        }
        header.size = newLength
        isSizeDirty = !isStored && diskHeader.size != newLength
        try await unmapPast(newLength)
        // What is cut off is not needed any more: the file's tables say so durably, or the disk's size does.
        if let data, data.limits.growable, data.length > newLength, isStored { try await data.resize(to: newLength) }
    }

    /// Unmaps all subclusters that lie wholly past an end.
    private func unmapPast(_ end: UInt64) async throws(BlockError) {
        guard let first = end.roundedUp(to: geometry.subclusterSize) else { throw .outOfRange }
        var index = tableIndex(first)
        if first & (geometry.l2Coverage - 1) != 0 {
            try await clearTable(index, from: first)
            index += 1
        }
        while index < l1.count {
            try await dropTable(index)
            index += 1
        }
    }

    /// Unmaps what a table maps from the guest offset `start` on.
    private func clearTable(_ index: Int, from start: UInt64) async throws(BlockError) {
        guard index < l1.count, l1[index] != 0, let old = try await loaded(index) else { return }
        let first = entryIndex(start)
        guard (first..<old.count).contains(where: { old[$0] != .none }), let table = try await tableToClear(index)
        else { return }
        for position in first..<table.count where table[position] != .none {
            let entry = table[position]
            guard metadataNamed(by: entry) == nil else { throw .corrupt }
            let from = position == first ? subclusterIndex(start) : 0
            let keepsPlace = position == first && isBeingFilled(cluster(of: start))
            replace(table, position, with: rules.cleared(entry, from..<geometry.subclusters, keepsPlace: keepsPlace))
        }
    }

    /// Unmaps a whole table, and the table itself.
    private func dropTable(_ index: Int) async throws(BlockError) {
        guard let table = try await loaded(index) else { return }
        for position in 0..<table.count
        where metadataNamed(by: table[position]) != nil || rules.read(table[position]) == .invalid {
            throw .corrupt
        }
        // Each cluster has one reference from the active state, whether or not a snapshot shares the table.
        for position in 0..<table.count { dropReferences(of: table[position]) }
        let cluster = table.offset >> UInt64(geometry.clusterBits)
        metadata.remove(cluster)
        freed.add(ClusterRun(start: cluster, count: 1))
        forget(table)
        l1[index] = 0
        dirtyL1.insert(index >> 6)
    }

    /// The table as it is, read where it must be; nil where there is none.
    private func loaded(_ index: Int) async throws(BlockError) -> L2Table? {
        while l1[index] != 0, l2.find(index) == nil { try await resolve(Need.loadTable.at(index)) }
        return l2.find(index)
    }

    /// The table, in memory and the active state's own.
    private func tableToClear(_ index: Int) async throws(BlockError) -> L2Table? {
        while true {
            switch tableToChange(at: UInt64(index) << tableShift) {
            case .table(let table): return table
            case .failed(let failure): throw failure
            case .needs(let need):
                guard Need(rawValue: need.kind) != .makeTable else { return nil }
                try await resolveLocked(need)
            }
        }
    }

    /// Takes a table out of memory that the L1 table no longer names, dirty or not.
    private func forget(_ table: L2Table) {
        if table.isListed { dirtyTables.removeAll { $0 === table } }
        table.isListed = false
        l2.remove(table)
    }
}
