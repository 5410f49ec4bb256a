import Bytes
import Glibc

/// Memory between two pages that nobody may touch, its last byte just before the second: a C library that reads or
/// writes past its end stops the process there and then.
@safe
public final class GuardedMemory {
    // Proof: mapped in init for this object alone, and unmapped once, in deinit.
    private let mapping: UnsafeMutableRawPointer
    private let mapped: Int
    private let start: UnsafeMutableRawPointer
    public let byteCount: Int

    public init(byteCount: Int) {
        precondition(byteCount >= 0)
        let page = Int(getpagesize())
        let inner = (byteCount + page - 1) / page * page
        mapped = inner + 2 * page
        self.byteCount = byteCount
        // Proof: a new private mapping; only the pages between the guards are made accessible.
        guard let place = unsafe mmap(nil, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe place != MAP_FAILED,
            unsafe inner == 0 || mprotect(place + page, inner, PROT_READ | PROT_WRITE) == 0
        else { preconditionFailure("no memory for a guarded buffer") }
        unsafe mapping = place
        // The rest of the first page lies before the bytes; whether it was touched, `isIntact` tells.
        unsafe start = place + page + inner - byteCount
        unsafe memset(place + page, Int32(Self.canary), inner - byteCount)
    }

    deinit { _ = unsafe munmap(mapping, mapped) }

    private static let canary: UInt8 = 0xA7

    /// Whether nothing was written before the bytes, as far as their first page.
    public var isIntact: Bool {
        let first = unsafe mapping + Int(getpagesize())
        // Proof: from the end of the first guard to the bytes, all of it accessible.
        return unsafe UnsafeRawBufferPointer(start: first, count: start - first).allSatisfy { $0 == Self.canary }
    }

    public var bytes: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            // Proof: start is valid for byteCount initialised bytes (fresh pages are zeros) while self lives.
            let span = unsafe RawSpan(_unsafeStart: start, byteCount: byteCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Lends the bytes for writing.
    public func withMutableBytes<Result, Failure: Error>(
        _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // Proof: as for `bytes`; the span does not leave the call, and nobody else writes meanwhile.
        var span = unsafe MutableRawSpan(_unsafeStart: start, byteCount: byteCount)
        return try body(&span)
    }
}
