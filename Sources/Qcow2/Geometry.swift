/// The sizes that follow from a header: how guest offsets split into table indices, and how refcounts are packed.
///
/// Where L2 entries are extended, a cluster has 32 subclusters that are allocated one by one; where they are plain, the
/// cluster is its own only subcluster.
public struct Geometry: Equatable, Sendable {
    public let clusterBits: UInt32
    public let refcountOrder: UInt32
    /// Whether L2 entries are extended: 128 bits wide.
    public let hasExtendedL2: Bool

    public init(clusterBits: UInt32, refcountOrder: UInt32, hasExtendedL2: Bool = false) {
        self.clusterBits = clusterBits
        self.refcountOrder = refcountOrder
        self.hasExtendedL2 = hasExtendedL2
    }

    /// Bytes in a cluster, 512 to 2 MiB.
    @inlinable public var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
    /// The bits of an offset inside its cluster.
    @inlinable public var clusterMask: UInt64 { clusterSize - 1 }
    /// log2 of the subclusters of a cluster.
    @inlinable public var subclustersShift: UInt32 { hasExtendedL2 ? 5 : 0 }
    /// Subclusters of a cluster.
    @inlinable public var subclusters: Int { hasExtendedL2 ? 32 : 1 }
    /// log2 of the bytes in a subcluster.
    @inlinable public var subclusterBits: UInt32 { clusterBits - subclustersShift }
    /// Bytes in a subcluster: what is allocated at once.
    @inlinable public var subclusterSize: UInt64 { 1 << UInt64(subclusterBits) }
    /// log2 of the entries of an L2 table.
    @inlinable public var l2Bits: UInt32 { clusterBits - (hasExtendedL2 ? 4 : 3) }
    /// Entries of an L2 table.
    @inlinable public var l2Entries: Int { 1 << Int(l2Bits) }
    /// Bytes of an L2 entry.
    @inlinable public var l2EntrySize: Int { hasExtendedL2 ? 16 : 8 }
    /// Guest bytes that one L2 table maps.
    @inlinable public var l2Coverage: UInt64 { 1 << UInt64(clusterBits + l2Bits) }
    /// Bits of one refcount, 1 to 64.
    @inlinable public var refcountBits: UInt32 { 1 << refcountOrder }
    /// log2 of the refcounts in one refcount block.
    @inlinable public var refcountBlockBits: UInt32 { clusterBits + 3 - refcountOrder }
    /// Refcounts in one refcount block.
    @inlinable public var refcountBlockEntries: UInt64 { 1 << UInt64(refcountBlockBits) }
    /// The largest refcount that fits.
    @inlinable public var refcountMax: UInt64 { refcountOrder == 6 ? .max : (1 << UInt64(refcountBits)) - 1 }
    /// The number of bytes at the low end of a compressed cluster's descriptor: where its sector count begins.
    @inlinable public var compressedShift: UInt64 { UInt64(62 - (clusterBits - 8)) }

    /// Clusters that hold `bytes` bytes.
    @inlinable
    public func clusters(for bytes: UInt64) -> UInt64 {
        (bytes >> UInt64(clusterBits)) + (bytes & clusterMask == 0 ? 0 : 1)
    }

    /// L1 entries that a disk of `size` bytes needs.
    @inlinable
    public func l1Entries(for size: UInt64) -> UInt64 {
        let bits = UInt64(clusterBits + l2Bits)
        return (size >> bits) + (size & ((1 << bits) - 1) == 0 ? 0 : 1)
    }

    /// Bytes of all L2 tables of a disk; the most there is where that is more.
    func tableBytes(for size: UInt64) -> UInt64 {
        let needed = l1Entries(for: size).multipliedReportingOverflow(by: clusterSize)
        return needed.overflow ? .max : needed.partialValue
    }

    /// The largest refcount table, in clusters.
    @inlinable public var maxRefcountTableClusters: UInt64 {
        clusters(for: Limits.refcountTableBytes)
    }
}
