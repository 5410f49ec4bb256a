/// How long requests of one kind took, counted in bins.
public struct LatencyHistogram: Equatable, Sendable {
    /// Where the bins end, in nanoseconds, rising: a request that took as long as a boundary says counts behind it. The
    /// last bin has no end.
    public let boundaries: [UInt64]
    /// Requests by bin, one bin more than there are boundaries.
    public private(set) var bins: [UInt64]

    /// Nil where the boundaries do not rise from above zero.
    public init?(boundaries: [UInt64]) {
        guard zip([0] + boundaries, boundaries).allSatisfy({ $0 < $1 }) else { return nil }
        self.boundaries = boundaries
        bins = Array(repeating: 0, count: boundaries.count + 1)
    }

    mutating func count(_ durationNs: UInt64) {
        var (low, high) = (0, boundaries.count)
        while low < high {
            let middle = (low + high) / 2
            if durationNs < boundaries[middle] { high = middle } else { low = middle + 1 }
        }
        bins[low] &+= 1
    }
}
