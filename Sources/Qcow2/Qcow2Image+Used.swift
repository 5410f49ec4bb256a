public import Block
import Bytes

extension Qcow2Image {
    /// Whether the image counts `enough` clusters of its file as used, by its refcounts as they stand there. They are read from
    /// the first one on, a block at a time, no further than it takes to know.
    public func uses(clusters enough: UInt64) async throws(BlockError) -> Bool {
        let table: [UInt64]
        do throws(OpenError) {
            table = try await Self.readTable(
                "refcount table", file, at: header.refcountTableOffset,
                count: Int(header.refcountTableClusters) << Int(geometry.clusterBits - 3))
        } catch { throw error.cause ?? .corrupt }
        let all = file.length.dividedRoundingUp(by: geometry.clusterSize)
        var used: UInt64 = 0
        for (index, offset) in table.enumerated() where offset != 0 {
            let first = UInt64(index) << UInt64(geometry.refcountBlockBits)
            guard first < all else { break }
            guard offset & geometry.clusterMask == 0, liesInFile(offset) else { throw .corrupt }
            let bytes = try await readCluster(at: offset)
            let block = RefcountBlock(
                index: index, offset: offset, bytes: bytes.bytes.array, order: geometry.refcountOrder)
            for position in 0..<Int(min(UInt64(block.count), all - first)) where block[position] != 0 { used += 1 }
            if used >= enough { return true }
        }
        return used >= enough
    }
}
