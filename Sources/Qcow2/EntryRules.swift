/// The rules by which entries of one image are read and made: its version, its geometry, how far host offsets go, and
/// whether they name clusters of its own file or of one for data alone.
struct EntryRules {
    let geometry: Geometry
    let version: UInt32
    /// Whether data lies in a file of its own, each cluster where the guest has it: there 0 is an offset like others.
    let hasDataFile: Bool
    /// Bits that must be zero in a standard descriptor: reserved ones, and those of an unaligned offset.
    let standardMustBeZero: UInt64
    /// The same for an L1 entry.
    let l1MustBeZero: UInt64
    /// Where the clusters end that a refcount table of the largest size can count.
    let hostEnd: UInt64

    init(version: UInt32, geometry: Geometry, hasDataFile: Bool = false) {
        self.hasDataFile = hasDataFile
        self.geometry = geometry
        self.version = version
        let aligned = ~geometry.clusterMask & L2Entry.offsetMask
        // Where entries are extended the zero flag means nothing, and QEMU does not mind it.
        standardMustBeZero =
            ~(aligned | L2Entry.copied | L2Entry.compressedFlag | (version >= 3 ? L2Entry.zeroFlag : 0))
        l1MustBeZero = ~(aligned | L2Entry.copied)
        let blocks = geometry.maxRefcountTableClusters << UInt64(geometry.clusterBits - 3)
        let clusters = blocks.multipliedReportingOverflow(by: geometry.refcountBlockEntries)
        let bytes = clusters.partialValue.multipliedReportingOverflow(by: geometry.clusterSize)
        hostEnd = clusters.overflow || bytes.overflow ? Limits.hostOffset : min(bytes.partialValue, Limits.hostOffset)
    }

    // MARK: reading

    /// What an entry says of one of its subclusters.
    func read(_ entry: L2Entry, _ subcluster: Int = 0) -> L2Entry.Mapping {
        if entry.isCompressed { return readCompressed(entry) }
        guard entry.descriptor & standardMustBeZero == 0 else { return .invalid }
        let offset = entry.descriptor & L2Entry.offsetMask
        guard offset < hostEnd || hasDataFile else { return .invalid }
        let place = offset == 0 && !(hasDataFile && entry.isOwn) ? nil : offset
        if geometry.hasExtendedL2 { return readBitmap(entry, subcluster, place) }
        if entry.descriptor & L2Entry.zeroFlag != 0 { return .zero(place: place) }
        guard let place else { return .unallocated(place: nil) }
        return .data(offset: place)
    }

    private func readBitmap(_ entry: L2Entry, _ subcluster: Int, _ cluster: UInt64?) -> L2Entry.Mapping {
        guard entry.allocated & entry.zeros == 0, cluster != nil || entry.allocated == 0 else { return .invalid }
        let place = cluster.map { $0 + UInt64(subcluster) << UInt64(geometry.subclusterBits) }
        if entry.zeros >> UInt32(subcluster) & 1 != 0 { return .zero(place: place) }
        guard let place, entry.allocated >> UInt32(subcluster) & 1 != 0 else { return .unallocated(place: place) }
        return .data(offset: place)
    }

    private func readCompressed(_ entry: L2Entry) -> L2Entry.Mapping {
        let shift = geometry.compressedShift
        let offset = entry.descriptor & ((1 << shift) - 1)
        let sectors = ((entry.descriptor & ~(L2Entry.copied | L2Entry.compressedFlag)) >> shift) + 1
        let count = sectors * 512 - offset % 512
        guard !hasDataFile, entry.bitmap == 0, offset < hostEnd, count <= hostEnd - offset else { return .invalid }
        return .compressed(offset: offset, count: count)
    }

    /// How many subclusters from this one on the entry says the same of.
    func countAlike(_ entry: L2Entry, from subcluster: Int) -> Int {
        let rest = geometry.subclusters - subcluster
        guard geometry.hasExtendedL2 else { return rest }
        let allocated = entry.allocated >> UInt32(subcluster)
        let zeros = entry.zeros >> UInt32(subcluster)
        return min(
            rest, (allocated & 1 == 0 ? allocated : ~allocated).trailingZeroBitCount,
            (zeros & 1 == 0 ? zeros : ~zeros).trailingZeroBitCount)
    }

