public import Block
public import Bytes

/// One node's membership in a group of limits. It outlives the filter objects that a change of the graph makes anew.
public final class ThrottleMember {
    public let group: ThrottleGroup
    private var lifts = 0

    public init(of group: ThrottleGroup) { self.group = group }

    /// Lets go at once what waits, and whatever comes until `restoreLimits`: somebody waits for the requests under way, and
    /// shall not wait for limits. Calls nest.
    public func liftLimits() {
        lifts += 1
        group.release(self)
    }

    public func restoreLimits() {
        precondition(lifts > 0, "limits are restored that were not lifted")
        lifts -= 1
    }

    func admit(_ byteCount: UInt64, isWrite: Bool) async {
        if lifts == 0 { await group.admit(self, byteCount: byteCount, isWrite: isWrite) }
    }
}

/// The filter `throttle`: passes requests to its file as fast as the limits of its group let it. Zero requests and discards
/// count as writes of their length; flushes and questions of block status do not count.
public final class ThrottleFilter: Storage {
    private let file: any Storage
    private let member: ThrottleMember

    public init(_ file: any Storage, _ member: ThrottleMember) {
        self.file = file
        self.member = member
    }

    public var length: UInt64 { file.length }
    public var limits: StorageLimits { file.limits }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        await member.admit(UInt64(buffer.byteCount), isWrite: false)
        try await file.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        await member.admit(UInt64(bytes.byteCount), isWrite: true)
        try await file.write(at: offset, from: bytes, flags: flags)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        await member.admit(range.count, isWrite: true)
        try await file.zero(range, flags: flags)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        await member.admit(range.count, isWrite: true)
        try await file.discard(range)
    }

    public func flush() async throws(BlockError) { try await file.flush() }
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await file.status(of: range) }
    public func resize(to length: UInt64) async throws(BlockError) { try await file.resize(to: length) }
}
