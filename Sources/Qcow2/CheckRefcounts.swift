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

    private var mask: UInt8 { UInt8(1 << bits) - 1 }
    private func shift(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: index * Int(bits) % 8) }
}
