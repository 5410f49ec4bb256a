import Bytes

/// One refcount block in memory, as it stands on disk: widths below 8 bits count from the low bit of each byte, wider
/// ones are big-endian.
final class RefcountBlock: CachedTable {
    /// Its index in the refcount table.
    let index: Int
    let offset: UInt64
    private(set) var bytes: [UInt8]
    private let order: UInt32
    var isDirty = false
    /// Whether the refcount table on disk does not name it yet.
    var isNew = false
    var isInCommit = false
    var pins = 0
    var slot = 0
    var wasUsed = true

    init(index: Int, offset: UInt64, bytes: [UInt8], order: UInt32) {
        self.index = index
        self.offset = offset
        self.bytes = bytes
        self.order = order
    }

    var isPinned: Bool { isDirty || isNew || isInCommit || pins > 0 }
    /// Refcounts in the block.
    var count: Int { (bytes.count * 8) >> Int(order) }

    subscript(position: Int) -> UInt64 {
        get { Self.read(bytes, position, order) }
        set {
            Self.store(newValue, in: &bytes, position, order)
            isDirty = true
        }
    }

    /// The first position at or behind `start` whose refcount is zero.
    func firstFree(from start: Int) -> Int? {
        var position = start
        while position < count {
            // Whole bytes of counts that are all taken are the common case in a full image.
            if self[position] == 0 { return position }
            position += 1
        }
        return nil
    }

    static func read(_ bytes: [UInt8], _ position: Int, _ order: UInt32) -> UInt64 {
        switch order {
        case 0...2:
            let width = 1 << Int(order)
            let bit = position * width
            return UInt64(bytes[bit >> 3] >> UInt8(bit & 7)) & ((1 << UInt64(width)) - 1)
        case 3: return UInt64(bytes[position])
        case 4: return UInt64(bytes[position * 2]) << 8 | UInt64(bytes[position * 2 + 1])
        default:
            let width = 1 << Int(order - 3)
            var value: UInt64 = 0
            for byte in bytes[position * width..<(position + 1) * width] { value = value << 8 | UInt64(byte) }
            return value
        }
    }

    static func store(_ value: UInt64, in bytes: inout [UInt8], _ position: Int, _ order: UInt32) {
        switch order {
        case 0...2:
            let width = 1 << Int(order)
            let bit = position * width
            let mask = UInt8((1 << width) - 1) << UInt8(bit & 7)
            bytes[bit >> 3] = bytes[bit >> 3] & ~mask | UInt8(truncatingIfNeeded: value) << UInt8(bit & 7) & mask
        default:
            let width = 1 << Int(order - 3)
            for byte in 0..<width {
                bytes[position * width + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - byte)))
            }
        }
    }
}
