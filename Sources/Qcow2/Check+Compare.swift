import Block
import Bytes

extension Qcow2Check {
    /// So many clusters are compared or counted between two looks at the pace.
    static var clustersPerStep: UInt64 { 4096 }

    /// Compares refcounts and references in the window just walked, and repairs refcounts in place where it may.
    func compare(canRepair: Bool) async throws(BlockError) {
        let entries = geometry.refcountBlockEntries
        let window = references.window
        guard !window.isEmpty else { return }
        let range = window.lowerBound / entries...(window.upperBound - 1) / entries
        let blocks = references.blocks(of: entries).union(blockOffsets.keys).filter { range.contains($0) }.sorted()
        var repairs: [UInt64] = []
        for block in blocks where try await compareBlock(block, fixes: false) { repairs.append(block) }
        // Where a block is missing the whole structure is built anew, which repairs the rest as well.
        if needsRebuild, repair == .all || !canRepair { return }
        guard canRepair else { return }
        for block in repairs { _ = try await compareBlock(block, fixes: true) }
    }

    /// One refcount block's clusters. Answers whether any of them is wrong.
    private func compareBlock(_ block: UInt64, fixes: Bool) async throws(BlockError) -> Bool {
        let entries = geometry.refcountBlockEntries
        let first = block * entries
        let end = min(first + entries, references.window.upperBound, clusters)
        guard first < end else { return false }
        let offset = blockOffsets[block]
        var buffer: AlignedBuffer?
        if let offset {
            do throws(BlockError) { buffer = try await read(ByteRange(at: offset, count: geometry.clusterSize)) } catch
            {
                result.checkErrors += 1
                report("Can't get refcount for cluster \(first): \(error.sentence)")
                return false
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
        if let offset, part.isChanged { try await file.write(at: offset, from: bytes.bytes, flags: []) }
        return part.isWrong
    }

    /// A refcount block under comparison.
    private struct BlockPart {
        /// The cluster that its first refcount counts.
        let first: UInt64
        let exists: Bool
        /// Whether all its refcounts were 0.
        let isEmpty: Bool
        let fixes: Bool
        var isWrong = false
        var isChanged = false
    }

    private func compare(_ bytes: inout AlignedBuffer, _ clusters: Range<UInt64>, _ part: inout BlockPart) {
        var block = bytes.mutableBytes
        let (isEmpty, fixes) = (part.isEmpty, part.fixes)
        var cluster = clusters.lowerBound
        let end = clusters.upperBound
        while cluster < end {
            if isEmpty, !references.hasPage(of: cluster) {
                cluster = (cluster / CheckReferences.pageClusters + 1) * CheckReferences.pageClusters
                continue
            }
            let refcount = isEmpty && !part.isChanged ? 0 : packing.value(block.bytes, at: Int(cluster - part.first))
            let count = references.count(cluster)
            if refcount != 0 || count != 0 { highestCluster = max(highestCluster, cluster) }
            if refcount != count {
                part.isWrong = true
                if !fixes {
                    found(cluster, refcount, count, exists: part.exists)
                } else if part.exists, fix(cluster, refcount, count) {
                    packing.store(min(count, geometry.refcountMax), &block, at: Int(cluster - part.first))
                    part.isChanged = true
                }
            }
            cluster += 1
        }
    }

    private func found(_ cluster: UInt64, _ refcount: UInt64, _ count: UInt64, exists: Bool) {
        if refcount < count {
            result.corruptions += 1
            if !exists { needsRebuild = true }
            if count > geometry.refcountMax {
                unrepairable += 1
                report("ERROR: overflow cluster offset=0x\(hex(cluster << UInt64(geometry.clusterBits)))")
            }
        } else {
            result.leaks += 1
        }
        let kind = refcount < count ? "ERROR" : "Leaked"
        report("\(kind) cluster \(cluster) refcount=\(refcount) reference=\(count)")
    }

    /// Whether this difference is repaired now; moves it from what is wrong to what was fixed.
    private func fix(_ cluster: UInt64, _ refcount: UInt64, _ count: UInt64) -> Bool {
        if refcount < count {
            guard repair == .all, count <= geometry.refcountMax else { return false }
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
