public import Block

/// How an image is opened: qcow2's node options.
public struct Options: Sendable {
    /// Nothing is written, not even at open.
    public var isReadOnly: Bool
    /// Bytes of L2 tables and refcount blocks to keep in memory; nil chooses as QEMU does.
    public var l2CacheSize: UInt64?
    public var refcountCacheSize: UInt64?
    /// Both together.
    public var cacheSize: UInt64?
    /// Accepted and checked as QEMU checks it; tables are cached whole.
    public var l2CacheEntrySize: UInt64?
    /// Whether the bits of bitmaps are read: not for who only looks at the image. Such an image must not be written.
    public var loadsBitmaps: Bool
    /// Whether the file is a stream, read once from its start: only what maps the disk is looked at, for the lists of
    /// snapshots and bitmaps lie behind the data. Such an image must not be written.
    public var isStream: Bool

    public init(
        isReadOnly: Bool = false, l2CacheSize: UInt64? = nil, refcountCacheSize: UInt64? = nil,
        cacheSize: UInt64? = nil, l2CacheEntrySize: UInt64? = nil, loadsBitmaps: Bool = true,
        isStream: Bool = false
    ) {
        self.isReadOnly = isReadOnly
        self.l2CacheSize = l2CacheSize
        self.refcountCacheSize = refcountCacheSize
        self.cacheSize = cacheSize
        self.l2CacheEntrySize = l2CacheEntrySize
        self.loadsBitmaps = loadsBitmaps
        self.isStream = isStream
    }

    /// The L2 cache's size where nothing is said, in bytes: enough for 256 GiB at 64 KiB clusters.
    static let defaultL2Cache: UInt64 = 32 << 20
    /// Fewest refcount blocks that are kept.
    static let fewestRefcountBlocks: UInt64 = 4

    /// Checks the combination, and works out what each cache may hold in bytes.
    func cacheSizes(size: UInt64, geometry: Geometry) throws(OpenError) -> (l2: UInt64, refcount: UInt64) {
        let cluster = geometry.clusterSize
        if let entry = l2CacheEntrySize, entry < 512 || entry > cluster || entry & (entry - 1) != 0 {
            throw OpenError("L2 cache entry size must be a power of two between 512 and the cluster size (\(cluster))")
        }
        let wholeImage = max(geometry.tableBytes(for: size), cluster)
        let fewestRefcounts = Self.fewestRefcountBlocks * cluster
        var l2 = l2CacheSize ?? min(Self.defaultL2Cache, wholeImage)
        var refcount = refcountCacheSize ?? fewestRefcounts
        if let cacheSize {
            if l2CacheSize != nil, refcountCacheSize != nil {
                throw OpenError("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
            }
            if let l2CacheSize, l2CacheSize > cacheSize { throw OpenError("l2-cache-size may not exceed cache-size") }
            if let refcountCacheSize, refcountCacheSize > cacheSize {
                throw OpenError("refcount-cache-size may not exceed cache-size")
            }
            if let l2CacheSize {
                refcount = cacheSize - l2CacheSize
            } else if let refcountCacheSize {
                l2 = cacheSize - refcountCacheSize
            } else if cacheSize >= wholeImage.addingReportingOverflow(fewestRefcounts).partialValue {
                // Room for all L2 tables: the rest is for refcounts.
                l2 = wholeImage
                refcount = cacheSize - wholeImage
            } else {
                refcount = min(cacheSize, fewestRefcounts)
                l2 = cacheSize - refcount
            }
        }
        guard refcount / cluster <= UInt64(Int32.max) else { throw OpenError("Refcount cache size too big") }
        return (min(l2, wholeImage), refcount)
    }
}

/// What an image tells about itself while it is open. Called on the image's context, from within its operations: it may
/// note and send events, and must not call back into the image.
public struct Observer {
    public var onCorruption: (CorruptionReport) -> Void
    /// The image takes no more writes, since a metadata write or a flush failed with this error.
    public var onFence: (BlockError) -> Void

    public init(
        onCorruption: @escaping (CorruptionReport) -> Void = { _ in },
        onFence: @escaping (BlockError) -> Void = { _ in }
    ) {
        self.onCorruption = onCorruption
        self.onFence = onFence
    }
}

/// Damage that was found in an open image: what the event BLOCK_IMAGE_CORRUPTED tells.
public struct CorruptionReport: Equatable, Sendable {
    public let message: String
    /// Where in the file, in bytes, as far as that can be said.
    public let offset: UInt64?
    public let size: UInt64?
    /// Whether the image takes no more writes for it.
    public let isFatal: Bool

    /// The line for people, in QEMU's words.
    public var text: String {
        isFatal
            ? "qcow2: Marking image as corrupt: \(message); further corruption events will be suppressed"
            : "qcow2: Image is corrupt: \(message); further non-fatal corruption events will be suppressed"
    }
}
