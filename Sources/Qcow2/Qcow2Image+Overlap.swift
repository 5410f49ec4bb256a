import Block
import Bytes

extension Qcow2Image {
    /// No writable image may have more clusters of inactive L1 tables than this, which bounds the memory for overlap
    /// checks: a million, 64 GiB of tables at 64 KiB clusters.
    private static var maxInactiveL1Clusters: UInt64 { 1 << 20 }

    /// Notes all clusters of metadata, so that nothing else is ever written there.
    func noteMetadata() throws(OpenError) {
        metadata = ClusterSet()
        contested = ClusterSet()
        note(at: 0, bytes: geometry.clusterSize)
        note(at: header.l1TableOffset, bytes: UInt64(header.l1Size) * 8)
        note(at: header.refcountTableOffset, bytes: UInt64(refcountTable.count) * 8)
        note(at: header.snapshotsOffset, bytes: snapshotTableBytes)
        for entry in refcountTable {
            let offset = entry & ~511
            if offset != 0 { note(at: offset, bytes: 1) }
        }
        for entry in l1 {
            let offset = entry & L2Entry.offsetMask
            if offset != 0 { note(at: offset, bytes: 1) }
        }
        noteBitmapMetadata { note(at: $0, bytes: $1) }
        guard inactiveL1Clusters() != nil else {
            throw OpenError("Snapshot L1 tables of more than \(Self.maxInactiveL1Clusters) clusters")
        }
        for snapshot in snapshots {
            let first = snapshot.l1TableOffset >> UInt64(geometry.clusterBits)
            for cluster in first..<first + geometry.clusters(for: UInt64(snapshot.l1Size) * 8) {
                metadata.insert(cluster)
            }
        }
    }

    /// Clusters of the L1 tables of all snapshots, and of one more with so many entries; nil where those are too many.
    func inactiveL1Clusters(with entries: UInt64 = 0) -> UInt64? {
        var clusters = geometry.clusters(for: entries * 8)
        for snapshot in snapshots {
            clusters += geometry.clusters(for: UInt64(snapshot.l1Size) * 8)
            if clusters > Self.maxInactiveL1Clusters { return nil }
        }
        return clusters
    }

    /// Notes the clusters of one structure; what another claims already is contested.
    private func note(at offset: UInt64, bytes: UInt64) {
        let first = offset >> UInt64(geometry.clusterBits)
        for cluster in first..<first + geometry.clusters(for: bytes) where !metadata.insert(cluster) {
            contested.insert(cluster)
        }
    }

    func noteMetadata(cluster: UInt64) { metadata.insert(cluster) }

    func forgetMetadata(_ run: ClusterRun) {
        for cluster in run.start..<run.end { metadata.remove(cluster) }
    }

    /// What QEMU calls the metadata in this cluster.
    func metadataName(_ cluster: UInt64) -> String {
        if cluster == 0 { return "qcow2_header" }
        let bits = UInt64(geometry.clusterBits)
        func holds(_ offset: UInt64, _ bytes: UInt64) -> Bool {
            let first = offset >> bits
            return cluster >= first && cluster - first < geometry.clusters(for: bytes)
        }
        if holds(header.l1TableOffset, UInt64(l1.count) * 8) { return "active L1 table" }
        if holds(header.refcountTableOffset, UInt64(refcountTable.count) * 8) { return "refcount table" }
        if refcountTable.contains(where: { $0 >> bits == cluster }) { return "refcount block" }
        if holds(header.snapshotsOffset, snapshotTableBytes) { return "snapshot table" }
        if l1.contains(where: { ($0 & L2Entry.offsetMask) >> bits == cluster }) { return "active L2 table" }
        var isBitmaps = false
        noteBitmapMetadata { isBitmaps = isBitmaps || holds($0, $1) }
        return isBitmaps ? "bitmap directory" : "inactive L1 table"
    }
}
