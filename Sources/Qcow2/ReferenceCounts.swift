/// How often each cluster of the file is referenced, and what the flags of the active tables say of it: four bits a
/// cluster.
///
/// Clusters stand in pages of 4096. Pages that nothing is counted in, and pages in which every cluster is referenced once,
/// by an entry with the COPIED flag, share their memory: that is what most of a sound image looks like. Counts above three
/// have more room, in the pages that need it. Memory is bounded whatever the file claims (R90): where a window of the file
/// would need too much, it gives up its upper half, and the walk is made again for what is left.
struct ReferenceCounts {
    /// What the flag of an active reference says.
    enum Mark: UInt64 {
        /// No flag: metadata, and the tables of snapshots.
        case none = 0
        case copied = 0b0100
        case plain = 0b1000
    }

    static let pageClusters: UInt64 = 4096
    /// Clusters whose four bits make one word.
    static let wordClusters: UInt64 = 16
    /// Every cluster of a word is referenced once, with the COPIED flag.
    static let onesCopied: UInt64 = 0x5555_5555_5555_5555
    static let countMask: UInt64 = 0x3333_3333_3333_3333
    /// The most bytes of all pages. The counts that one refcount block of the densest kind needs may be more; there a window ends.
    static let memoryLimit = 64 << 20

    private let memoryLimit: Int
    /// Windows begin and end at multiples of this many clusters.
    private let granule: UInt64
    /// Clusters that are counted now.
    private(set) var window: Range<UInt64>
    private var pages: [Page] = []
    private var index = PageIndex()
    /// Bytes of all pages.
    private(set) var memory = 0

    /// `blockEntries`: clusters that one refcount block describes.
    init(clusters: UInt64, blockEntries: UInt64, memoryLimit: Int = ReferenceCounts.memoryLimit) {
        self.memoryLimit = memoryLimit
        granule = max(blockEntries, Self.pageClusters)
        window = 0..<clusters
    }

    /// Forgets all counts and goes on at `start`, up to `clusters`.
    mutating func begin(at start: UInt64, clusters: UInt64) {
        pages.removeAll()
        index = PageIndex()
        memory = 0
        window = start..<max(start, clusters)
    }

    /// Counts `times` more references, up to the largest number that is kept.
    mutating func add(_ cluster: UInt64, times: UInt32 = 1, mark: Mark = .none) {
        guard window.contains(cluster), times > 0 else { return }
        count(cluster, UInt64(times), mark)
    }

    /// Notes what an active entry's flag says of a cluster, whose reference is counted apart.
    mutating func mark(_ cluster: UInt64, _ mark: Mark) {
        guard window.contains(cluster) else { return }
        count(cluster, 0, mark)
    }

    private mutating func count(_ cluster: UInt64, _ times: UInt64, _ mark: Mark) {
        let slot = slot(for: cluster)
        memory += pages[slot].add(Int(cluster % Self.pageClusters), times, mark.rawValue)
        if memory > memoryLimit { shrink() }
    }

    /// Counts one more reference to each of `count` clusters in a row.
    mutating func addRun(_ first: UInt64, count: UInt64, mark: Mark) {
        var cluster = max(first, window.lowerBound)
        while cluster < min(first + count, window.upperBound) {
            let end = min(first + count, window.upperBound, (cluster / Self.pageClusters + 1) * Self.pageClusters)
            let slot = slot(for: cluster)
            let start = Int(cluster % Self.pageClusters)
            memory += pages[slot].addRun(start..<start + Int(end - cluster), mark.rawValue)
            if memory > memoryLimit { shrink() }
            cluster = end
        }
    }

    func count(_ cluster: UInt64) -> UInt64 {
        guard let slot = index.find(cluster / Self.pageClusters) else { return 0 }
        return pages[slot].count(Int(cluster % Self.pageClusters))
    }

    /// Whether an active reference with that flag was counted.
    func isMarked(_ cluster: UInt64, _ mark: Mark) -> Bool {
        guard let slot = index.find(cluster / Self.pageClusters) else { return false }
        let position = Int(cluster % Self.pageClusters)
        return pages[slot].words[position / 16] >> UInt64(position % 16 * 4) & mark.rawValue != 0
    }

    /// Where the counts of the page that holds `cluster` are; nil where nothing was counted in it.
    func page(of cluster: UInt64) -> Int? { index.find(cluster / Self.pageClusters) }

    /// The four bits each of sixteen clusters, the first of which is a multiple of 16 and lies in that page.
    func word(inPage page: Int, of cluster: UInt64) -> UInt64 {
        pages[page].words[Int(cluster % Self.pageClusters / Self.wordClusters)]
    }

    /// The refcount blocks that describe what was counted.
    func blocks(of entries: UInt64) -> Set<UInt64> {
        var blocks: Set<UInt64> = []
        for page in pages {
            let first = page.number * Self.pageClusters
            for block in first / entries...(first + Self.pageClusters - 1) / entries { blocks.insert(block) }
        }
        return blocks
    }

    private mutating func slot(for cluster: UInt64) -> Int {
        let number = cluster / Self.pageClusters
        if let slot = index.find(number) { return slot }
        pages.append(Page(number: number))
        memory += Page.ownBytes
        index.insert(number, pages.count - 1)
        return pages.count - 1
    }

