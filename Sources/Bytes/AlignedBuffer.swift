/// Owned memory with a chosen alignment, zeroed when made and freed when dropped. Move-only: nobody else holds it.
///
/// The size is bounded by the caller before it is asked for; a Swift program cannot survive a failed allocation.
@safe
public struct AlignedBuffer: ~Copyable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let byteCount: Int

    /// `byteCount` zero bytes at an address that is a multiple of `alignment` (a power of two).
    public init(byteCount: Int, alignment: Int = 4096) {
        precondition(byteCount >= 0)
        self.byteCount = byteCount
        // Proof: the memory is owned here alone, is byteCount (at least 1) bytes long, and is freed once, in deinit.
        unsafe base = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 1), alignment: alignment)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    }

    deinit { unsafe base.deallocate() }

    /// The bytes, to read.
    @inlinable
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            // Proof: base is valid for byteCount initialised bytes as long as self is borrowed.
            let span = unsafe RawSpan(_unsafeStart: base, byteCount: byteCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The bytes, to write.
    @inlinable
    public var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // Proof: as for `bytes`, and the exclusive access to self is what the span carries.
            let span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: byteCount)
            return unsafe _overrideLifetime(span, mutating: &self)
        }
    }

    /// Moves `count` bytes at `start` to the front. Precondition: they lie inside the buffer.
    public mutating func moveToFront(from start: Int, count: Int) {
        precondition(start >= 0 && count >= 0 && start <= byteCount - count, "a move reaches past its buffer")
        // Proof: the bounds were checked above; memmove takes overlapping ranges.
        unsafe base.copyMemory(from: base + start, byteCount: count)
    }
}
