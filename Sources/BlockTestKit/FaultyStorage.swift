public import Block
public import Bytes

/// Passes requests to another storage and fails those that a plan names: before they reach it or, as the fault says, after a
/// part of a write, or all of it, has.
public final class FaultyStorage: Storage {
    public let below: any Storage
    public let plan: FaultPlan
    /// Requests seen, by kind.
    public private(set) var seen: [RequestKind: Int] = [:]

    public init(_ below: any Storage, _ plan: FaultPlan = FaultPlan()) {
        self.below = below
        self.plan = plan
    }

    public var length: UInt64 { below.length }
    public var limits: StorageLimits { below.limits }

    private func pass(_ kind: RequestKind, _ range: ByteRange?) throws(BlockError) {
        seen[kind, default: 0] += 1
        if let fault = plan.next(kind, range) { throw fault.error }
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try pass(.read, ByteRange(checked: offset, count: UInt64(buffer.byteCount)))
        try await below.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        seen[.write, default: 0] += 1
        guard let fault = plan.next(.write, ByteRange(checked: offset, count: UInt64(bytes.byteCount))) else {
            return try await below.write(at: offset, from: bytes, flags: flags)
        }
        let sectors = (bytes.byteCount + 511) / 512
        for sector in 0..<sectors where fault.effect.reaches(sector, of: sectors) {
            let part = sector * 512..<min(sector * 512 + 512, bytes.byteCount)
            try await below.write(at: offset + UInt64(part.lowerBound), from: bytes.extracting(part), flags: flags)
        }
        throw fault.error
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try pass(.zero, range)
        try await below.zero(range, flags: flags)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        try pass(.discard, range)
        try await below.discard(range)
    }

    public func flush() async throws(BlockError) {
        try pass(.flush, nil)
        try await below.flush()
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try pass(.status, range)
        return try await below.status(of: range)
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        seen[.resize, default: 0] += 1
        guard let fault = plan.next(.resize, nil) else { return try await below.resize(to: length) }
        if fault.effect != .nothing { try await below.resize(to: length) }
        throw fault.error
    }
}

extension Fault.Effect {
    /// Whether a sector of a failed write is written.
    fileprivate func reaches(_ sector: Int, of count: Int) -> Bool {
        switch self {
        case .nothing: false
        case .whole: true
        case .short: sector < count / 2
        case .torn: sector % 2 == 1
        }
    }
}
