public import Bytes

/// What a disk must read as: a flat array of bytes, each with the values it may have. The oracle of the model tests.
///
/// A written or zeroed byte has one value. A discarded byte may read as it was or as zero; once seen it has to stay so.
public struct DiskModel: Sendable {
    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)

    private var values: SparseBytes
    /// 1 where the byte may be zero as well.
    private var maybeZero: SparseBytes

    public init(length: UInt64) {
        values = SparseBytes(length: length)
        maybeZero = SparseBytes(length: length)
    }

    public init(_ contents: SparseBytes) {
        values = contents
        maybeZero = SparseBytes(length: contents.length)
    }

    public var length: UInt64 { values.length }

    public mutating func write(_ bytes: [UInt8], at offset: UInt64) {
        values.write(bytes.rawBytes, at: offset)
        maybeZero.resize(to: values.length)
        maybeZero.zero(ByteRange(at: offset, count: UInt64(bytes.count)))
    }

    public mutating func zero(_ range: ByteRange) {
        values.zero(range)
        maybeZero.zero(range)
    }

    public mutating func discard(_ range: ByteRange) {
        let inside = range.intersection(ByteRange(at: 0, count: length))
        maybeZero.write([UInt8](repeating: 1, count: Int(inside.count)).rawBytes, at: inside.start)
    }

    /// Grown bytes are zeros.
    public mutating func resize(to length: UInt64) {
        values.resize(to: length)
        maybeZero.resize(to: length)
    }

    /// An overlay of this disk: reads the same, and past this disk's end as zeros.
    public func overlay(length: UInt64) -> DiskModel {
        var copy = self
        copy.resize(to: length)
        return copy
    }

    /// Compares what was read with what is allowed, and fixes the values of bytes that were open. Answers the first
    /// byte that is wrong.
    public mutating func observe(_ bytes: [UInt8], at offset: UInt64) -> Mismatch? {
        let range = ByteRange(at: offset, count: UInt64(bytes.count))
        if !values.holds(range), !maybeZero.holds(range), bytes.count <= Self.zeros.count,
            bytes.rawBytes.isSame(as: Self.zeros.rawBytes.extracting(0..<bytes.count))
        {
            return nil
        }
        let expected = values.bytes(range)
        var index = 0
        while index < bytes.count {
            let end = min(index + Int(SparseBytes.pageSize), bytes.count)
            let found = bytes.rawBytes.extracting(index..<end)
            if !found.isSame(as: expected.rawBytes.extracting(index..<end)) {
                if let mismatch = mismatch(bytes, expected, index..<end, at: offset) { return mismatch }
                settle(found, at: offset + UInt64(index))
            } else if maybeZero.holds(ByteRange(at: offset + UInt64(index), count: UInt64(end - index))) {
                settle(found, at: offset + UInt64(index))
            }
            index = end
        }
        return nil
    }

    private mutating func settle(_ bytes: RawSpan, at offset: UInt64) {
        values.write(bytes, at: offset)
        maybeZero.zero(ByteRange(at: offset, count: UInt64(bytes.byteCount)))
    }

    private func mismatch(_ bytes: [UInt8], _ expected: [UInt8], _ part: Range<Int>, at offset: UInt64) -> Mismatch? {
        let start = offset + UInt64(part.lowerBound)
        let open = maybeZero.bytes(ByteRange(at: start, count: UInt64(part.count)))
        var index = part.lowerBound
        while index < part.upperBound {
            let (byte, mayBeZero) = (bytes[index], open[index - part.lowerBound] == 1)
            if byte != expected[index], !mayBeZero || byte != 0 {
                return Mismatch(
                    offset: offset + UInt64(index), expected: expected[index], found: byte, mayBeZero: mayBeZero)
            }
            index += 1
        }
        return nil
    }

    /// Compares what was read after a change of these bytes failed: each byte is as before or as the change would have
    /// made it. Fixes the values to what was found.
    public mutating func observe(_ bytes: [UInt8], at offset: UInt64, afterFailedChangeTo new: [UInt8]) -> Mismatch? {
        let range = ByteRange(at: offset, count: UInt64(bytes.count))
        let (old, open) = (values.bytes(range), maybeZero.bytes(range))
        for index in 0..<bytes.count {
            let found = bytes[index]
            if found == old[index] || found == new[index] || (open[index] == 1 && found == 0) { continue }
            return Mismatch(
                offset: offset + UInt64(index), expected: old[index], found: found, mayBeZero: open[index] == 1)
        }
        write(bytes, at: offset)
        return nil
    }

    /// Compares bytes read some other way, without fixing anything.
    public func mismatch(_ bytes: [UInt8], at offset: UInt64) -> Mismatch? {
        var copy = self
        return copy.observe(bytes, at: offset)
    }

    /// Where a disk differs from its model.
    public struct Mismatch: Error, CustomStringConvertible, Sendable {
        public let offset: UInt64
        public let expected: UInt8
        public let found: UInt8
        public let mayBeZero: Bool

        public var description: String {
            "byte \(offset) reads \(found), must be \(expected)\(mayBeZero ? " or 0" : "")"
        }
    }
}
