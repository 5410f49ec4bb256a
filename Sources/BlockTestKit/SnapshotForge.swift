import Bytes

/// Puts an internal snapshot into the bytes of a closed qcow2 image, by its own reading of the specification: the
/// active tables are shared from then on, refcounts count both, no cluster is COPIED.
public struct SnapshotForge {
    private var image: SparseBytes
    private let clusterSize: UInt64
    /// Bytes of an L2 entry.
    private let entrySize: UInt64
    private let refcountBits: UInt64
    private let refcountTable: UInt64
    private let refcountTableEntries: UInt64

    /// The image with one snapshot, or nil where its refcounts have no room for what the snapshot needs.
    public static func adding(to image: SparseBytes) -> SparseBytes? {
        var forge = SnapshotForge(image)
        return forge.run() ? forge.image : nil
    }

    /// The image as it was at one of its snapshots: its active table is the snapshot's. For reading only.
    public static func reverting(_ image: SparseBytes, to index: Int = 0) -> SparseBytes {
        var forge = SnapshotForge(image)
        var entry = forge.number(at: 64, bytes: 8)
        for _ in 0..<index { entry = forge.entry(after: entry) }
        forge.store(forge.number(at: entry, bytes: 8), at: 40, bytes: 8)
        forge.store(forge.number(at: entry + 8, bytes: 4), at: 36, bytes: 4)
        forge.store(forge.number(at: entry + 48, bytes: 8), at: 24, bytes: 8)
        return forge.image
    }

    /// What the image's snapshot keeps for each guest subcluster, as `MiniCheck.stored` tells it.
    public static func kept(in image: SparseBytes) -> [UInt64: [UInt8]] { MiniCheck(reverting(image)).stored }

    /// The ids of an image's snapshots.
    static func entries(of image: SparseBytes) -> [String] {
        let forge = SnapshotForge(image)
        var entry = forge.number(at: 64, bytes: 8)
        return (0..<min(forge.number(at: 60, bytes: 4), 64)).map { _ in
            let (extra, length) = (forge.number(at: entry + 36, bytes: 4), forge.number(at: entry + 12, bytes: 2))
            let id = image.bytes(ByteRange(at: entry + 40 + extra, count: length))
            entry = forge.entry(after: entry)
            return String(decoding: id, as: UTF8.self)
        }
    }

    /// Where the next entry of the snapshot table begins.
    private func entry(after entry: UInt64) -> UInt64 {
        let names = number(at: entry + 12, bytes: 2) + number(at: entry + 14, bytes: 2)
        return (entry + 40 + number(at: entry + 36, bytes: 4) + names + 7) & ~7
    }

    private init(_ image: SparseBytes) {
        self.image = image
        func number(at offset: UInt64, bytes count: UInt64) -> UInt64 {
            image.bytes(ByteRange(at: offset, count: count)).reduce(0) { $0 << 8 | UInt64($1) }
        }
        clusterSize = 1 << number(at: 20, bytes: 4)
        entrySize = number(at: 4, bytes: 4) >= 3 && number(at: 72, bytes: 8) & 0b1_0000 != 0 ? 16 : 8
        refcountBits = number(at: 4, bytes: 4) == 2 ? 16 : 1 << number(at: 96, bytes: 4)
        refcountTable = number(at: 48, bytes: 8)
        refcountTableEntries = number(at: 56, bytes: 4) * clusterSize / 8
    }

    private func number(at offset: UInt64, bytes count: UInt64) -> UInt64 {
        image.bytes(ByteRange(at: offset, count: count)).reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func store(_ value: UInt64, at offset: UInt64, bytes count: UInt64) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: value >> ((count - 1 - $0) * 8)) }
        image.write(bytes.rawBytes, at: offset)
    }

    private mutating func run() -> Bool {
        let (l1, entries) = (number(at: 40, bytes: 8), number(at: 36, bytes: 4))
        guard refcountBits > 1, entries > 0, number(at: 60, bytes: 4) == 0 else { return false }
        // New clusters go behind the file's end: the copied L1 table, then the snapshot table.
        let first = (image.length + clusterSize - 1) / clusterSize
        let l1Clusters = (entries * 8 + clusterSize - 1) / clusterSize
        image.resize(to: (first + l1Clusters + 1) * clusterSize)
        for cluster in first...first + l1Clusters where !count(cluster) { return false }
        for index in 0..<entries {
            let entry = number(at: l1 + index * 8, bytes: 8) & ~(1 << 63)
            store(entry, at: (first * clusterSize) + index * 8, bytes: 8)
            store(entry, at: l1 + index * 8, bytes: 8)
            guard entry != 0 else { continue }
            guard count(entry / clusterSize), share(table: entry) else { return false }
        }
        let table = (first + l1Clusters) * clusterSize
        store(first * clusterSize, at: table, bytes: 8)
        store(entries, at: table + 8, bytes: 4)
        store(1, at: table + 12, bytes: 2)
        store(1, at: table + 14, bytes: 2)
        store(16, at: table + 36, bytes: 4)
        store(number(at: 24, bytes: 8), at: table + 48, bytes: 8)
        image.write([UInt8(ascii: "1"), UInt8(ascii: "s")].rawBytes, at: table + 56)
        store(1, at: 60, bytes: 4)
        store(table, at: 64, bytes: 8)
        return true
    }

    private mutating func share(table: UInt64) -> Bool {
        for index in 0..<clusterSize / entrySize {
            let entry = number(at: table + index * entrySize, bytes: 8)
            if entry >> 62 & 1 == 1 {
                for cluster in MiniCheck.clusters(compressed: entry, clusterSize) where !count(cluster) { return false }
                continue
            }
            let place = entry & 0x00FF_FFFF_FFFF_FE00
            guard place != 0 else { continue }
            store(entry & ~(1 << 63), at: table + index * entrySize, bytes: 8)
            guard count(place / clusterSize) else { return false }
        }
        return true
    }

    /// Adds one to a cluster's refcount; false where no block describes it, or it cannot be higher.
    private mutating func count(_ cluster: UInt64) -> Bool {
        let perBlock = clusterSize * 8 / refcountBits
        guard cluster / perBlock < refcountTableEntries else { return false }
        let block = number(at: refcountTable + cluster / perBlock * 8, bytes: 8)
        guard block != 0 else { return false }
        let index = cluster % perBlock
        if refcountBits >= 8 {
            let (offset, width) = (block + index * refcountBits / 8, refcountBits / 8)
            let old = number(at: offset, bytes: width)
            guard old < UInt64.max >> (64 - refcountBits) else { return false }
            store(old + 1, at: offset, bytes: width)
        } else {
            let (offset, shift) = (block + index * refcountBits / 8, index * refcountBits % 8)
            let old = number(at: offset, bytes: 1)
            guard old >> shift & (1 << refcountBits - 1) < 1 << refcountBits - 1 else { return false }
            store(old + 1 << shift, at: offset, bytes: 1)
        }
        return true
    }
}
