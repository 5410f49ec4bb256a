/// Guest subclusters of one table, entry by entry: each entry's position in the table, and those of its subclusters that
/// are among them.
struct EntryParts: Sequence, IteratorProtocol {
    private var start: UInt64
    private let end: UInt64
    private let shift: UInt64
    private let mask: UInt64

    /// Precondition: one table maps all of them.
    init(_ subclusters: Range<UInt64>, _ geometry: Geometry) {
        start = subclusters.lowerBound
        end = subclusters.upperBound
        shift = UInt64(geometry.subclustersShift)
        mask = UInt64(geometry.l2Entries) - 1
    }

    mutating func next() -> (position: Int, subclusters: Range<Int>)? {
        guard start < end else { return nil }
        let cluster = start >> shift
        let first = cluster << shift
        let next = Swift.min(end, first + 1 << shift)
        defer { start = next }
        return (Int(cluster & mask), Int(start - first)..<Int(next - first))
    }
}
