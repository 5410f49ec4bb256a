public import Block
public import Bytes
import Codecs

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

    /// The subcluster of its cluster that a guest offset lies in.
    func subclusterIndex(_ guest: UInt64) -> Int {
        Int(truncatingIfNeeded: guest >> UInt64(geometry.subclusterBits)) & (geometry.subclusters - 1)
    }

    /// The extent at the start of `guest`, up to the end of its table at most.
    private func extent(of guest: ByteRange, in table: L2Table) -> Extent {
        let first = entryIndex(guest.start)
        let entry = table[first]
        let subcluster = subclusterIndex(guest.start)
        let mapping = rules.read(entry, subcluster)
        let within = guest.start & (geometry.subclusterSize - 1)
        switch mapping {
        case .data(let offset):
            if isMisplaced(offset, guest.start - within) {
                return damaged(guest, count: geometry.subclusterSize - within)
            }
            let isWritable = mayWriteInPlace(entry, offset)
            let count = count(of: mapping, from: (first, subcluster), in: table, atLeast: within + guest.count) {
                self.mayWriteInPlace($0, $1) == isWritable
            }
            return Extent(.data(offset: offset + within), count: count - within, isWritable: isWritable)
        case .zero(let place):
            let count = count(of: mapping, from: (first, subcluster), in: table, atLeast: within + guest.count)
            if readsRawData { return rawData(guest, count: count - within) }
            return Extent(.zero(allocated: place.map { $0 + within }), count: count - within)
        case .unallocated(let place):
            let count = count(of: mapping, from: (first, subcluster), in: table, atLeast: within + guest.count)
            if readsRawData { return rawData(guest, count: count - within) }
            return Extent(.unallocated(reserved: place.map { $0 + within }), count: count - within)
        case .compressed:
            return Extent(.encoded, count: geometry.clusterSize - (guest.start & geometry.clusterMask))
        case .invalid:
            return damaged(guest, count: geometry.clusterSize - (guest.start & geometry.clusterMask))
        }
    }

    /// How many bytes a mapping runs on from a subcluster's start, over all entries that continue it, as long as less than
    /// `wanted` is found. `matches` tells of the entries of data, with their places, whether they go along.
    @inline(__always)
    private func count(
        of mapping: L2Entry.Mapping, from start: (entry: Int, subcluster: Int), in table: L2Table,
        atLeast wanted: UInt64, where matches: (L2Entry, UInt64) -> Bool = { _, _ in true }
    ) -> UInt64 {
        let bits = UInt64(geometry.subclusterBits)
        var end = start.subcluster + rules.countAlike(table[start.entry], from: start.subcluster)
        var count = UInt64(end - start.subcluster) << bits
        var next = start.entry + 1
        while count < wanted, end == geometry.subclusters, next < table.count {
            let follower = table[next]
            let continued = rules.read(follower)
            guard continued == mapping.advanced(by: count) else { break }
            if case .data(let offset) = continued, !matches(follower, offset) { break }
            end = rules.countAlike(follower, from: 0)
            count += UInt64(end) << bits
            next += 1
        }
        return count
    }

    private func lookupWithoutTable(_ guest: ByteRange, _ index: Int) -> Extent {
        let coverage = geometry.l2Coverage
        var covered = coverage - (guest.start & (coverage - 1))
        guard index < l1.count else { return unallocated(guest, count: covered) }
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
        return unallocated(guest, count: covered)
    }

    private func unallocated(_ guest: ByteRange, count: UInt64) -> Extent {
        readsRawData ? rawData(guest, count: count) : Extent(.unallocated(), count: count)
    }

    /// What no table names in a raw file for data; a write names it.
    private func rawData(_ guest: ByteRange, count: UInt64) -> Extent {
        Extent(.data(offset: guest.start), count: count, isWritable: false)
    }

    /// An invalid entry: reported once, by `resolve`, then an error at each request.
    private func damaged(_ guest: ByteRange, count: UInt64) -> Extent {
        Extent(
            hasReportedCorruption ? .corrupt : .unresolved(Need.reportEntry.at(guest.start)), count: count)
    }

    /// Whether the cluster belongs to this mapping alone and is no metadata.
    private func mayWriteInPlace(_ entry: L2Entry, _ offset: UInt64) -> Bool {
        entry.isOwn && !isReadOnly && (rules.hasDataFile || !metadata.contains(offset >> UInt64(geometry.clusterBits)))
    }

    /// Whether data lies apart, and elsewhere than where the guest has it, which must not be.
    func isMisplaced(_ place: UInt64, _ guest: UInt64) -> Bool { rules.hasDataFile && place != guest }

    /// The entry for a guest offset whose table is in memory.
    func entry(at guest: UInt64) -> L2Entry? {
        l2.find(tableIndex(guest))?[entryIndex(guest)]
    }

    public func decode(_ guest: ByteRange, into buffer: inout MutableRawSpan, on context: any IOContext)
        async throws(BlockError)
    {
        guard let entry = entry(at: guest.start), case .compressed(let offset, let stored) = rules.read(entry) else {
            throw .io
        }
        let within = Int(guest.start & geometry.clusterMask)
        let clusterSize = Int(geometry.clusterSize)
        guard within + buffer.byteCount <= clusterSize else { throw .invalid }
        if decoder.copy(entry.descriptor, from: within, into: &buffer) { return }
        // The last sector of a compressed cluster need not be whole in the file.
        let count = file.length > offset ? min(stored, file.length - offset) : 0
        guard count > 0 else { throw .io }
        var input = AlignedBuffer(byteCount: Int(count))
        var span = input.mutableBytes
        await file.reach(.readCompressed)
        try await file.read(at: offset, into: &span)
        if buffer.byteCount == clusterSize {
            let codec = header.compressionType.codec
            guard let cluster = await context.decoded(input.bytes.array, by: codec, count: clusterSize) else {
                throw .io
            }
            return buffer.copy(cluster.byteSpan)
        }
        do {
            try decoder.decode(
                input.bytes, of: entry.descriptor, type: header.compressionType, clusterSize: clusterSize)
        } catch { throw .io }
        guard decoder.copy(entry.descriptor, from: within, into: &buffer) else { throw .io }
    }
}
