// Big- and little-endian integers in spans. Every access is bounds-checked by the span; callers that read numbers from
// outside check the length first, so that a short input is an error and never a trap.

extension RawSpan {
    /// The big-endian integer at `offset`. Precondition: it lies inside the span.
    @inlinable
    public func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type = T.self, at offset: Int) -> T {
        // Proof: integers have no invalid bit patterns, and unsafeLoadUnaligned checks the bounds.
        T(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// The little-endian integer at `offset`. Precondition: it lies inside the span.
    @inlinable
    public func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type = T.self, at offset: Int) -> T {
        // Proof: as above.
        T(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// The byte at `offset`. Precondition: it lies inside the span.
    @inlinable
    public func byte(at offset: Int) -> UInt8 { bigEndian(UInt8.self, at: offset) }

    /// Whether every byte is zero.
    public var isZero: Bool {
        var offset = 0
        // Eight numbers at a time, which the processor takes in few steps; most data is told by the first.
        while byteCount - offset >= 64 {
            var any: UInt64 = 0
            for word in 0..<8 {
                // Proof: 64 bytes remain, and any bit pattern is an integer.
                any |= unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset + 8 * word, as: UInt64.self)
            }
            if any != 0 { return false }
            offset += 64
        }
        while offset < byteCount {
            if byte(at: offset) != 0 { return false }
            offset += 1
        }
        return true
    }

    /// The bytes as an array.
    public var array: [UInt8] {
        // Proof: the new array has room for byteCount bytes, all of which are set.
        unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
            count = byteCount
            unsafe withUnsafeBytes { source in
                guard let base = source.baseAddress, let to = target.baseAddress else { return }
                unsafe UnsafeMutableRawPointer(to).copyMemory(from: base, byteCount: source.count)
            }
        }
    }
}

extension MutableRawSpan {
    /// Stores a big-endian integer at `offset`. Precondition: it fits the span.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func storeBigEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
    }

    /// Stores a little-endian integer at `offset`. Precondition: it fits the span.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func storeLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }

    /// Copies all of `source` to `offset`. Precondition: it fits the span.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func copy(_ source: RawSpan, at offset: Int = 0) {
        precondition(offset >= 0 && source.byteCount <= byteCount - offset, "a copy ends past its span")
        guard source.byteCount > 0 else { return }
        unsafe withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { bytes in
                // Proof: both lengths were checked above, and the exclusive access to self rules out an overlap.
                unsafe target.baseAddress!.advanced(by: offset).copyMemory(
                    from: bytes.baseAddress!, byteCount: bytes.count)
            }
        }
    }

    /// Sets `count` bytes at `offset` to `value`. Precondition: they lie inside the span.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func fill(_ value: UInt8 = 0, at offset: Int = 0, count: Int? = nil) {
        let count = count ?? byteCount - offset
        precondition(offset >= 0 && count >= 0 && count <= byteCount - offset, "a fill ends past its span")
        guard count > 0 else { return }
        unsafe withUnsafeMutableBytes { target in
            // Proof: the bounds were checked above.
            _ = unsafe target.baseAddress!.advanced(by: offset).initializeMemory(
                as: UInt8.self, repeating: value, count: count)
        }
    }
}

extension Array where Element == UInt8 {
    /// The array's bytes, to read.
    @inlinable
    public var byteSpan: RawSpan {
        @_lifetime(borrow self)
        get {
            // Proof: bytes have no padding, and the span lives no longer than the borrowed array.
            unsafe span.bytes
        }
    }

    /// Runs `body` with the array's bytes as a mutable raw span.
    public mutating func withMutableBytes<R, E: Error>(_ body: (inout MutableRawSpan) throws(E) -> R) throws(E) -> R {
        var span = mutableSpan
        // Proof: bytes have no invalid bit patterns.
        var raw = unsafe span.mutableBytes
        return try body(&raw)
    }
}

extension RawSpan {
    /// Whether the first byte's address is a multiple of `alignment` (a power of two).
    @inlinable
    public func isAligned(to alignment: Int) -> Bool {
        // Proof: the address is only looked at, never used to reach memory.
        unsafe withUnsafeBytes { bytes in
            unsafe bytes.baseAddress.map { UInt(bitPattern: $0) & UInt(alignment - 1) == 0 } ?? true
        }
    }
}

extension MutableRawSpan {
    /// Whether the first byte's address is a multiple of `alignment` (a power of two).
    @inlinable
    public func isAligned(to alignment: Int) -> Bool { bytes.isAligned(to: alignment) }
}

extension RawSpan {
    /// Whether the two hold the same bytes.
    public func isEqual(to other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        var offset = 0
        while byteCount - offset >= 64 {
            var any: UInt64 = 0
            for word in 0..<8 {
                // Proof: 64 bytes remain in both, and any bit pattern is an integer.
                any |=
                    unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset + 8 * word, as: UInt64.self)
                    ^ other.unsafeLoadUnaligned(fromUncheckedByteOffset: offset + 8 * word, as: UInt64.self)
            }
            if any != 0 { return false }
            offset += 64
        }
        while offset < byteCount {
            if byte(at: offset) != other.byte(at: offset) { return false }
            offset += 1
        }
        return true
    }
}
