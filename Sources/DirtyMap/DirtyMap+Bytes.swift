import Bytes

// The bits as bytes: as qcow2 stores a bitmap's data ("Bitmap Data" in its specification), and as QEMU sums them up. Bit n
// is bit n % 8 of byte n / 8, counted from the lowest.

extension DirtyMap {
    /// Bytes of all bits, as they are stored.
    public var serialisedCount: UInt64 { (granuleCount + 7) / 8 }

    /// What a piece of the bits is, for those who store it.
    public enum Piece: Equatable, Sendable { case clean, dirty, mixed }

    /// What the bits in the stored bytes from `start` on are, up to `count` bytes or the end. `dirty` is told of a piece that
    /// is wholly bits. Both numbers are multiples of 8.
    public func piece(at start: UInt64, count: UInt64) -> Piece {
        let words = Int(start / 8)..<min(Int((start + count) / 8), levels[0].count)
        if words.allSatisfy({ levels[0][$0] == 0 }) { return .clean }
        guard (start + count) * 8 <= granuleCount else { return .mixed }
        return words.allSatisfy { levels[0][$0] == ~0 } ? .dirty : .mixed
    }

    /// Stores the bits from the stored byte `start` on, a multiple of 8, over all of `bytes`, whose length is one too; zeros
    /// behind the last bit.
    @_lifetime(bytes: copy bytes)
    public func store(from start: UInt64, in bytes: inout MutableRawSpan) {
        let first = Int(start / 8)
        for word in 0..<bytes.byteCount / 8 {
            let value = first + word < levels[0].count ? levels[0][first + word] : 0
            bytes.storeLittleEndian(value, at: word * 8)
        }
    }

    /// Takes stored bytes, as `store` gave them, into the map; what they say beyond the last bit is left out. `restored` is
    /// called once all are there.
    public func restore(_ bytes: RawSpan, at start: UInt64) {
        let first = Int(start / 8)
        for word in 0..<max(0, min(bytes.byteCount / 8, levels[0].count - first)) {
            levels[0][first + word] = bytes.littleEndian(at: word * 8)
        }
    }

    /// Sets all bits of a piece that is stored as such.
    public func restoreDirty(at start: UInt64, count: UInt64) {
        let first = Int(start / 8)
        for word in first..<min(first + Int(count / 8), levels[0].count) { levels[0][word] = ~0 }
    }

    /// Ends a restoration.
    public func restored() {
        clearPastEnd()
        countAnew()
    }

    /// All words as bytes, which is what QEMU's checksum of a bitmap is made of.
    public var words: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: levels[0].count * 8)
        bytes.withMutableBytes { store(from: 0, in: &$0) }
        return bytes
    }
}
