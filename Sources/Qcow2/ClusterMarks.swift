public import Bytes

/// Which clusters of a disk hold data: one bit for each.
public struct ClusterMarks: Sendable {
    /// Bytes of a cluster.
    public let clusterSize: UInt64
    /// How many are marked.
    public private(set) var count: UInt64 = 0
    private var words: [UInt64]

    /// 128 MiB of marks: a disk of 64 TiB in clusters of 64 KiB.
    public static let most: UInt64 = 1 << 30

    /// For a disk of so many bytes; nil where there would be more than `most`.
    public init?(length: UInt64, clusterSize: UInt64) {
        let clusters = length.dividedRoundingUp(by: clusterSize)
        guard clusters <= Self.most else { return nil }
        self.clusterSize = clusterSize
        words = [UInt64](repeating: 0, count: Int(clusters.dividedRoundingUp(by: 64)))
    }

    /// Marks every cluster that the range of the disk touches. Precondition: it lies on the disk.
    public mutating func mark(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        for cluster in range.start / clusterSize...(range.end - 1) / clusterSize where !contains(cluster) {
            words[Int(cluster / 64)] |= 1 << (cluster % 64)
            count += 1
        }
    }

    public func contains(_ cluster: UInt64) -> Bool {
        let word = Int(cluster / 64)
        return word < words.count && words[word] & 1 << (cluster % 64) != 0
    }

    /// Whether one of the clusters is marked.
    func containsAny(of clusters: Range<UInt64>) -> Bool {
        next(from: clusters.lowerBound, to: clusters.upperBound) != nil
    }

    /// The first marked cluster from one on, before another.
    public func next(from first: UInt64, to end: UInt64 = .max) -> UInt64? {
        var cluster = first
        while cluster < end, Int(cluster / 64) < words.count {
            let rest = words[Int(cluster / 64)] >> (cluster % 64)
            if rest != 0 {
                cluster += UInt64(rest.trailingZeroBitCount)
                return cluster < end ? cluster : nil
            }
            cluster = (cluster / 64 + 1) * 64
        }
        return nil
    }
}
