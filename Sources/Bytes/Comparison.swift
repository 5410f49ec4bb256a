extension RawSpan {
    /// Whether both hold the same bytes.
    public func equals(_ other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        var offset = 0
        while byteCount - offset >= 8 {
            // Proof: eight bytes remain in both, and any bit pattern is an integer.
            let (mine, theirs) = unsafe (
                unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self),
                other.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            )
            if mine != theirs { return false }
            offset += 8
        }
        while offset < byteCount {
            if byte(at: offset) != other.byte(at: offset) { return false }
            offset += 1
        }
        return true
    }

    /// How many bytes at the start are alike in both, or are not, told in pieces of `unit` bytes of which the last one may be
    /// shorter. Both are of one length, which is not zero.
    public func firstRun(against other: RawSpan, unit: Int) -> (isSame: Bool, count: Int) {
        precondition(byteCount == other.byteCount && byteCount > 0 && unit > 0)
        if equals(other) { return (true, byteCount) }
        func isSame(_ start: Int) -> Bool {
            let piece = start..<min(start + unit, byteCount)
            return extracting(piece).equals(other.extracting(piece))
        }
        let first = isSame(0)
        var end = unit
        while end < byteCount, isSame(end) == first { end += unit }
        return (first, min(end, byteCount))
    }
}
