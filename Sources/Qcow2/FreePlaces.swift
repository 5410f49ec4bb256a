/// Where free clusters are looked for: from below, in a row for all of a request.
///
/// A hole that is too small for a request is passed over, so that what is written at once lies together, and the next request
/// goes on behind it. What was passed over is not forgotten: it is filled, whatever is asked for, before the search leaves the
/// clusters of one refcount block, where a device or its host has no more, and when it is more than `allowance`. So a file
/// is never longer than it must be by more than that (R88), and no refcount block is read only to pass a hole over.
struct FreePlaces {
    /// Where the search goes on. Before it nothing is free but `passed`, and what waits for its release.
    private(set) var next: UInt64 = 0
    /// Holes that were too small, in the order of the file.
    private(set) var passed: [ClusterRun] = []
    private var passedClusters: UInt64 = 0
    /// Before it each hole is taken, however small.
    private var fillEnd: UInt64 = 0

    /// Holes that are passed over at most, 16 bytes of memory each.
    static let mostHoles = 4096

    /// Clusters that may be passed over before `cluster`: 1 MiB, and a 32nd of what lies before it.
    static func allowance(before cluster: UInt64, _ geometry: Geometry) -> UInt64 {
        (1 << 20) >> UInt64(geometry.clusterBits) + cluster >> 5
    }

    /// No cluster below it is free, apart from those that wait for release.
    var lowest: UInt64 { passed.first?.start ?? next }

    /// Whether a hole that begins at `next` is taken, however small.
    var takesAny: Bool { next < fillEnd }

    /// The clusters up to `cluster` are used, or wait for their release.
    mutating func skip(to cluster: UInt64) { next = cluster }

    /// Passes over a hole behind `next`.
    mutating func pass(_ hole: ClusterRun, _ geometry: Geometry) {
        passed.append(hole)
        passedClusters += hole.count
        next = hole.end
        if passedClusters > Self.allowance(before: next, geometry) || passed.count > Self.mostHoles { fill() }
    }

    /// Goes back to what was passed over, and takes it.
    mutating func fill() {
        fillEnd = next
        next = lowest
        forget()
    }

    /// A cluster is free now.
    mutating func lower(to cluster: UInt64) {
        guard cluster < next else { return }
        next = cluster
        // One that lies behind a hole, or in front of it, is a part of it.
        while let hole = passed.last, hole.end >= cluster {
            next = min(next, hole.start)
            passed.removeLast()
            passedClusters -= hole.count
        }
    }

    /// Leaves out all that is free before `cluster`, until it is lowered again.
    mutating func leave(for cluster: UInt64) {
        forget()
        next = max(next, cluster)
    }

    private mutating func forget() {
        passed.removeAll(keepingCapacity: true)
        passedClusters = 0
    }
}
