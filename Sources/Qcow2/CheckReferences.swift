/// How often each cluster is referenced, counted over one window of the file at a time so that memory stays bounded
/// whatever the file claims (R90): a window that would need too many pages gives up its upper half, and the walk is
/// made again for what is left.
struct CheckReferences {
    static let pageClusters: UInt64 = 256
    /// Pages of 1 KiB; 96 MiB with what the dictionary adds. One refcount block of the densest kind needs half of them.
    static let pageLimit = 1 << 17

    private let pageLimit: Int
    /// Windows begin and end at multiples of this many clusters.
    private let granule: UInt64
    /// Clusters that are counted now.
    private(set) var window: Range<UInt64>
    private var pages: [UInt64: [UInt32]] = [:]

    /// `blockEntries`: clusters that one refcount block describes.
    init(clusters: UInt64, blockEntries: UInt64, pageLimit: Int = CheckReferences.pageLimit) {
        self.pageLimit = pageLimit
        granule = max(blockEntries, Self.pageClusters)
        window = 0..<clusters
    }

    /// Forgets all counts and goes on at `start`, up to `clusters`.
    mutating func begin(at start: UInt64, clusters: UInt64) {
        pages.removeAll(keepingCapacity: true)
        window = start..<max(start, clusters)
    }

    /// Counts `times` more references, up to the largest number that is kept.
    mutating func add(_ cluster: UInt64, times: UInt32 = 1) {
        guard window.contains(cluster) else { return }
        let (page, index) = (cluster / Self.pageClusters, Int(cluster % Self.pageClusters))
        if pages[page] == nil {
            if pages.count >= pageLimit { shrink() }
            guard window.contains(cluster) else { return }
            pages[page] = [UInt32](repeating: 0, count: Int(Self.pageClusters))
        }
        guard let sum = pages[page]?[index].addingReportingOverflow(times) else { return }
        pages[page]?[index] = sum.overflow ? .max : sum.partialValue
    }

    func count(_ cluster: UInt64) -> UInt64 {
        UInt64(pages[cluster / Self.pageClusters]?[Int(cluster % Self.pageClusters)] ?? 0)
    }

    /// Whether any cluster of the page that holds `cluster` may have been counted.
    func hasPage(of cluster: UInt64) -> Bool { pages[cluster / Self.pageClusters] != nil }

    /// The first clusters of the pages that hold what was counted, in order.
    var pageStarts: [UInt64] { pages.keys.sorted().map { $0 * Self.pageClusters } }

    /// The refcount blocks that describe what was counted.
    func blocks(of entries: UInt64) -> Set<UInt64> {
        var blocks: Set<UInt64> = []
        for page in pages.keys {
            let first = page * Self.pageClusters
            for block in first / entries...(first + Self.pageClusters - 1) / entries { blocks.insert(block) }
        }
        return blocks
    }

    private mutating func shrink() {
        let sorted = pages.keys.sorted()
        let median = sorted[sorted.count / 2] * Self.pageClusters
        let end = max(window.lowerBound + granule, median - median % granule)
        guard end < window.upperBound else { return }
        window = window.lowerBound..<end
        for page in sorted where page * Self.pageClusters >= end { pages[page] = nil }
    }
}
