import Bytes

/// A command descriptor block of up to 16 bytes (SPC-4 4.3), padded with zeros. A value of two words: reading a field
/// allocates nothing and cannot reach outside.
///
/// Longer ones (operation codes 7Eh and 7Fh) are cut; no command of theirs is supported.
public struct CDB: Equatable, Sendable {
    public static var byteCount: Int { 16 }

    /// Bytes 0 to 7 and 8 to 15, the first byte in the most significant place.
    public private(set) var head: UInt64
    public private(set) var tail: UInt64

    public init(head: UInt64, tail: UInt64) {
        self.head = head
        self.tail = tail
    }

    /// The first 16 bytes of `bytes`, or all of them and zeros.
    public init(_ bytes: RawSpan) {
        if bytes.byteCount >= Self.byteCount {
            self.init(head: bytes.bigEndian(at: 0), tail: bytes.bigEndian(at: 8))
        } else {
            self.init(head: 0, tail: 0)
            for index in 0..<bytes.byteCount { self[index] = bytes.byte(at: index) }
        }
    }

    public init(_ bytes: [UInt8]) { self.init(bytes.byteSpan) }

    /// Precondition: the index lies in the block.
    public subscript(index: Int) -> UInt8 {
        get {
            precondition(index >= 0 && index < Self.byteCount)
            return UInt8(truncatingIfNeeded: (index < 8 ? head : tail) >> UInt64(56 - 8 * (index & 7)))
        }
        set {
            precondition(index >= 0 && index < Self.byteCount)
            let shift = UInt64(56 - 8 * (index & 7))
            let mask = ~(UInt64(0xFF) << shift)
            if index < 8 {
                head = head & mask | UInt64(newValue) << shift
            } else {
                tail = tail & mask | UInt64(newValue) << shift
            }
        }
    }

    public var code: UInt8 { self[0] }

    /// The big-endian number of `width` bytes (1 to 8) at `index`.
    func number(at index: Int, width: Int) -> UInt64 {
        var result: UInt64 = 0
        for place in index..<index + width { result = result << 8 | UInt64(self[place]) }
        return result
    }

    func has(_ bits: UInt8, at index: Int) -> Bool { self[index] & bits != 0 }
}

extension CDB: ExpressibleByArrayLiteral {
    public init(arrayLiteral elements: UInt8...) { self.init(elements) }
}

// MARK: Blocks

extension CDB {
    /// The LOGICAL BLOCK ADDRESS and the TRANSFER LENGTH (or what stands in its place), where the command's group (the
    /// upper three bits of its code) puts them: commands of 6, 10, 12 and 16 bytes.
    var blocks: (address: UInt64, count: UInt64) {
        switch code >> 5 {
        case 0:
            // Of 21 bits; no blocks mean 256 (SBC-3 5.7).
            let count = head >> 24 & 0xFF
            return (head >> 32 & 0x1F_FFFF, count == 0 ? 256 : count)
        case 4: return (head << 16 | tail >> 48, tail >> 16 & 0xFFFF_FFFF)
        case 5: return (head >> 16 & 0xFFFF_FFFF, head << 16 & 0xFFFF_0000 | tail >> 48)
        default: return (head >> 16 & 0xFFFF_FFFF, head << 8 & 0xFF00 | tail >> 56)
        }
    }
}
