import Block
import Bytes

/// What the allocator answers.
enum TakenRun {
    case run(ClusterRun, readsZero: Bool)
    case needs(TableNeed)
    case noSpace
}

extension Qcow2Image {
    private var blockBits: UInt64 { UInt64(geometry.refcountBlockBits) }

    /// The cluster behind the last one that may be taken.
    var clusterEnd: UInt64 {
        let end = file.limits.growable ? rules.hostEnd : min(file.length, rules.hostEnd)
        return end >> UInt64(geometry.clusterBits)
    }

    /// Takes `most` clusters in a row, where `places` finds them; fewer where a refcount block or the file ends, or holes are
    /// filled. What was found to be used is not looked at again: whoever looks again after loading a block must not need
    /// those before it again.
    func takeRun(atMost most: UInt64) -> TakenRun {
        let end = clusterEnd
        while true {
            let cluster = places.next
            let index = Int(cluster >> blockBits)
            if let hole = places.passed.last, cluster >= end || hole.start >> blockBits < UInt64(index) {
                places.fill()
                continue
            }
            guard cluster < end else {
                isStarved = true
                return .noSpace
            }
            guard index < refcountTable.count else { return .needs(Need.growRefcountTable.at(index)) }
            guard refcountTable[index] != 0 else {
                let last = min(UInt64(index + 1) << blockBits, end) - 1
                return .needs(Need.makeBlock.at(cluster + min(most, last - cluster)))
            }
            guard let block = blocks.find(index) else { return .needs(Need.loadBlock.at(index)) }
            block.wasUsed = true
            guard let hole = hole(from: cluster, atMost: most, in: block) else { continue }
            if metadata.contains(hole.start) { return .needs(Need.reportOverlap.at(hole.start)) }
            if contested.contains(block.offset >> UInt64(geometry.clusterBits)) {
                return .needs(Need.reportOverlap.at(block.offset >> UInt64(geometry.clusterBits)))
            }
            let base = UInt64(index) << blockBits
            if hole.count < min(most, end - hole.start, base + UInt64(block.count) - hole.start), !places.takesAny {
                places.pass(hole, geometry)
                continue
            }
            for cluster in hole.start..<hole.end { setRefcount(1, at: Int(cluster - base), in: block) }
            places.skip(to: hole.end)
            return .run(hole, readsZero: extend(to: hole))
        }
    }

    /// The first clusters in a row of a block, at or behind `cluster`, that are free; nil where there are none, or the first one
    /// waits for its release, and `places` has moved on. Nobody counts a first one that is metadata, which is damage.
    private func hole(from cluster: UInt64, atMost most: UInt64, in block: RefcountBlock) -> ClusterRun? {
        let base = UInt64(block.index) << blockBits
        let end = min(base + UInt64(block.count), clusterEnd)
        guard let position = block.firstFree(from: Int(cluster - base)), base + UInt64(position) < end else {
            places.skip(to: base + UInt64(block.count))
            return nil
        }
        var hole = ClusterRun(start: base + UInt64(position), count: 1)
        if freed.held.contains(hole.start) {
            // It lowers the place again when it is released.
            places.skip(to: hole.end)
            return nil
        }
        while hole.count < most, hole.end < end, block[Int(hole.end - base)] == 0, !freed.held.contains(hole.end),
            !metadata.contains(hole.end)
        {
            hole.count += 1
        }
        return hole
    }

    /// Notes that places up to the run's end are used. Answers whether the run reads as zeros: it lies where the file has
    /// never reached.
    private func extend(to run: ClusterRun) -> Bool {
        let bits = UInt64(geometry.clusterBits)
        let isFresh = run.start << bits >= highWater && file.limits.growable
        highWater = max(highWater, run.end << bits)
        return isFresh
    }

    func setRefcount(_ count: UInt64, at position: Int, in block: RefcountBlock) {
        if !block.isDirty { dirtyBlocks.append(block) }
        block[position] = count
        watch?.note(UInt64(block.index) << blockBits + UInt64(position))
    }

    /// Takes one cluster, resolving what that lacks. The caller holds `structure`.
    func takeCluster() async throws(BlockError) -> UInt64 {
        try await takeClusters(atMost: 1).start
    }

    func takeClusters(atMost most: UInt64) async throws(BlockError) -> ClusterRun {
        while true {
            switch takeRun(atMost: most) {
            case .run(let run, _): return run
            case .noSpace: throw .noSpace
            case .needs(let need): try await resolveLocked(need)
            }
        }
    }

    /// Makes the refcount block that counts `cluster`, there. The caller holds `structure`.
    func makeBlock(at cluster: UInt64) async throws(BlockError) {
        let index = Int(cluster >> blockBits)
        guard index < refcountTable.count, refcountTable[index] == 0 else { return }
        guard cluster < clusterEnd else {
            isStarved = true
            throw .noSpace
        }
        if metadata.contains(cluster) {
            reportOverlap(cluster)
            try await markCorrupt()
            throw .corrupt
        }
        let offset = cluster << UInt64(geometry.clusterBits)
        let block = RefcountBlock(
            index: index, offset: offset, bytes: Array(repeating: 0, count: Int(geometry.clusterSize)),
            order: geometry.refcountOrder)
        block[Int(cluster & (geometry.refcountBlockEntries - 1))] = 1
        // Written at once, so that its space is secured; linked by the next commit (O8).
        highWater = max(highWater, offset + geometry.clusterSize)
        let buffer = AlignedBuffer(copying: block.bytes)
        await file.reach(.refblockAllocWrite)
        try await file.write(at: offset, from: buffer.bytes, flags: [])
        install(block)
        watch?.note(cluster)
    }

    /// Lowers the refcount of a cluster by one. Answers the new count, or nil where it was zero already.
    func dropReference(to cluster: UInt64) async throws(BlockError) -> UInt64? {
        let index = Int(cluster >> blockBits)
        guard index < refcountTable.count, refcountTable[index] != 0 else { return nil }
        let block = try await refcountBlock(index)
        let position = Int(cluster & ((1 << blockBits) - 1))
        let count = block[position]
        guard count > 0 else { return nil }
        setRefcount(count - 1, at: position, in: block)
        return count - 1
    }

    /// How often a cluster is counted.
    func refcount(of cluster: UInt64) async throws(BlockError) -> UInt64 {
        let index = Int(cluster >> blockBits)
        guard index < refcountTable.count, refcountTable[index] != 0 else { return 0 }
        return try await refcountBlock(index)[Int(cluster & ((1 << blockBits) - 1))]
    }

    /// A refcount block that the refcount table names, read where it must be.
    func refcountBlock(_ index: Int) async throws(BlockError) -> RefcountBlock {
        while index < refcountTable.count, refcountTable[index] != 0 {
            if let block = blocks.find(index) {
                block.wasUsed = true
                return block
            }
            try await resolve(Need.loadBlock.at(index))
        }
        throw .corrupt
    }
}
