public import Block
import Bytes

/// How much room an image takes in its file, as `qemu-img measure` reckons it: metadata is counted for the whole disk.
public struct Qcow2Room: Sendable {
    /// Bytes of the disk, in whole clusters.
    public let diskBytes: UInt64
    /// Bytes of the file once all of the disk is written.
    public let fullyAllocated: UInt64
    private let clusterSize: UInt64

    /// Of a new image; refuses what cannot be made.
    public init(_ options: CreateOptions) throws(OpenError) {
        try options.validate()
        clusterSize = options.clusterSize
        let entriesPerTable = clusterSize / (options.extendedL2 ? 16 : 8)
        let tooLarge = OpenError("The image size is too large (try using a larger cluster size)")
        let clusters = options.size.dividedRoundingUp(by: clusterSize)
        let tables = clusters.dividedRoundingUp(by: entriesPerTable)
        guard tables * 8 <= Limits.l1Bytes, options.size <= UInt64(Int64.max) else { throw tooLarge }
        diskBytes = clusters * clusterSize
        let l1 = (tables * 8).dividedRoundingUp(by: clusterSize)
        let described = 1 + tables + l1 + clusters
        let countsPerBlock = clusterSize * 8 / UInt64(options.refcountBits)
        // Refcount blocks and their table count themselves too: until nothing changes.
        var (blocks, table) = (0 as UInt64, 0 as UInt64)
        while true {
            let before = blocks + table
            blocks = (described + before).dividedRoundingUp(by: countsPerBlock)
            table = blocks.dividedRoundingUp(by: clusterSize / 8)
            if blocks + table == before { break }
        }
        fullyAllocated = (described + blocks + table) * clusterSize
    }

    /// What bitmaps of a disk of `length` bytes take: their bits, their tables and the directory. Those that are not to be
    /// trusted are not counted.
    public func bitmapBytes(_ bitmaps: [StoredBitmapInfo], length: UInt64) -> UInt64 {
        var (bytes, directory) = (0 as UInt64, 0 as UInt64)
        for bitmap in bitmaps where !bitmap.isInUse {
            let bits = length.dividedRoundingUp(by: bitmap.granularity)
            let clusters = bits.dividedRoundingUp(by: 8).dividedRoundingUp(by: clusterSize)
            bytes += (clusters + (clusters * 8).dividedRoundingUp(by: clusterSize)) * clusterSize
            directory += UInt64((StoredBitmap.headBytes + bitmap.name.utf8.count + 7) & ~7)
        }
        return bytes + directory.dividedRoundingUp(by: clusterSize) * clusterSize
    }
}