    private mutating func shrink() {
        let sorted = pages.map(\.number).sorted()
        let median = sorted[sorted.count / 2] * Self.pageClusters
        let end = max(window.lowerBound + granule, median - median % granule)
        guard end < window.upperBound else { return }
        window = window.lowerBound..<end
        pages.removeAll { $0.number * Self.pageClusters >= end }
        index = PageIndex()
        memory = 0
        for (slot, page) in pages.enumerated() {
            index.insert(page.number, slot)
            memory += page.bytes
        }
    }
}

extension ReferenceCounts {
    /// The counts of 4096 clusters in a row.
    struct Page {
        let number: UInt64
        /// Of each cluster two bits count up to three, two are marks; the first cluster has the lowest bits.
        private(set) var words = Page.none
        /// What a count has above three, in bytes as long as these are enough.
        private var excess: [UInt8] = []
        private var wideExcess: [UInt32] = []

        /// Shared by the pages that they describe.
        private static let none = [UInt64](repeating: 0, count: 256)
        private static let allOnce = [UInt64](repeating: ReferenceCounts.onesCopied, count: 256)
        /// Bytes of a page that shares its words.
        static let ownBytes = 96

        init(number: UInt64) { self.number = number }

        private var isShared = true

        /// Bytes of memory.
        var bytes: Int { Self.ownBytes + (isShared ? 0 : 2048) + excess.count + wideExcess.count * 4 }

        func count(_ position: Int) -> UInt64 {
            let count = words[position / 16] >> UInt64(position % 16 * 4) & 3
            guard count == 3 else { return count }
            if !wideExcess.isEmpty { return 3 + UInt64(wideExcess[position]) }
            return excess.isEmpty ? 3 : 3 + UInt64(excess[position])
        }

        /// Answers by how much the page's memory grew.
        mutating func add(_ position: Int, _ times: UInt64, _ mark: UInt64) -> Int {
            let before = bytes
            isShared = false
            let (word, shift) = (position / 16, UInt64(position % 16 * 4))
            let count = words[word] >> shift & 3
            words[word] |= mark << shift
            if count + times <= 3 {
                words[word] += times << shift
            } else {
                words[word] |= 3 << shift
                addExcess(position, count + times - 3)
            }
            return bytes - before
        }

        private mutating func addExcess(_ position: Int, _ more: UInt64) {
            if wideExcess.isEmpty {
                let sum = more + (excess.isEmpty ? 0 : UInt64(excess[position]))
                if sum <= 0xFF {
                    if excess.isEmpty { excess = [UInt8](repeating: 0, count: 4096) }
                    excess[position] = UInt8(sum)
                    return
                }
                wideExcess = excess.isEmpty ? [UInt32](repeating: 0, count: 4096) : excess.map { UInt32($0) }
                excess = []
            }
            wideExcess[position] = UInt32(clamping: UInt64(wideExcess[position]) + more)
        }

        mutating func addRun(_ positions: Range<Int>, _ mark: UInt64) -> Int {
            let before = bytes
            isShared = false
            var position = positions.lowerBound
            while position < positions.upperBound {
                let within = position % 16
                let lanes = min(16 - within, positions.upperBound - position)
                let all: UInt64 = 0x1111_1111_1111_1111
                let ones = lanes == 16 ? all : all & ((1 << UInt64(lanes * 4)) - 1)
                let added = ones << UInt64(within * 4)
                let old = words[position / 16]
                if old & old >> 1 & added == 0 {
                    words[position / 16] = (old + added) | added * mark
                } else {
                    for lane in position..<position + lanes { _ = add(lane, 1, mark) }
                }
                position += lanes
            }
            // Where the page is full of the usual, it need not have words of its own.
            if positions.upperBound == 4096, words == Self.allOnce {
                words = Self.allOnce
                isShared = true
            }
            return bytes - before
        }
    }

    /// Finds pages by their number: open addressing, nothing allocated to look one up.
    private struct PageIndex {
        /// Page number plus one; 0 is an empty place. A power of two, at most half full.
        private var keys: [UInt64] = Array(repeating: 0, count: 64)
        private var slots: [Int32] = Array(repeating: 0, count: 64)
        private var count = 0

        private func home(_ key: UInt64) -> Int {
            Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 20) & (keys.count - 1)
        }

        func find(_ number: UInt64) -> Int? {
            let key = number &+ 1
            var place = home(key)
            while keys[place] != 0 {
                if keys[place] == key { return Int(slots[place]) }
                place = (place + 1) & (keys.count - 1)
            }
            return nil
        }

        mutating func insert(_ number: UInt64, _ slot: Int) {
            if (count + 1) * 2 > keys.count {
                let (oldKeys, oldSlots) = (keys, slots)
                keys = Array(repeating: 0, count: oldKeys.count * 2)
                slots = Array(repeating: 0, count: oldKeys.count * 2)
                for (key, slot) in zip(oldKeys, oldSlots) where key != 0 { put(key, slot) }
            }
            put(number &+ 1, Int32(slot))
            count += 1
        }

        private mutating func put(_ key: UInt64, _ slot: Int32) {
            var place = home(key)
            while keys[place] != 0 { place = (place + 1) & (keys.count - 1) }
            (keys[place], slots[place]) = (key, slot)
        }
    }
}