    /// The cluster that a standard descriptor names; nil for none, for a compressed one, and for one that is invalid.
    func place(of entry: L2Entry) -> UInt64? {
        switch read(entry) {
        case .data(let offset): offset
        case .zero(let place), .unallocated(let place): place
        case .compressed, .invalid: nil
        }
    }

    /// Whether one of its subclusters holds data that is neither compressed nor damaged.
    func isData(_ entry: L2Entry, _ subcluster: Int) -> Bool {
        if case .data = read(entry, subcluster) { true } else { false }
    }

    /// The subclusters that hold data, from the first to the last; empty where none does.
    func data(of entry: L2Entry) -> Range<Int> {
        let whole = 0..<geometry.subclusters
        switch read(entry) {
        case .invalid: return 0..<0
        case .compressed: return whole
        case .data where !geometry.hasExtendedL2: return whole
        case .data, .zero, .unallocated:
            guard entry.allocated != 0 else { return 0..<0 }
            return entry.allocated.trailingZeroBitCount..<32 - entry.allocated.leadingZeroBitCount
        }
    }

    /// Whether these subclusters are unallocated, and no place would be won by saying that they are zeros.
    func saysNothing(_ entry: L2Entry, of subclusters: Range<Int>) -> Bool {
        if entry == .none { return true }
        guard case .unallocated(let place) = read(entry, subclusters.lowerBound) else { return false }
        return countAlike(entry, from: subclusters.lowerBound) >= subclusters.count
            && (place == nil || subclusters.count < geometry.subclusters)
    }

    // MARK: changing

    /// The entry once some of its subclusters hold data at `place`, where the others stay as they are.
    func placed(_ entry: L2Entry, _ subclusters: Range<Int>, at place: UInt64) -> L2Entry {
        var new = L2Entry(descriptor: place | L2Entry.copied)
        guard geometry.hasExtendedL2 else { return new }
        let bits = L2Entry.bits(subclusters)
        new.bitmap = (entry.bitmap | bits) & ~(bits << 32)
        return new
    }

    /// The entry once some of its subclusters read as zeros; nil where it cannot say so. A place without data stays only
    /// where it is to be kept.
    func zeroed(_ entry: L2Entry, _ subclusters: Range<Int>, keepsPlace: Bool) -> L2Entry? {
        guard version >= 3 else { return nil }
        let keeps = keepsPlace && !entry.isCompressed
        guard geometry.hasExtendedL2 else {
            if read(entry) == .zero(place: nil) { return entry }
            return L2Entry(descriptor: (keeps && place(of: entry) != nil ? entry.descriptor : 0) | L2Entry.zeroFlag)
        }
        guard !entry.isCompressed || subclusters.count == geometry.subclusters else { return nil }
        let bits = L2Entry.bits(subclusters)
        let bitmap = entry.bitmap & ~bits | bits << 32
        let staysPlaced = keeps || UInt32(truncatingIfNeeded: bitmap) != 0
        return L2Entry(descriptor: staysPlaced ? entry.descriptor : 0, bitmap: bitmap)
    }

    /// The entry once it says nothing of some of its subclusters; the same where it cannot say so of a part. A place
    /// without data stays only where it is to be kept.
    func cleared(_ entry: L2Entry, _ subclusters: Range<Int>, keepsPlace: Bool) -> L2Entry {
        if subclusters.count == geometry.subclusters { return .none }
        guard !entry.isCompressed else { return entry }
        let bits = L2Entry.bits(subclusters)
        let bitmap = entry.bitmap & ~(bits | bits << 32)
        let keeps = keepsPlace || UInt32(truncatingIfNeeded: bitmap) != 0
        return L2Entry(descriptor: keeps ? entry.descriptor : 0, bitmap: bitmap)
    }
}
