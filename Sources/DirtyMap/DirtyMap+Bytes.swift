import Bytes

// The bits as bytes: as qcow2 stores a bitmap's data ("Bitmap Data" in its specification), and as QEMU sums them up. Bit n
// is bit n % 8 of byte n / 8, counted from the lowest.

extension DirtyMap {
    /// Bytes of all bits, as they are stored.
    public var serialisedCount: UInt64 { (granuleCount + 7) / 8 }

    /// What a piece of the bits is, for those who store it.
    public enum Piece: Equatable, Sendable { case clean, dirty, mixed }

    /// What the bits in the stored bytes from `start` on are, up to `count` bytes or the end. `dirty` is told of a piece that
    /// is wholly bits.
    public func piece(at start: UInt64, count: UInt64) -> Piece {
        var dirty: UInt64 = 0
        forEachPage(of: min(start * 8, granuleCount)..<min((start + count) * 8, granuleCount)) { page, bits in
            let whole = bits.count == granules(ofPage: page)
            dirty += UInt64(whole ? pages[page].dirtyCount : pages[page].count(bits))
        }
        return dirty == 0 ? .clean : dirty == count * 8 ? .dirty : .mixed
    }

    /// Stores the bits from the stored byte `start` on, a multiple of 8, over all of `bytes`, whose length is one too; zeros
    /// behind the last bit.
    @_lifetime(bytes: copy bytes)
    public func store(from start: UInt64, in bytes: inout MutableRawSpan) {
        for index in 0..<bytes.byteCount / 8 {
            bytes.storeLittleEndian(word(start / 8 + UInt64(index)), at: index * 8)
        }
    }

    /// The bits of granules 64 `index` to 64 `index` + 63.
    private func word(_ index: UInt64) -> UInt64 {
        guard index < (granuleCount + 63) / 64 else { return 0 }
        let (page, word) = Int(index).quotientAndRemainder(dividingBy: DirtyPage.wordCount)
        let bits = pages[page].words[word]
        let left = granuleCount - index * 64
        return left < 64 ? bits & ~(~0 << left) : bits
    }

    /// Marks what stored bytes say, as `store` gave them; what they say beyond the last bit is left out. Answers false where
    /// there is no memory for it, and more is dirty now than they say.
    public func restore(_ bytes: RawSpan, at start: UInt64) -> Bool {
        var isDone = true
        for index in 0..<bytes.byteCount / 8 {
            let first = start * 8 + UInt64(index) * 64
            guard first < granuleCount else { break }
            let left = granuleCount - first
            let bits: UInt64 = bytes.littleEndian(at: index * 8) & (left < 64 ? ~(~0 << left) : ~0)
            guard bits != 0 else { continue }
            let (page, bit) = Int(first).quotientAndRemainder(dividingBy: DirtyPage.granules)
            if !add(to: page, { $0.add(bits, to: bit / 64) }) { isDone = false }
        }
        return isDone
    }

    /// Marks all bits of a piece that is stored as such; answers as `restore`.
    public func restoreDirty(at start: UInt64, count: UInt64) -> Bool {
        setGranules(min(start * 8, granuleCount)..<min((start + count) * 8, granuleCount))
    }

    /// Hands out all bits as bytes, in whole words and at least one, piece by piece: what QEMU's checksum of a bitmap is made of.
    public func forEachPiece(_ body: (RawSpan) -> Void) {
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        let end = max((granuleCount + 63) / 64, 1) * 8
        var start: UInt64 = 0
        while start < end {
            let count = Int(min(end - start, UInt64(piece.count)))
            piece.withMutableBytes { store(from: start, in: &$0) }
            body(piece.byteSpan.extracting(0..<count))
            start += UInt64(count)
        }
    }
}
