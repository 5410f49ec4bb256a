public import Block
public import Bytes

/// Storage in memory that answers at once. The plainest storage there is; what other storages are compared with.
public final class MemoryStorage: Storage {
    public private(set) var contents: SparseBytes
    public let limits: StorageLimits

    public init(_ contents: SparseBytes, limits: StorageLimits? = nil) {
        self.contents = contents
        self.limits = limits ?? StorageLimits(zeroesFast: true, discards: true, growable: true)
    }

    public convenience init(length: UInt64, growable: Bool = false) {
        self.init(
            SparseBytes(length: length), limits: StorageLimits(zeroesFast: true, discards: true, growable: growable))
    }

    public var length: UInt64 { contents.length }

    private func check(_ offset: UInt64, _ count: UInt64, grows: Bool) throws(BlockError) -> ByteRange {
        guard let range = ByteRange(checked: offset, count: count) else { throw .outOfRange }
        guard grows || range.end <= length else { throw .outOfRange }
        return range
    }

    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        guard (try? check(offset, UInt64(buffer.byteCount), grows: limits.growable)) != nil else { return false }
        contents.read(at: offset, into: &buffer)
        return true
    }

    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        guard (try? check(offset, UInt64(bytes.byteCount), grows: limits.growable)) != nil else { return false }
        contents.write(bytes, at: offset)
        return true
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        _ = try check(offset, UInt64(buffer.byteCount), grows: limits.growable)
        contents.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        _ = try check(offset, UInt64(bytes.byteCount), grows: limits.growable)
        contents.write(bytes, at: offset)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        let range = try check(range.start, range.count, grows: limits.growable)
        if range.end > length { contents.resize(to: range.end) }
        contents.zero(range)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        let range = try check(range.start, range.count, grows: limits.growable)
        contents.zero(range.shrunk(to: 512))
    }

    public func flush() async throws(BlockError) {}

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        let range = try check(range.start, range.count, grows: false)
        guard !range.isEmpty else { throw .invalid }
        let run = contents.run(range)
        return BlockStatus(
            count: run.count, flags: run.allocated ? [.data, .allocated] : [.zero, .allocated], offset: range.start,
            holder: self)
    }

    public func resize(to length: UInt64) async throws(BlockError) { contents.resize(to: length) }
}
