/// What an L2 entry says ("Standard Cluster Descriptor", "Compressed Clusters Descriptor").
enum L2Entry: Equatable {
    /// Nothing here: the backing file decides.
    case unallocated
    /// Reads as zeros; a place may be reserved (`offset`, or 0).
    case zero(offset: UInt64)
    case data(offset: UInt64)
    /// `count` bytes of compressed data at `offset`, which is not aligned.
    case compressed(offset: UInt64, count: UInt64)
    case invalid

    /// Bit 63: the refcount is exactly one, so the cluster may be written in place.
    static let copied: UInt64 = 1 << 63
    static let compressedFlag: UInt64 = 1 << 62
    /// Bit 0, version 3 only: reads as zeros.
    static let zeroFlag: UInt64 = 1
    /// Bits 9 to 55.
    static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
}

/// The rules by which entries of one image are read: its version, its geometry, how far host offsets go.
struct EntryRules {
    let geometry: Geometry
    /// Bits that must be zero in a standard descriptor: reserved ones, and those of an unaligned offset.
    let standardMustBeZero: UInt64
    /// The same for an L1 entry.
    let l1MustBeZero: UInt64
    /// Where the clusters end that a refcount table of the largest size can count.
    let hostEnd: UInt64

    init(version: UInt32, geometry: Geometry) {
        self.geometry = geometry
        let aligned = ~geometry.clusterMask & L2Entry.offsetMask
        standardMustBeZero =
            ~(aligned | L2Entry.copied | L2Entry.compressedFlag | (version >= 3 ? L2Entry.zeroFlag : 0))
        l1MustBeZero = ~(aligned | L2Entry.copied)
        let blocks = geometry.maxRefcountTableClusters << UInt64(geometry.clusterBits - 3)
        let clusters = blocks.multipliedReportingOverflow(by: geometry.refcountBlockEntries)
        let bytes = clusters.partialValue.multipliedReportingOverflow(by: geometry.clusterSize)
        hostEnd = clusters.overflow || bytes.overflow ? Limits.hostOffset : min(bytes.partialValue, Limits.hostOffset)
    }

    func read(_ entry: UInt64) -> L2Entry {
        if entry & L2Entry.compressedFlag != 0 { return readCompressed(entry) }
        guard entry & standardMustBeZero == 0 else { return .invalid }
        let offset = entry & L2Entry.offsetMask
        guard offset < hostEnd else { return .invalid }
        if entry & L2Entry.zeroFlag != 0 { return .zero(offset: offset) }
        return offset == 0 ? .unallocated : .data(offset: offset)
    }

    private func readCompressed(_ entry: UInt64) -> L2Entry {
        let shift = geometry.compressedShift
        let offset = entry & ((1 << shift) - 1)
        let sectors = ((entry & ~(L2Entry.copied | L2Entry.compressedFlag)) >> shift) + 1
        let count = sectors * 512 - offset % 512
        guard offset < hostEnd, count <= hostEnd - offset else { return .invalid }
        return .compressed(offset: offset, count: count)
    }
}
