/// A half-open run of bytes `[start, end)` on a disk, in a file or in a buffer; positions and lengths in bytes.
///
/// A range can only be built without overflow: `start + count` always fits 64 bits, so arithmetic on a range that
/// exists never traps.
public struct ByteRange: Equatable, Hashable, Sendable {
    public let start: UInt64
    public let count: UInt64

    /// The range of `count` bytes at `start`, or nil where its end would not fit 64 bits.
    @inlinable
    public init?(checked start: UInt64, count: UInt64) {
        guard !start.addingReportingOverflow(count).overflow else { return nil }
        self.start = start
        self.count = count
    }

    /// The range of `count` bytes at `start`. Precondition: the end fits 64 bits (use `init(checked:)` for numbers from outside).
    @inlinable
    public init(at start: UInt64, count: UInt64) {
        precondition(!start.addingReportingOverflow(count).overflow, "a byte range ends past 2^64")
        self.start = start
        self.count = count
    }

    /// The range from `start` up to `end`. Precondition: `start <= end`.
    @inlinable
    public init(from start: UInt64, to end: UInt64) {
        precondition(start <= end, "a byte range ends before it starts")
        self.start = start
        self.count = end - start
    }

    @inlinable public var end: UInt64 { start + count }
    @inlinable public var isEmpty: Bool { count == 0 }

    @inlinable
    public func contains(_ position: UInt64) -> Bool { position >= start && position < end }

    @inlinable
    public func contains(_ other: ByteRange) -> Bool { other.start >= start && other.end <= end }

    /// Whether the two ranges share a byte; an empty range shares none.
    @inlinable
    public func overlaps(_ other: ByteRange) -> Bool {
        start < other.end && other.start < end && !isEmpty && !other.isEmpty
    }

    /// The bytes in both ranges; empty (at `start`) where there are none.
    @inlinable
    public func intersection(_ other: ByteRange) -> ByteRange {
        let low = max(start, other.start)
        let high = min(end, other.end)
        return low < high ? ByteRange(from: low, to: high) : ByteRange(at: start, count: 0)
    }

    /// The first `count` bytes of the range, or all of it where it is shorter.
    @inlinable
    public func prefix(_ count: UInt64) -> ByteRange { ByteRange(at: start, count: min(count, self.count)) }

    /// What remains behind the first `count` bytes.
    @inlinable
    public func dropping(_ count: UInt64) -> ByteRange {
        let dropped = min(count, self.count)
        return ByteRange(at: start + dropped, count: self.count - dropped)
    }

    /// The largest aligned range inside this one; empty where no whole unit fits. `unit` is a power of two.
    @inlinable
    public func shrunk(to unit: UInt64) -> ByteRange {
        let low = start.roundedUp(to: unit) ?? end
        let high = end.roundedDown(to: unit)
        return low < high ? ByteRange(from: low, to: high) : ByteRange(at: start, count: 0)
    }

    /// The smallest aligned range around this one, or nil where it would pass 2^64. `unit` is a power of two.
    @inlinable
    public func grown(to unit: UInt64) -> ByteRange? {
        guard let high = end.roundedUp(to: unit) else { return nil }
        return ByteRange(from: start.roundedDown(to: unit), to: high)
    }

    @inlinable
    public func isAligned(to unit: UInt64) -> Bool { (start | count) & (unit - 1) == 0 }
}

extension ByteRange: CustomStringConvertible {
    public var description: String { "[\(start), +\(count))" }
}

extension UInt64 {
    /// The next multiple of `unit` (a power of two) at or above the value, or nil past 2^64.
    @inlinable
    public func roundedUp(to unit: UInt64) -> UInt64? {
        let (sum, overflow) = addingReportingOverflow(unit - 1)
        return overflow ? nil : sum & ~(unit - 1)
    }

    /// The multiple of `unit` (a power of two) at or below the value.
    @inlinable
    public func roundedDown(to unit: UInt64) -> UInt64 { self & ~(unit - 1) }

    @inlinable
    public func isMultiple(ofPowerOfTwo unit: UInt64) -> Bool { self & (unit - 1) == 0 }
}
