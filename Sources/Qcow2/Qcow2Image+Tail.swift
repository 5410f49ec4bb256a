public import Block

extension Qcow2Image {
    /// Ends the file behind the last cluster that anything uses: what a disk that shrank no longer needs, what leaked there
    /// and was repaired, and whatever was written behind the image. No request may be under way.
    ///
    /// Only what is durable counts: where a change waits for its commit, or clusters wait for their release, the tail stays.
    public func cutTail() async throws(BlockError) {
        if let writeRefusal { throw writeRefusal }
        await structure.lock()
        defer { structure.unlock() }
        let bits = UInt64(geometry.clusterBits)
        guard file.limits.growable, let last = try await lastUsedCluster() else { return }
        let end = (last + 1) << bits
        guard writeRefusal == nil, tickets.isEmpty, commitUrgency == .none, end < file.length else { return }
        // A refcount that is wrong for metadata is wrong for more than that: such an image keeps what it has.
        guard !metadata.contains(where: { $0 > last }) else { return }
        try await file.resize(to: end)
        highWater = min(highWater, end)
        places.lower(to: last + 1)
    }

    /// The last cluster with a reference; nil only where there is none, which is damage.
    private func lastUsedCluster() async throws(BlockError) -> UInt64? {
        for index in refcountTable.indices.reversed() where refcountTable[index] != 0 {
            while blocks.find(index) == nil { try await resolveLocked(Need.loadBlock.at(index)) }
            guard let block = blocks.find(index) else { return nil }
            if let position = (0..<block.count).last(where: { block[$0] != 0 }) {
                return UInt64(index) << UInt64(geometry.refcountBlockBits) + UInt64(position)
            }
        }
        return nil
    }
}
