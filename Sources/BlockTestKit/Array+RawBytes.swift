public import Block
import Bytes
import Glibc

extension Array where Element == UInt8 {
    /// The array's bytes, to hand to a storage or a stream.
    public var rawBytes: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            // Proof: bytes have no padding and no uninitialised part; the span lives as long as the borrow of self.
            let bytes = unsafe span.bytes
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }
}

extension RawSpan {
    /// Whether both hold the same bytes.
    public func isSame(as other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        guard byteCount > 0 else { return true }
        return unsafe withUnsafeBytes { mine in
            unsafe other.withUnsafeBytes { theirs in
                // Proof: both are valid for byteCount bytes, checked equal above, and not empty.
                unsafe memcmp(mine.baseAddress!, theirs.baseAddress!, mine.count) == 0
            }
        }
    }

    /// The bytes as an array.
    public var copied: [UInt8] {
        var result = [UInt8](repeating: 0, count: byteCount)
        result.withMutableBytes { $0.copy(self) }
        return result
    }
}

extension Storage {
    /// The bytes of a range, read in one request.
    public func bytes(at offset: UInt64, count: Int) async throws(BlockError) -> [UInt8] {
        var buffer = AlignedBuffer(byteCount: count, alignment: max(limits.memoryAlignment, 16))
        var whole = buffer.mutableBytes
        // What a read leaves out must not look like zeros.
        whole.fill(0xE7)
        try await read(at: offset, into: &whole)
        return buffer.bytes.copied
    }

    /// Writes an array, through memory aligned as the storage asks.
    public func write(_ bytes: [UInt8], at offset: UInt64, flags: WriteFlags = []) async throws(BlockError) {
        var buffer = AlignedBuffer(byteCount: bytes.count, alignment: max(limits.memoryAlignment, 16))
        var whole = buffer.mutableBytes
        whole.copy(bytes.rawBytes)
        try await write(at: offset, from: buffer.bytes, flags: flags)
    }
}
