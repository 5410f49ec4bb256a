public import Block
public import Bytes

/// The fault-injection filter (`blkdebug`): passes requests to its image, and fails or delays those that its rules name.
public final class FaultFilter: Storage {
    private let image: any Storage
    private let planner: FaultPlanner
    private let context: any IOContext
    private let pretended: PretendedLimits

    public init(
        _ image: any Storage, _ planner: FaultPlanner, on context: any IOContext,
        pretending pretended: PretendedLimits = PretendedLimits()
    ) {
        self.image = image
        self.planner = planner
        self.context = context
        self.pretended = pretended
    }

    public var length: UInt64 { image.length }

    public var limits: StorageLimits { pretended.applied(to: image.limits) }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await meet(.read, ByteRange(checked: offset, count: UInt64(buffer.byteCount)))
        try await image.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        await reach(.pwritev)
        try await meet(.write, ByteRange(checked: offset, count: UInt64(bytes.byteCount)))
        try await image.write(at: offset, from: bytes, flags: flags)
        await reach(.pwritevDone)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        await reach(.pwritevZero)
        let unit = pretended.optWriteZero.flatMap { $0 == 0 ? nil : $0 } ?? 1
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(Self.untilEdge(rest, of: unit, Self.longest(pretended.maxWriteZero)))
            if part.start % unit == 0, part.count % unit == 0 {
                try await meet(.writeZeroes, part)
                try await image.zero(part, flags: flags)
            } else {
                try await writeZeros(part, flags)
            }
            rest = rest.dropping(part.count)
        }
        await reach(.pwritevDone)
    }

    /// Zeros that it pretends not to be able to make come as data.
    private func writeZeros(_ range: ByteRange, _ flags: ZeroFlags) async throws(BlockError) {
        if flags.contains(.fastOnly) { throw .unsupported }
        let zeros = AlignedBuffer(byteCount: Int(min(range.count, limits.maxTransfer, BlockIO.bounceLimit)))
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(UInt64(zeros.bytes.byteCount))
            try await meet(.write, part)
            try await image.write(
                at: part.start, from: zeros.bytes.extracting(0..<Int(part.count)),
                flags: flags.contains(.fua) ? .fua : [])
            rest = rest.dropping(part.count)
        }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        // A discard is advice: of bytes that no request can name alone nothing is said.
        let align = limits.requestAlignment
        guard let start = range.start.roundedUp(to: align), start < range.end else { return }
        var rest = ByteRange(from: start, to: max(start, range.end.roundedDown(to: align)))
        while !rest.isEmpty {
            let part = rest.prefix(Self.untilEdge(rest, of: pretended.optDiscard, Self.longest(pretended.maxDiscard)))
            try await meet(.discard, part)
            try await image.discard(part)
            rest = rest.dropping(part.count)
        }
    }

    public var hearsEvents: Bool { true }

    public func reach(_ event: FaultEvent) async { await planner.meet(event) }

    /// How long the next piece of a request is: up to the next multiple of what is asked for, or whole multiples of it.
    private static func untilEdge(_ rest: ByteRange, of unit: UInt64?, _ longest: UInt64) -> UInt64 {
        guard let unit, unit > 0 else { return longest }
        let past = rest.start % unit
        if past > 0 { return min(unit - past, longest) }
        let whole = rest.count / unit * unit
        return whole == 0 ? longest : min(whole, longest)
    }

    /// The longest piece, where 0 stands for no limit too.
    private static func longest(_ limit: UInt64?) -> UInt64 { limit.flatMap { $0 == 0 ? nil : $0 } ?? .max }

    public func flush() async throws(BlockError) {
        await reach(.flushToOS)
        await reach(.flushToDisk)
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
