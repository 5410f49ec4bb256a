public import Block
import Bytes

/// The clusters whose refcounts change while a check looks at an image that is written: of these it says nothing.
///
/// Whatever a writer does to a reference, it does to the refcount as well. So a cluster whose refcount did not change between
/// a commit and the end of the check is referenced at the end by what referenced it all along.
final class ClusterWatch {
    private var changed = ClusterSet()
    /// More has changed than is kept.
    private(set) var isFull = false

    /// Clusters that are kept, 16 bytes each.
    private static let limit = 1 << 21

    func note(_ cluster: UInt64) {
        if changed.count >= Self.limit { isFull = true } else { changed.insert(cluster) }
    }

    func contains(_ cluster: UInt64) -> Bool { changed.contains(cluster) }
}

extension Qcow2Check {
    /// What looks wrong about a cluster of an image that is written meanwhile, until it is known whether that changed.
    struct Suspicion {
        let cluster: UInt64
        let isLeak: Bool
        /// Nil where there are messages enough.
        let message: String?
    }

    /// So many suspicions are kept, 40 bytes each: more is not said of an image that is written meanwhile.
    static var suspicionLimit: Int { 1 << 20 }
    /// So many have a message; the rest is only counted.
    static var messageLimit: Int { 10_000 }

    /// In a check of an image that is written meanwhile: keeps what is said of a cluster for later. False in any other check.
    func suspects(_ cluster: UInt64, isLeak: Bool, _ message: @autoclosure () -> String) -> Bool {
        guard let watch else { return false }
        if !watch.contains(cluster), suspicions.count < Self.suspicionLimit {
            let text = suspicions.count < Self.messageLimit ? message() : nil
            suspicions.append(Suspicion(cluster: cluster, isLeak: isLeak, message: text))
        }
        return true
    }

    /// Whether one of the tables that were read has moved, been freed or been written anew meanwhile: then what it was
    /// taken to reference may be garbage.
    func tablesChanged(_ watch: ClusterWatch) -> Bool {
        if watch.isFull { return true }
        for (_, offset, size) in structures where size > 0 {
            let clusters = offset / geometry.clusterSize...(offset + size - 1) / geometry.clusterSize
            if clusters.contains(where: watch.contains) { return true }
        }
        return tablesRead.contains(where: watch.contains)
            || blockOffsets.values.contains { watch.contains($0 / geometry.clusterSize) }
    }
}

extension Qcow2Image {
    /// How often a check of an image that is written begins anew, because tables moved under it.
    private static var liveAttempts: Int { 8 }

    /// Checks the image while it is open for writing, and holds up nobody: it reads what is in the file, and leaves out the
    /// clusters whose refcounts change meanwhile. `flush` writes back all that was changed before. Nil where tables moved again
    /// and again, so that nothing can be said. Throws what reading throws, and `closed` where the pace ends it.
    public func check(
        pace: Pace, flush: () async throws(BlockError) -> Void, report: @escaping (String) -> Void
    ) async throws(BlockError) -> Qcow2Check.Result? {
        guard !isReadOnly, watch == nil else { throw .unsupported }
        defer { watch = nil }
        for _ in 0..<Self.liveAttempts {
            let watch = ClusterWatch()
            self.watch = watch
            noteInFlight(watch)
            try await flush()
            let header = diskHeader
            var messages: [String] = []
            let check = Qcow2Check(file, header, .none, pace: pace) {
                if messages.count < Qcow2Check.messageLimit { messages.append($0) }
            }
            check.watch = watch
            check.result.totalClusters = geometry.clusters(for: header.size)
            try await check.analyse()
            noteInFlight(watch)
            guard diskHeader.isSameMetadata(as: header), !check.tablesChanged(watch) else { continue }
            for message in messages { report(message) }
            for suspicion in check.suspicions where !watch.contains(suspicion.cluster) {
                if suspicion.isLeak { check.result.leaks += 1 } else { check.result.corruptions += 1 }
                suspicion.message.map(report)
            }
            return check.result
        }
        return nil
    }

    /// Notes the clusters between two states: taken and not yet named by a table, or let go and still counted.
    private func noteInFlight(_ watch: ClusterWatch) {
        let bits = UInt64(geometry.clusterBits)
        for ticket in tickets {
            let first = ticket.place >> bits
            // A compressed cluster may end in the next one.
            for cluster in first...first + UInt64(ticket.clusters.count) { watch.note(cluster) }
        }
        for run in freed.open { for cluster in run.start..<run.end { watch.note(cluster) } }
    }
}

extension Header {
    /// Whether tables are where they were.
    fileprivate func isSameMetadata(as other: Header) -> Bool {
        l1TableOffset == other.l1TableOffset && l1Size == other.l1Size
            && refcountTableOffset == other.refcountTableOffset
            && refcountTableClusters == other.refcountTableClusters && snapshotCount == other.snapshotCount
            && snapshotsOffset == other.snapshotsOffset && autoclear == other.autoclear
    }
}
