public import Block
public import Bytes

/// Passes requests to another storage, and traps on any that breaks the limits it declares: misaligned in offset,
/// length or memory, too long, past the end, or a change that overlaps another one under way. What stands above must
/// have split, widened and bounced.
public final class StingyStorage: Storage {
    public let below: any Storage
    public let limits: StorageLimits
    private var changing: [ByteRange] = []

    public init(_ below: any Storage, limits: StorageLimits) {
        self.below = below
        self.limits = limits
    }

    public var length: UInt64 { below.length }

    private func check(_ range: ByteRange, aligned: UInt64) {
        precondition(range.isAligned(to: aligned), "request \(range) is not aligned to \(aligned)")
        precondition(limits.growable || range.end <= length, "request \(range) passes the end \(length)")
    }

    private func begin(_ range: ByteRange) {
        precondition(
            !changing.contains { $0.overlaps(range) }, "change of \(range) overlaps one under way: \(changing)")
        changing.append(range)
    }

    private func end(_ range: ByteRange) {
        guard let index = changing.firstIndex(of: range) else { preconditionFailure("a change ended twice") }
        changing.remove(at: index)
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        check(ByteRange(at: offset, count: UInt64(buffer.byteCount)), aligned: limits.requestAlignment)
        precondition(UInt64(buffer.byteCount) <= limits.maxTransfer, "read of \(buffer.byteCount) bytes is too long")
        precondition(buffer.isAligned(to: limits.memoryAlignment), "the memory of a read is misaligned")
        try await below.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        let range = ByteRange(at: offset, count: UInt64(bytes.byteCount))
        check(range, aligned: limits.requestAlignment)
        precondition(range.count <= limits.maxTransfer, "write of \(range.count) bytes is too long")
        precondition(bytes.isAligned(to: limits.memoryAlignment), "the memory of a write is misaligned")
        begin(range)
        defer { end(range) }
        try await below.write(at: offset, from: bytes, flags: flags)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        check(range, aligned: limits.requestAlignment)
        precondition(limits.zeroesFast || !flags.contains(.fastOnly), "fast zeros asked of a storage that has none")
        begin(range)
        defer { end(range) }
        try await below.zero(range, flags: flags)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        check(range, aligned: limits.requestAlignment)
        begin(range)
        defer { end(range) }
        try await below.discard(range)
    }

    public func flush() async throws(BlockError) { try await below.flush() }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        precondition(!range.isEmpty && range.end <= length, "status of \(range), which passes the end \(length)")
        return try await below.status(of: range)
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        precondition(changing.isEmpty || length >= self.length, "the storage shrinks under changes under way")
        try await below.resize(to: length)
    }
}
