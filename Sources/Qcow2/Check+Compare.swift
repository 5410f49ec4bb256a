import Block
import Bytes

extension Qcow2Check {
    /// So many clusters are compared or counted between two looks at the pace.
    static var clustersPerStep: UInt64 { 4096 }

    /// Compares refcounts and references in the window just walked, or repairs refcounts in place. With the last window come
    /// the refcounts of clusters behind the file's end, which nothing uses.
    func compare(fixes: Bool) async throws(BlockError) {
        let entries = geometry.refcountBlockEntries
        let window = counts.window
        let isLast = window.upperBound >= clusters
        guard !window.isEmpty || isLast else { return }
        let first = window.lowerBound / entries
        let last = isLast ? .max : (window.upperBound - 1) / entries
        let blocks = counts.blocks(of: entries).union(blockOffsets.keys).filter { first <= $0 && $0 <= last }.sorted()
        for block in blocks {
            let start = block * entries
            let end = isLast ? start + entries : min(start + entries, window.upperBound)
            try await compareBlock(block, start..<end, fixes: fixes)
        }
    }

    private func compareBlock(_ block: UInt64, _ range: Range<UInt64>, fixes: Bool) async throws(BlockError) {
        let (first, end) = (range.lowerBound, range.upperBound)
        let offset = blockOffsets[block]
        var buffer: AlignedBuffer?
        if let offset {
            do throws(BlockError) { buffer = try await read(ByteRange(at: offset, count: geometry.clusterSize)) } catch
            {
                result.checkErrors += 1
                tell("Can't get refcount for cluster \(first): \(error.sentence)")
                return
            }
        }
        var bytes = buffer.take() ?? AlignedBuffer(byteCount: Int(geometry.clusterSize))
        var part = BlockPart(first: first, exists: offset != nil, isEmpty: bytes.bytes.isZero, fixes: fixes)
        var cluster = first
        while cluster < end {
            let next = min(cluster + Self.clustersPerStep, end)
            compare(&bytes, cluster..<next, &part)
            cluster = next
            try await step(Int(Self.clustersPerStep))
        }
        if let offset, part.isChanged { try await write(bytes.bytes, at: offset) }
    }

    /// A refcount block under comparison.
    private struct BlockPart {
        /// The cluster that its first refcount counts.
        let first: UInt64
        let exists: Bool
        /// Whether all its refcounts were 0.
        let isEmpty: Bool
        let fixes: Bool
        var isChanged = false
    }

    private func compare(_ bytes: inout AlignedBuffer, _ clusters: Range<UInt64>, _ part: inout BlockPart) {
        var block = bytes.mutableBytes
        var cluster = clusters.lowerBound
        while cluster < clusters.upperBound {
            let next = min(
                clusters.upperBound, (cluster / ReferenceCounts.pageClusters + 1) * ReferenceCounts.pageClusters)
            let page = counts.page(of: cluster)
            if page != nil || !part.isEmpty { compare(&block, cluster..<next, inPage: page, &part) }
            cluster = next
        }
    }

    /// Of clusters of one page most are alike: sixteen at once.
    @_lifetime(block: copy block)
    private func compare(
        _ block: inout MutableRawSpan, _ clusters: Range<UInt64>, inPage page: Int?, _ part: inout BlockPart
    ) {
        var cluster = clusters.lowerBound
        while cluster < clusters.upperBound {
            if cluster % ReferenceCounts.wordClusters == 0,
                clusters.upperBound - cluster >= ReferenceCounts.wordClusters
            {
                let word = page.map { counts.word(inPage: $0, of: cluster) } ?? 0
                let first = Int(cluster - part.first)
                if word == ReferenceCounts.onesCopied, packing.areOnes(block.bytes, at: first) {
                    use(upTo: cluster + 15)
                    cluster += ReferenceCounts.wordClusters
                    continue
                }
                if word == 0, part.isEmpty || packing.areZero(block.bytes, at: first) {
                    cluster += ReferenceCounts.wordClusters
                    continue
                }
            }
            compareOne(&block, cluster, &part)
            cluster += 1
        }
    }

    @_lifetime(block: copy block)
    private func compareOne(_ block: inout MutableRawSpan, _ cluster: UInt64, _ part: inout BlockPart) {
        let refcount = packing.value(block.bytes, at: Int(cluster - part.first))
        let count = counts.count(cluster)
        if refcount != 0 || count != 0 { use(upTo: cluster) }
        if counts.isMarked(cluster, refcount == 1 ? .plain : .copied) {
            damage.flags = true
            _ = suspects(
                cluster, isLeak: false, "ERROR OFLAG_COPIED of an entry for cluster \(cluster) refcount=\(refcount)")
        }
        guard refcount != count else { return }
        if !part.fixes {
            found(cluster, refcount, count, exists: part.exists)
        } else if part.exists, fix(cluster, refcount, count) {
            packing.store(count, &block, at: Int(cluster - part.first))
            part.isChanged = true
            damage.flags = true
        }
    }

    /// The image ends behind this cluster, or later; what is behind the file's end is none of it.
    private func use(upTo cluster: UInt64) { if cluster < clusters { highestCluster = max(highestCluster, cluster) } }

    private func found(_ cluster: UInt64, _ refcount: UInt64, _ count: UInt64, exists: Bool) {
        let kind = refcount < count ? "ERROR" : "Leaked"
        let text = "\(kind) cluster \(cluster) refcount=\(refcount) reference=\(count)"
        if suspects(cluster, isLeak: refcount > count, text) { return }
        if refcount < count {
            result.corruptions += 1
            if !exists { damage.refcounts = true }
            if count > geometry.refcountMax { overflow(cluster, count) }
        } else {
            result.leaks += 1
        }
        tell(text)
    }

    /// Refcounts are too narrow for what is referenced; version 3 knows wider ones.
    private func overflow(_ cluster: UInt64, _ count: UInt64) {
        tell("ERROR: overflow cluster offset=0x\(hex(cluster << UInt64(geometry.clusterBits)))")
        guard header.version >= 3 else { return damage.unrepairable += 1 }
        let bits = UInt64(64 - count.leadingZeroBitCount)
        let order = UInt32(64 - (bits - 1).leadingZeroBitCount)
        damage.width = max(damage.width ?? 0, order)
    }

    /// Whether this difference is repaired now; moves it from what is wrong to what was fixed.
    private func fix(_ cluster: UInt64, _ refcount: UInt64, _ count: UInt64) -> Bool {
        if refcount < count {
            guard repair == .all || repair == .refcounts, count <= geometry.refcountMax else { return false }
            result.corruptions -= 1
            result.corruptionsFixed += 1
        } else {
            result.leaks -= 1
            result.leaksFixed += 1
        }
        report("Repairing cluster \(cluster) refcount=\(refcount) reference=\(count)")
        return true
    }
}
