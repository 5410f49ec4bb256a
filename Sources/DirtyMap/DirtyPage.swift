/// The bits of granules in a row, one page's worth of a dirty map; the last page of a map has as many as are left.
///
/// A page that is wholly clean, or wholly dirty, shares its words with all others that are: it takes no memory of its own.
struct DirtyPage {
    static let wordCount = 512
    static let granules = wordCount * 64

    private static let cleanWords = [UInt64](repeating: 0, count: wordCount)
    private static let dirtyWords = [UInt64](repeating: ~0, count: wordCount)

    /// 64 granules a word, the first in the lowest bit. Of the last page's words there may be fewer, if they are its own, or
    /// more, with bits beyond its end, where they are shared.
    private(set) var words = Self.cleanWords
    /// How many granules are dirty.
    private(set) var dirtyCount = 0

    /// Bytes of a page's own words.
    static func byteCount(_ granules: Int) -> UInt64 { UInt64((granules + 63) / 64 * 8) }

    /// Makes all granules clean, or all dirty, in words that are shared.
    mutating func fill(_ isDirty: Bool, _ granules: Int) {
        words = isDirty ? Self.dirtyWords : Self.cleanWords
        dirtyCount = isDirty ? granules : 0
    }

    /// Gives a page that shares its words its own, which say the same.
    mutating func takeWords(_ granules: Int) {
        let count = (granules + 63) / 64
        words = [UInt64](repeating: dirtyCount == 0 ? 0 : ~0, count: count)
        if dirtyCount > 0, granules % 64 != 0 { words[count - 1] = ~0 >> UInt64(64 - granules % 64) }
    }

    /// What the page says of its first granules, in words of its own.
    func prefix(_ granules: Int) -> DirtyPage {
        var part = DirtyPage()
        part.takeWords(granules)
        for word in part.words.indices { part.add(words[word] & Self.mask(word, 0..<granules), to: word) }
        return part
    }

    // MARK: Words of its own

    mutating func set(_ bits: Range<Int>) {
        for word in bits.lowerBound >> 6...(bits.upperBound - 1) >> 6 { add(Self.mask(word, bits), to: word) }
    }

    /// Sets more bits of one word.
    mutating func add(_ bits: UInt64, to word: Int) {
        dirtyCount += (bits & ~words[word]).nonzeroBitCount
        words[word] |= bits
    }

    mutating func clear(_ bits: Range<Int>) {
        for word in bits.lowerBound >> 6...(bits.upperBound - 1) >> 6 {
            let gone = words[word] & Self.mask(word, bits)
            dirtyCount -= gone.nonzeroBitCount
            words[word] ^= gone
        }
    }

    /// The bits of `word` that are among `bits`.
    private static func mask(_ word: Int, _ bits: Range<Int>) -> UInt64 {
        let (first, last) = (bits.lowerBound, bits.upperBound - 1)
        var mask = ~UInt64(0)
        if first >> 6 == word { mask &= ~0 << UInt64(first & 63) }
        if last >> 6 == word { mask &= ~0 >> UInt64(63 - last & 63) }
        return mask
    }

    // MARK: Looking

    func contains(_ bit: Int) -> Bool { words[bit >> 6] >> UInt64(bit & 63) & 1 != 0 }

    /// How many of these granules are dirty.
    func count(_ bits: Range<Int>) -> Int {
        if dirtyCount == 0 || bits.isEmpty { return 0 }
        return (bits.lowerBound >> 6...(bits.upperBound - 1) >> 6).reduce(0) {
            $0 + (words[$1] & Self.mask($1, bits)).nonzeroBitCount
        }
    }

    /// The first dirty granule at or behind `bit`, or nil.
    func firstDirty(from bit: Int) -> Int? {
        if dirtyCount == 0 { return nil }
        return first(from: bit, flipped: 0)
    }

    /// The first one that is clean, or nil; in words that are not whole, the end of the granules counts as such.
    func firstClean(from bit: Int) -> Int? { first(from: bit, flipped: ~0) }

    private func first(from bit: Int, flipped: UInt64) -> Int? {
        var word = bit >> 6
        var rest = (words[word] ^ flipped) & (~0 << UInt64(bit & 63))
        while rest == 0 {
            word += 1
            guard word < words.count else { return nil }
            rest = words[word] ^ flipped
        }
        return word << 6 + rest.trailingZeroBitCount
    }
}
