public import Block
public import Bytes

/// The fault-injection filter (`blkdebug`): passes requests to its image, and fails or delays those that its rules name.
public final class FaultFilter: Storage {
    private let image: any Storage
    private let planner: FaultPlanner
    private let context: any IOContext
    private let align: UInt64?

    /// `align` is the request alignment that it pretends to need, in bytes.
    public init(_ image: any Storage, _ planner: FaultPlanner, on context: any IOContext, align: UInt64? = nil) {
        self.image = image
        self.planner = planner
        self.context = context
        self.align = align
    }

    public var length: UInt64 { image.length }

    public var limits: StorageLimits {
        var limits = image.limits
        if let align { limits.requestAlignment = max(limits.requestAlignment, align) }
        return limits
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        planner.note(.readAIO)
        try await meet(.read, ByteRange(checked: offset, count: UInt64(buffer.byteCount)))
        try await image.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        planner.note(.writeAIO)
        planner.note(.pwritev)
        try await meet(.write, ByteRange(checked: offset, count: UInt64(bytes.byteCount)))
        try await image.write(at: offset, from: bytes, flags: flags)
        planner.note(.pwritevDone)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        planner.note(.pwritevZero)
        try await meet(.writeZeroes, range)
        try await image.zero(range, flags: flags)
        planner.note(.pwritevDone)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        try await meet(.discard, range)
        try await image.discard(range)
    }

    public func flush() async throws(BlockError) {
        planner.note(.flushToOS)
        planner.note(.flushToDisk)
        try await meet(.flush, nil)
        try await image.flush()
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try await meet(.blockStatus, range)
        return try await image.status(of: range)
    }

    public func resize(to length: UInt64) async throws(BlockError) { try await image.resize(to: length) }

    private func meet(_ kind: FaultKinds, _ range: ByteRange?) async throws(BlockError) {
        guard let rule = planner.rule(for: kind, range) else { return }
        if rule.delayNs > 0 {
            await context.sleep(ms: rule.delayNs.addingReportingOverflow(999_999).partialValue / 1_000_000)
        }
        guard rule.errno != 0 else { return }
        if !rule.immediately, rule.delayNs == 0 { await context.sleep(ms: 0) }
        throw BlockError(errno: rule.errno)
    }
}
