public import Block

/// What a new image shall be. The defaults are those of `qemu-img create`.
public struct CreateOptions: Equatable, Sendable {
    /// The version of the header: `compat=0.10` and `compat=1.1`.
    public enum Version: Int, Sendable {
        case v2 = 2
        case v3 = 3
    }
    public typealias Preallocation = Block.Preallocation

    /// The virtual disk's size in bytes; a multiple of 512.
    public var size: UInt64
    public var version = Version.v3
    /// In bytes: a power of two from 512 to 2 MiB.
    public var clusterSize: UInt64 = 65536
    /// Bits a reference count takes: a power of two from 1 to 64.
    public var refcountBits = 16
    public var backingFile: String?
    public var backingFormat: String?
    public var lazyRefcounts = false
    public var compression = Header.CompressionType.zlib
    public var preallocation = Preallocation.off
    /// Whether clusters have 32 subclusters each, allocated one by one.
    public var extendedL2 = false
    /// The name of a file for the guest's data alone, as the image shall record it.
    public var dataFile: String?
    /// Whether that file shall always read as the disk by itself; then all of the disk is mapped from the start.
    public var dataFileRaw = false

    public init(size: UInt64) { self.size = size }

    /// Checks the options against each other, in QEMU's order and with its texts.
    public func validate() throws(OpenError) {
        guard size % 512 == 0 else { throw invalid("Image size must be a multiple of 512 bytes") }
        guard clusterSize.isPowerOfTwo, (512...2 << 20).contains(clusterSize) else {
            throw invalid("Cluster size must be a power of two between 512 and 2048k")
        }
        if extendedL2, clusterSize < Self.minExtendedCluster {
            throw invalid(
                "Extended L2 entries are only supported with cluster sizes of at least \(Self.minExtendedCluster) bytes"
            )
        }
        if preallocation != .off, backingFile != nil, !extendedL2 {
            throw invalid("Backing file and preallocation can only be used at the same time if extended_l2 is on")
        }
        if backingFormat != nil, backingFile == nil {
            throw invalid("Backing format cannot be used without backing file")
        }
        let needsV3 = "(use version=v3 or greater)"
        if version == .v2, extendedL2 {
            throw invalid("Extended L2 entries are only supported with compatibility level 1.1 and above \(needsV3)")
        }
        if version == .v2, lazyRefcounts {
            throw invalid("Lazy refcounts only supported with compatibility level 1.1 and above \(needsV3)")
        }
        if dataFileRaw, dataFile == nil { throw invalid("data-file-raw requires data-file") }
        if dataFileRaw, backingFile != nil {
            throw invalid("Backing file and data-file-raw cannot be used at the same time")
        }
        if version == .v2, dataFile != nil {
            throw invalid("External data files are only supported with compatibility level 1.1 and above \(needsV3)")
        }
        guard (1...64).contains(refcountBits), UInt64(refcountBits).isPowerOfTwo else {
            throw invalid("Refcount width must be a power of two and may not exceed 64 bits")
        }
        if version == .v2, refcountBits != 16 {
            throw invalid(
                "Different refcount widths than 16 bits require compatibility level 1.1 or above \(needsV3)")
        }
        if version == .v2, compression != .zlib {
            throw invalid(
                "Non-zlib compression type is only supported with compatibility level 1.1 and above \(needsV3)")
        }
    }

    /// Whether all of the disk gets its tables at once.
    var mapsAll: Bool { preallocation != .off || dataFileRaw }

    /// Bytes of the smallest cluster whose subclusters are whole sectors.
    static let minExtendedCluster = Limits.minSubcluster * 32

    func invalid(_ message: String) -> OpenError { OpenError(message, cause: .invalid) }
}

extension UInt64 {
    var isPowerOfTwo: Bool { self != 0 && self & (self - 1) == 0 }

    /// The quotient rounded up. Precondition: the divisor is not 0.
    func dividedRoundingUp(by divisor: UInt64) -> UInt64 { self / divisor + (self % divisor == 0 ? 0 : 1) }
}
