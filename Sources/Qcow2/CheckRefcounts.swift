import Bytes

/// The refcounts packed in a refcount block ("Host cluster management" of the specification): big-endian from 8 bits
/// on, below that from the least significant bit of each byte up.
struct CheckRefcounts {
    /// 1 to 64.
    let bits: UInt32

    func value(_ block: RawSpan, at index: Int) -> UInt64 {
        switch bits {
        case 64: block.bigEndian(UInt64.self, at: index * 8)
        case 32: UInt64(block.bigEndian(UInt32.self, at: index * 4))
        case 16: UInt64(block.bigEndian(UInt16.self, at: index * 2))
        case 8: UInt64(block.byte(at: index))
        default:
            UInt64(block.byte(at: index * Int(bits) / 8) >> shift(index) & mask)
        }
    }

    func store(_ value: UInt64, _ block: inout MutableRawSpan, at index: Int) {
        switch bits {
        case 64: block.storeBigEndian(value, at: index * 8)
        case 32: block.storeBigEndian(UInt32(truncatingIfNeeded: value), at: index * 4)
        case 16: block.storeBigEndian(UInt16(truncatingIfNeeded: value), at: index * 2)
        case 8: block.storeBigEndian(UInt8(truncatingIfNeeded: value), at: index)
        default:
            let byte = index * Int(bits) / 8
            let others = block.bytes.byte(at: byte) & ~(mask << shift(index))
            let mine = (UInt8(truncatingIfNeeded: value) & mask) << shift(index)
            block.storeBigEndian(others | mine, at: byte)
        }
    }

    /// Whether the refcounts of sixteen clusters, the first of which is a multiple of 16, are all 1.
    func areOnes(_ block: RawSpan, at index: Int) -> Bool {
        switch bits {
        case 16: are(0x0001_0001_0001_0001, block, at: index)
        case 1: block.bigEndian(UInt16.self, at: index / 8) == .max
        case 2: block.bigEndian(UInt32.self, at: index / 4) == 0x5555_5555
        case 4: are(0x1111_1111_1111_1111, block, at: index)
        case 8: are(0x0101_0101_0101_0101, block, at: index)
        case 32: are(0x0000_0001_0000_0001, block, at: index)
        default: are(1, block, at: index)
        }
    }

    /// Whether they are all 0.
    func areZero(_ block: RawSpan, at index: Int) -> Bool {
        switch bits {
        case 1: block.bigEndian(UInt16.self, at: index / 8) == 0
        case 2: block.bigEndian(UInt32.self, at: index / 4) == 0
        default: are(0, block, at: index)
        }
    }

    /// Whether sixteen refcounts of 4 bits or more are made of equal words.
    private func are(_ word: UInt64, _ block: RawSpan, at index: Int) -> Bool {
        let start = index * Int(bits) / 8
        var offset = start
        while offset < start + 2 * Int(bits) {
            if block.bigEndian(UInt64.self, at: offset) != word { return false }
            offset += 8
        }
        return true
    }

    private var mask: UInt8 { UInt8(1 << bits) - 1 }
    private func shift(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: index * Int(bits) % 8) }
}
