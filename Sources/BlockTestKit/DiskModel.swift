public import Bytes

/// What a disk must read as: a flat array of bytes, each with the values it may have. The oracle of the model tests.
///
/// A written or zeroed byte has one value. A discarded byte may read as it was or as zero; once seen it has to stay so.
public struct DiskModel: Sendable {
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
        let expected = values.bytes(range)
        if !expected.rawBytes.isSame(as: bytes.rawBytes) {
            for (index, byte) in bytes.enumerated() where byte != expected[index] {
                let position = offset + UInt64(index)
                let open = maybeZero.bytes(ByteRange(at: position, count: 1))[0] == 1
                if !open || byte != 0 {
                    return Mismatch(offset: position, expected: expected[index], found: byte, mayBeZero: open)
                }
            }
        }
        if maybeZero.run(range).allocated || maybeZero.run(range).count < range.count {
            write(bytes, at: offset)
        }
        return nil
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
