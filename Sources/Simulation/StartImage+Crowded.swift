import BlockTestKit
import Bytes

extension StartImage {
    /// An empty version 3 image of 512-byte clusters and 64-bit refcounts whose refcounts call the first `used` clusters
    /// used, as leaks do. So a short program needs another refcount block (64 clusters each), or, behind 4096 clusters, a
    /// longer refcount table.
    static func crowded(size: UInt64, used: UInt64) -> SparseBytes {
        let (cluster, perBlock): (UInt64, UInt64) = (512, 64)
        let blocks = (used + perBlock - 1) / perBlock
        let l1Entries = (size + perBlock * cluster - 1) / (perBlock * cluster)
        var image = SparseBytes()
        func set(_ value: UInt64, at offset: UInt64, bytes count: Int = 8) {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64((count - 1 - $0) * 8)) }
            image.write(bytes.rawBytes, at: offset)
        }
        set(0x5146_49FB, at: 0, bytes: 4)
        set(3, at: 4, bytes: 4)
        set(9, at: 20, bytes: 4)
        set(size, at: 24)
        set(l1Entries, at: 36, bytes: 4)
        set((2 + blocks) * cluster, at: 40)
        set(cluster, at: 48)
        set(1, at: 56, bytes: 4)
        set(6, at: 96, bytes: 4)
        set(112, at: 100, bytes: 4)
        for block in 0..<blocks { set((2 + block) * cluster, at: cluster + block * 8) }
        for counted in 0..<used { set(1, at: 2 * cluster + counted * 8) }
        image.resize(to: max(used, 2 + blocks + (l1Entries * 8 + cluster - 1) / cluster) * cluster)
        return image
    }
}
