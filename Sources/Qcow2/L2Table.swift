import Bytes

/// One L2 table in memory, whole, in host byte order.
final class L2Table: CachedTable {
    /// Its index in the active L1 table.
    let index: Int
    /// Where it lies in the file.
    var offset: UInt64
    /// As they stand in the file: an entry is one of them, or two where entries are extended.
    private(set) var words: [UInt64]
    /// log2 of the words of an entry.
    private let entryShift: Int
    /// Which parts have changed since they were last frozen for writing: bit i stands for the i-th of 64 equal parts
    /// (of fewer, one sector each, where the table is shorter than 64 sectors).
    private(set) var dirty: UInt64 = 0
    /// Whether no L1 entry on disk names it yet: it is written whole, before its L1 entry.
    var isNew = false
    /// Whether a commit is writing it.
    var isInCommit = false
    /// Tickets and operations that count on its staying.
    var pins = 0
    var slot = 0
    var wasUsed = true

    init(index: Int, offset: UInt64, words: [UInt64], isExtended: Bool) {
        self.index = index
        self.offset = offset
        self.words = words
        entryShift = isExtended ? 1 : 0
    }

    /// How many entries there are.
    var count: Int { words.count >> entryShift }

    subscript(position: Int) -> L2Entry {
        entryShift == 0
            ? L2Entry(descriptor: words[position])
            : L2Entry(descriptor: words[position * 2], bitmap: words[position * 2 + 1])
    }

    /// Where the entry lies in the file.
    func offset(of position: Int) -> UInt64 { offset + UInt64(position << entryShift) * 8 }

    /// Whether it stands in the image's list of tables to write.
    var isListed = false

    var isPinned: Bool { dirty != 0 || isNew || isInCommit || pins > 0 }

    /// Bytes that one bit of `dirty` stands for.
    static func partBytes(clusterSize: Int) -> Int { max(512, clusterSize / 64) }

    func set(_ entry: L2Entry, at position: Int) {
        let word = position << entryShift
        words[word] = entry.descriptor
        if entryShift != 0 { words[word + 1] = entry.bitmap }
        dirty |= 1 << UInt64(word * 8 / Self.partBytes(clusterSize: words.count * 8))
    }

    /// Takes the changed parts for writing. The copy is free until the table changes again.
    func freeze() -> (mask: UInt64, words: [UInt64]) {
        defer { dirty = 0 }
        return (dirty, words)
    }

    /// Parts that were frozen and could not be written.
    func thaw(_ mask: UInt64) { dirty |= mask }
}

extension [UInt64] {
    /// Entries from big-endian bytes, eight each.
    init(bigEndian bytes: RawSpan) {
        self.init()
        reserveCapacity(bytes.byteCount / 8)
        for index in 0..<bytes.byteCount / 8 { append(bytes.bigEndian(at: index * 8)) }
    }

    /// The entries of `range` as big-endian bytes.
    func bigEndianBytes(_ range: Range<Int>) -> AlignedBuffer {
        var buffer = AlignedBuffer(byteCount: range.count * 8)
        var span = buffer.mutableBytes
        for (position, index) in range.enumerated() { span.storeBigEndian(self[index], at: position * 8) }
        return buffer
    }
}
