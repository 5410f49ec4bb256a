public import Block
public import Bytes

extension Qcow2Image {
    /// log2 of the guest bytes that one L2 table maps.
    var tableShift: UInt64 { UInt64(geometry.clusterBits + geometry.l2Bits) }

    func tableIndex(_ guest: UInt64) -> Int { Int(truncatingIfNeeded: guest >> tableShift) }

    func entryIndex(_ guest: UInt64) -> Int {
        Int(truncatingIfNeeded: guest >> UInt64(geometry.clusterBits)) & (geometry.l2Entries - 1)
    }

    public func lookup(_ guest: ByteRange) -> Extent {
        let index = tableIndex(guest.start)
        guard let table = l2.find(index) else { return lookupWithoutTable(guest, index) }
        if !table.wasUsed { table.wasUsed = true }
        return extent(of: guest, in: table)
    }

    /// The extent at the start of `guest`, up to the end of its table at most.
    private func extent(of guest: ByteRange, in table: L2Table) -> Extent {
        let first = entryIndex(guest.start)
        let within = guest.start & geometry.clusterMask
        let size = geometry.clusterSize
        let entry = table.entries[first]
        var covered = size - within
        var next = first + 1
        let kind = rules.read(entry)
        switch kind {
        case .data(let offset):
            let writable = mayWriteInPlace(entry, offset)
            while covered < guest.count, next < table.entries.count {
                let follower = table.entries[next]
                guard rules.read(follower) == .data(offset: offset + (covered + within)),
                    mayWriteInPlace(follower, offset + covered + within) == writable
                else { break }
                covered += size
                next += 1
            }
            return Extent(.data(offset: offset + within), count: covered, isWritable: writable)
        case .zero(let offset):
            while covered < guest.count, next < table.entries.count,
                rules.read(table.entries[next]) == .zero(offset: offset == 0 ? 0 : offset + covered + within)
            {
                covered += size
                next += 1
            }
            return Extent(.zero(allocated: offset == 0 ? nil : offset + within), count: covered)
        case .unallocated:
            while covered < guest.count, next < table.entries.count, rules.read(table.entries[next]) == kind {
                covered += size
                next += 1
            }
            return Extent(.unallocated, count: covered)
        case .compressed:
            return Extent(.encoded, count: covered)
        case .invalid:
            return damaged(guest, count: covered)
        }
    }

    private func lookupWithoutTable(_ guest: ByteRange, _ index: Int) -> Extent {
        let coverage = geometry.l2Coverage
        var covered = coverage - (guest.start & (coverage - 1))
        guard index < l1.count else { return Extent(.unallocated, count: covered) }
        let entry = l1[index]
        if entry & rules.l1MustBeZero != 0 || entry & L2Entry.offsetMask >= rules.hostEnd {
            return damaged(guest, count: covered)
        }
        guard entry & L2Entry.offsetMask == 0 else {
            return Extent(.unresolved(Need.loadTable.at(index)), count: covered)
        }
        var next = index + 1
        while covered < guest.count, next < l1.count, l1[next] == 0 {
            covered += coverage
            next += 1
        }
        return Extent(.unallocated, count: covered)
    }

    /// An invalid entry: reported once, by `resolve`, then an error at each request.
    private func damaged(_ guest: ByteRange, count: UInt64) -> Extent {
        Extent(
            hasReportedCorruption ? .corrupt : .unresolved(Need.reportEntry.at(guest.start)), count: count)
    }

    /// Whether the cluster belongs to this mapping alone and is no metadata.
    private func mayWriteInPlace(_ entry: UInt64, _ offset: UInt64) -> Bool {
        entry & L2Entry.copied != 0 && !isReadOnly && !metadata.contains(offset >> UInt64(geometry.clusterBits))
    }

    /// The entry for a guest offset whose table is in memory.
    func entry(at guest: UInt64) -> UInt64? {
        l2.find(tableIndex(guest))?.entries[entryIndex(guest)]
    }

    public func decode(_ guest: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
        guard let entry = entry(at: guest.start), case .compressed(let offset, let stored) = rules.read(entry) else {
            throw .io
        }
        let within = Int(guest.start & geometry.clusterMask)
        guard within + buffer.byteCount <= Int(geometry.clusterSize) else { throw .invalid }
        if decoder.copy(entry, from: within, into: &buffer) { return }
        // The last sector of a compressed cluster need not be whole in the file.
        let count = file.length > offset ? min(stored, file.length - offset) : 0
        guard count > 0 else { throw .io }
        var input = AlignedBuffer(byteCount: Int(count))
        var span = input.mutableBytes
        try await file.read(at: offset, into: &span)
        do {
            try decoder.decode(
                input.bytes, of: entry, type: header.compressionType, clusterSize: Int(geometry.clusterSize))
        } catch { throw .io }
        guard decoder.copy(entry, from: within, into: &buffer) else { throw .io }
    }
}
