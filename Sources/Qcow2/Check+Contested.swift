import Block
import Bytes

extension Qcow2Check {
    /// Finds the metadata in the window just counted whose place something else uses too: there its references are not as
    /// many as there should be. Refcount blocks were looked at by the walk; `qemu-img` looks at no others.
    func findContested() async throws(BlockError) {
        for (kind, offset, size) in structures where size > 0 {
            let bits = UInt64(geometry.clusterBits)
            let clusters = offset >> bits...(offset + size - 1) >> bits
            guard let part = clusters.clamped(to: counts.window) else { continue }
            for cluster in part where counts.count(cluster) != 1 { contest(cluster, kind) }
            try await step(part.count)
        }
        // Where an L2 table is referenced as often as L1 entries name it, nothing else uses its place.
        try await forEachTable { (tables) async throws(BlockError) in
            for table in tables where self.counts.window.contains(table.cluster) {
                if self.counts.count(table.cluster) != UInt64(table.times) { self.contest(table.cluster, .l2) }
            }
        }
    }

    /// So many contested clusters are kept apart; where more are, nothing is repaired.
    static var contestedLimit: Int { 1 << 18 }

    private func contest(_ cluster: UInt64, _ kind: Structure) {
        let text = "ERROR cluster \(cluster) of the \(kind.rawValue) is used for something else too"
        if suspects(cluster, isLeak: false, text) { return }
        guard damage.doubtful.count < Self.contestedLimit else {
            damage.isHopeless = true
            return
        }
        damage.doubtful.insert(cluster)
        switch kind {
        case .refcountTable: damage.refcounts = true
        case .bitmaps: damage.bitmaps = true
        case .l2: guard damage.contestedTables.insert(cluster).inserted else { return }
        case .header, .activeL1, .snapshotL1, .snapshotTable:
            guard damage.contested.insert(cluster).inserted else { return }
        }
        result.corruptions += 1
        tell(text)
    }
}

extension ClosedRange<UInt64> {
    fileprivate func clamped(to window: Range<UInt64>) -> Range<UInt64>? {
        guard lowerBound < window.upperBound, upperBound >= window.lowerBound else { return nil }
        return Swift.max(lowerBound, window.lowerBound)..<Swift.min(upperBound + 1, window.upperBound)
    }
}
