import Block
import Bytes

/// How table entries that cannot be true are mended. What an entry becomes follows from the entry, from what is known to be
/// contested, and from the copies that were made: a report that says so beforehand asks the same functions.
///
/// - What is readable stays as it reads. An L2 table whose place something else uses moves away; so does compressed data in
///   the header's place.
/// - Where the place of data is impossible, the data is lost: it reads as zeros, so that what a backing file holds does not
///   pass for it.
/// - An L1 entry that names no table: the backing file decides again, or zeros where there is none.
struct EntryMender {
    let header: Header
    let rules: EntryRules
    /// Bytes of the file.
    let length: UInt64
    /// Clusters of the file, the last one perhaps cut short.
    let clusters: UInt64
    /// Clusters behind these that the repair has taken.
    let own: Set<UInt64>
    /// Clusters that an L2 table may not be in, and those that data may not be in.
    let closedToTables: Set<UInt64>
    let closedToData: Set<UInt64>
    var copies = Copies()

    private var geometry: Geometry { rules.geometry }

    /// What lies on metadata and where its own copy goes.
    struct Copies {
        /// By where the original begins, in bytes, and its length: where the copy begins.
        private(set) var places: [ByteRange: UInt64] = [:]
        private(set) var order: [ByteRange] = []
        /// The next free byte, at a cluster's start.
        var next: UInt64 = 0
        /// Where a cluster of zeros is, once one was asked for.
        private(set) var zeros: UInt64?
        /// More was asked for than is kept: there is no place for it.
        private(set) var isFull = false

        /// So many copies are kept, some hundred bytes each: entries of compressed data can name one place in millions of ways.
        static let limit = 1 << 18

        mutating func place(of original: ByteRange, clusterSize: UInt64) -> UInt64 {
            if let place = places[original] { return place }
            let place = next
            guard order.count < Self.limit else {
                isFull = true
                return place
            }
            places[original] = place
            order.append(original)
            next += (original.count + clusterSize - 1) / clusterSize * clusterSize
            return place
        }

        mutating func zeroCluster(_ clusterSize: UInt64) -> UInt64 {
            if let zeros { return zeros }
            let place = next
            zeros = place
            next += clusterSize
            return place
        }
    }

    /// An entry of an L1 table as it should be.
    mutating func l1(_ entry: UInt64) -> UInt64 {
        let table = entry & L2Entry.offsetMask
        guard table != 0, table & geometry.clusterMask == 0, isInFile(table) else { return 0 }
        if closedToTables.contains(table / geometry.clusterSize) {
            return copies.place(
                of: ByteRange(at: table, count: geometry.clusterSize), clusterSize: geometry.clusterSize)
        }
        return entry & (L2Entry.offsetMask | L2Entry.copied)
    }

    /// An entry of an L2 table as it should be.
    mutating func l2(_ entry: L2Entry) -> L2Entry {
        if entry == .none { return entry }
        if entry.isCompressed { return compressed(entry) }
        var mended = entry
        // Where both are said of a subcluster, its data is kept.
        mended.bitmap &= ~(UInt64(entry.allocated) << 32)
        let flags = L2Entry.copied | (header.knowsZeroFlag ? L2Entry.zeroFlag : 0)
        mended.descriptor &= L2Entry.offsetMask | flags
        let place = entry.descriptor & L2Entry.offsetMask
        if header.incompatible.contains(.externalDataFile) {
            return place & geometry.clusterMask == 0 ? mended : withoutPlace(mended)
        }
        guard place != 0, place & geometry.clusterMask == 0, isInFile(place) else { return withoutPlace(mended) }
        guard closedToData.contains(place / geometry.clusterSize) else { return mended }
        // A place that nothing was written to is no loss.
        guard holdsData(mended) else { return withoutPlace(mended) }
        let copy = copies.place(
            of: ByteRange(at: place, count: geometry.clusterSize), clusterSize: geometry.clusterSize)
        mended.descriptor = mended.descriptor & L2Entry.zeroFlag | copy
        return mended
    }

    private func holdsData(_ entry: L2Entry) -> Bool {
        if geometry.hasExtendedL2 { return entry.allocated != 0 }
        return entry.descriptor & L2Entry.offsetMask != 0 && entry.descriptor & L2Entry.zeroFlag == 0
    }

    /// The entry without its place: what was there is lost, and reads as zeros.
    private mutating func withoutPlace(_ entry: L2Entry) -> L2Entry {
        var entry = entry
        let hadData = holdsData(entry)
        entry.descriptor &= geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag
        guard hadData else { return entry }
        if geometry.hasExtendedL2 {
            entry.bitmap = (entry.bitmap | entry.bitmap << 32) & ~0xFFFF_FFFF
            return entry
        }
        return L2Entry(descriptor: lost())
    }

    private mutating func compressed(_ entry: L2Entry) -> L2Entry {
        var mended = L2Entry(descriptor: entry.descriptor & ~L2Entry.copied)
        guard case .compressed(let offset, let count) = rules.read(mended),
            offset < length || isInFile(offset)
        else {
            return geometry.hasExtendedL2
                ? L2Entry(descriptor: 0, bitmap: ~0xFFFF_FFFF) : L2Entry(descriptor: lost())
        }
        // Sectors behind the file's last cluster hold nothing.
        let isOwn = offset >= clusters * geometry.clusterSize
        let end = isOwn ? offset + count : min(offset + count, clusters * geometry.clusterSize)
        let range = ByteRange(from: offset, to: end)
        if end < offset + count { mended.descriptor = descriptor(of: range, at: offset) }
        for cluster in offset / geometry.clusterSize...(end - 1) / geometry.clusterSize
        where closedToData.contains(cluster) {
            let place = copies.place(of: range, clusterSize: geometry.clusterSize)
            mended.descriptor = descriptor(of: range, at: place)
            break
        }
        return mended
    }

    /// The descriptor of compressed data once it begins at `place`.
    private func descriptor(of range: ByteRange, at place: UInt64) -> UInt64 {
        let sectors = (place % 512 + range.count + 511) / 512
        return L2Entry.compressedFlag | (sectors - 1) << geometry.compressedShift | place
    }

    private func isInFile(_ offset: UInt64) -> Bool {
        offset / geometry.clusterSize < clusters || own.contains(offset / geometry.clusterSize)
    }

    /// The entry of data that is lost.
    private mutating func lost() -> UInt64 {
        if header.version >= 3 { return L2Entry.zeroFlag }
        return header.backingFileName == nil ? 0 : copies.zeroCluster(geometry.clusterSize)
    }
}
