import Block
import Bytes

/// Where a new image's metadata lies, cluster by cluster: header, refcount table, refcount blocks, L1 table, then with
/// preallocation all L2 tables and all data.
struct CreateLayout {
    let clusterSize: UInt64
    /// Reference counts in one refcount block.
    let countsPerBlock: UInt64
    /// Bytes of an L2 entry.
    let l2EntrySize: UInt64
    let l1Entries: UInt64
    /// Clusters of each part, in the order they lie.
    let refcountTableClusters: UInt64
    let refcountBlocks: UInt64
    let l1Clusters: UInt64
    let l2Tables: UInt64
    let dataClusters: UInt64
    /// Clusters of the disk that have an entry; their data lies here or in a file of its own.
    let mappedClusters: UInt64

    /// `mapped`: how many tables and clusters of data there are, where it is not what the options say.
    init(_ options: CreateOptions, mapped: (tables: UInt64, clusters: UInt64)? = nil) throws(OpenError) {
        clusterSize = options.clusterSize
        countsPerBlock = options.clusterSize * 8 / UInt64(options.refcountBits)
        let dataTotal = options.size.dividedRoundingUp(by: clusterSize)
        l2EntrySize = options.extendedL2 ? 16 : 8
        l1Entries = dataTotal.dividedRoundingUp(by: clusterSize / l2EntrySize)
        let tooLarge = OpenError(
            "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
            cause: .system(27))
        guard l1Entries <= Limits.l1Bytes / 8, options.size <= UInt64(Int64.max) else { throw tooLarge }
        l1Clusters = (l1Entries * 8).dividedRoundingUp(by: clusterSize)
        l2Tables = mapped?.tables ?? (options.mapsAll ? l1Entries : 0)
        mappedClusters = mapped?.clusters ?? (options.mapsAll ? dataTotal : 0)
        dataClusters = options.dataFile == nil ? mappedClusters : 0
        let described = 1 + l1Clusters + l2Tables + dataClusters
        // Refcount blocks and their table count themselves too: add them until nothing changes.
        var (blocks, table) = (1 as UInt64, 1 as UInt64)
        while true {
            let needed = (described + blocks + table).dividedRoundingUp(by: countsPerBlock)
            let tableNeeded = (needed * 8).dividedRoundingUp(by: clusterSize)
            if needed <= blocks, tableNeeded <= table { break }
            (blocks, table) = (max(blocks, needed), max(table, tableNeeded))
        }
        guard table * clusterSize <= Limits.refcountTableBytes else { throw tooLarge }
        // The last byte must have an offset that tables can hold (56 bits).
        guard (described + blocks + table) <= (1 << 56) / clusterSize else { throw tooLarge }
        refcountBlocks = blocks
        refcountTableClusters = table
    }

    var refcountTableOffset: UInt64 { clusterSize }
    var firstBlockOffset: UInt64 { (1 + refcountTableClusters) * clusterSize }
    var l1Offset: UInt64 { l1Entries == 0 ? 0 : firstBlockOffset + refcountBlocks * clusterSize }
    var firstL2Offset: UInt64 { firstBlockOffset + (refcountBlocks + l1Clusters) * clusterSize }
    var dataOffset: UInt64 { firstL2Offset + l2Tables * clusterSize }
    /// Where the file ends: behind the last L1 entry where nothing follows the table, as qemu-img leaves it. The rest of that
    /// cluster reads as zeroes and is counted as used.
    var fileEnd: UInt64 {
        l2Tables + dataClusters == 0 && l1Entries > 0 ? l1Offset + l1Entries * 8 : totalClusters * clusterSize
    }
    var totalClusters: UInt64 { 1 + refcountTableClusters + refcountBlocks + l1Clusters + l2Tables + dataClusters }
    /// All but the data.
    var metadata: ByteRange { ByteRange(at: 0, count: dataOffset) }
    var data: ByteRange { ByteRange(at: dataOffset, count: dataClusters * clusterSize) }
}
