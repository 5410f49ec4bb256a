import Bytes

/// One entry of an L2 table ("L2 table entry", "Extended L2 Entries"): a descriptor, and in an image with extended entries
/// the bitmap of the cluster's 32 subclusters. Where entries are plain, the cluster is its own only subcluster, and the
/// descriptor alone tells of it.
struct L2Entry: Equatable {
    var descriptor: UInt64
    /// Bit x: subcluster x holds data. Bit 32 + x: it reads as zeros. 0 in a plain entry and in a compressed one.
    var bitmap: UInt64 = 0

    static let none = L2Entry(descriptor: 0)

    /// What an entry says of one subcluster.
    enum Mapping: Equatable {
        /// Nothing here: the backing file decides. The cluster may have a place, for others of its subclusters.
        case unallocated(place: UInt64?)
        /// Reads as zeros; a place may be reserved.
        case zero(place: UInt64?)
        case data(offset: UInt64)
        /// `count` bytes of compressed data at `offset`, which is not aligned.
        case compressed(offset: UInt64, count: UInt64)
        case invalid
    }

    /// Bit 63: the refcount is exactly one, so the cluster may be written in place.
    static let copied: UInt64 = 1 << 63
    static let compressedFlag: UInt64 = 1 << 62
    /// Bit 0, version 3 and plain entries only: reads as zeros.
    static let zeroFlag: UInt64 = 1
    /// Bits 9 to 55.
    static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00

    /// Whether the active state alone refers to the cluster.
    var isOwn: Bool { descriptor & Self.copied != 0 }
    var isCompressed: Bool { descriptor & Self.compressedFlag != 0 }
    /// The subclusters that hold data, where the entry is an extended one.
    var allocated: UInt32 { UInt32(truncatingIfNeeded: bitmap) }
    /// Those that read as zeros.
    var zeros: UInt32 { UInt32(truncatingIfNeeded: bitmap >> 32) }

    /// The bits of some subclusters in either half of a bitmap.
    static func bits(_ subclusters: Range<Int>) -> UInt64 {
        (1 << UInt64(subclusters.count) - 1) << UInt64(subclusters.lowerBound)
    }
}

extension L2Entry.Mapping {
    /// What continues it, so many bytes further on.
    func advanced(by bytes: UInt64) -> Self {
        switch self {
        case .unallocated(let place): .unallocated(place: place.map { $0 + bytes })
        case .zero(let place): .zero(place: place.map { $0 + bytes })
        case .data(let offset): .data(offset: offset + bytes)
        case .compressed, .invalid: self
        }
    }
}

extension L2Entry {
    /// Reads the entry at a position of a table as it stands in the file.
    init(_ table: RawSpan, at position: Int, _ geometry: Geometry) {
        descriptor = table.bigEndian(at: position * geometry.l2EntrySize)
        bitmap = geometry.hasExtendedL2 ? table.bigEndian(at: position * geometry.l2EntrySize + 8) : 0
    }
}
