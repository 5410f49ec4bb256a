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

    /// Takes the first free run at or behind the hint, at most `most` clusters long. Below the hint all is used or held:
    /// it moves with the search, for whoever looks again after loading a block must not need those before it again.
    func takeRun(atMost most: UInt64) -> TakenRun {
        let end = clusterEnd
        var cluster = freeHint
        while cluster < end {
            let index = Int(cluster >> blockBits)
            guard index < refcountTable.count else { return .needs(Need.growRefcountTable.at(index)) }
            guard refcountTable[index] != 0 else {
                let last = min(UInt64(index + 1) << blockBits, end) - 1
                return .needs(Need.makeBlock.at(cluster + min(most, last - cluster)))
            }
            guard let block = blocks.find(index) else { return .needs(Need.loadBlock.at(index)) }
            block.wasUsed = true
            let base = UInt64(index) << blockBits
            guard let position = block.firstFree(from: Int(cluster - base)), base + UInt64(position) < end else {
                cluster = base + UInt64(block.count)
                freeHint = cluster
                continue
            }
            cluster = base + UInt64(position)
            if freed.held.contains(cluster) {
                // It lowers the hint again when it is released.
                cluster += 1
                freeHint = cluster
                continue
            }
            if metadata.contains(cluster) { return .needs(Need.reportOverlap.at(cluster)) }
            if contested.contains(block.offset >> UInt64(geometry.clusterBits)) {
                return .needs(Need.reportOverlap.at(block.offset >> UInt64(geometry.clusterBits)))
            }
            let run = claim(from: cluster, atMost: min(most, end - cluster), in: block, base: base)
            freeHint = run.end
            return .run(run, readsZero: extend(to: run))
        }
        isStarved = true
        return .noSpace
    }

    private func claim(from first: UInt64, atMost most: UInt64, in block: RefcountBlock, base: UInt64) -> ClusterRun {
        var run = ClusterRun(start: first, count: 0)
        while run.count < most, run.end - base < UInt64(block.count), block[Int(run.end - base)] == 0,
            !freed.held.contains(run.end), !metadata.contains(run.end)
        {
            setRefcount(1, at: Int(run.end - base), in: block)
            run.count += 1
        }
        return run
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
