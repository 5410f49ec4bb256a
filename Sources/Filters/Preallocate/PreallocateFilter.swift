public import Block
public import Bytes

/// How far ahead of its data a file is given room. It outlives the filter objects that a change of the graph makes anew.
public final class PreallocateState {
    public struct Options: Equatable, Sendable {
        /// The file ends at a multiple of this, in bytes; a multiple of 512.
        public var align: UInt64
        /// How much further than its data it reaches, in bytes.
        public var ahead: UInt64

        public init(align: UInt64 = 1 << 20, ahead: UInt64 = 128 << 20) {
            self.align = align
            self.ahead = ahead
        }
    }

    public var options: Options
    /// Where the data ends, as the file's users see it; nil before the first write past it, while that is the file's end.
    var dataEnd: UInt64?
    /// Held by whoever makes the file longer.
    let growth = AsyncLock()
    /// The host does not give room in advance: it is not asked again.
    var isRefused = false
    /// Where the filter's requests go.
    var file: (any Storage)?

    public init(_ options: Options) { self.options = options }

    /// Gives back what was taken ahead: the file ends where its data does. No request is under way.
    public func end() async throws(BlockError) {
        guard let dataEnd, let file else { return }
        self.dataEnd = nil
        if file.length > dataEnd { try await file.resize(to: dataEnd) }
    }
}

/// The filter `preallocate`: a file that grows is given room in large steps ahead of what is written, for hosts on which
/// growing is slow. What is ahead reads as zeros, and is no part of the length.
///
/// A crash leaves a file that is longer than its data; formats see to that themselves, a raw disk is longer then.
public final class PreallocateFilter: Storage {
    private let file: any Storage
    private let state: PreallocateState

    public init(_ file: any Storage, _ state: PreallocateState) {
        self.file = file
        self.state = state
        state.file = file
    }

    public var length: UInt64 { state.dataEnd ?? file.length }
    public var limits: StorageLimits { file.limits }

    /// Sees to it that the file reaches to `end` and further, then that its data is said to reach there.
    private func reach(_ end: UInt64) async throws(BlockError) {
        guard end > length, file.limits.growable else { return }
        await state.growth.lock()
        defer { state.growth.unlock() }
        let old = length
        guard end > old else { return }
        // From here on the file may be longer than its data.
        state.dataEnd = old
        if end > file.length, !state.isRefused {
            let options = state.options
            let (sum, overflow) = end.addingReportingOverflow(options.ahead)
            if !overflow, let goal = sum.roundedUp(to: max(options.align, 1)), goal <= UInt64(Int64.max) {
                await extend(to: goal)
            }
        }
        state.dataEnd = max(state.dataEnd ?? 0, end)
    }

    /// Room that cannot be had ahead is no failure: the write finds out itself.
    private func extend(to goal: UInt64) async {
        do throws(BlockError) {
            try await file.zero(ByteRange(from: file.length, to: goal), flags: .fastOnly)
        } catch {
            if error == .unsupported { state.isRefused = true }
        }
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await file.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        guard let range = ByteRange(checked: offset, count: UInt64(bytes.byteCount)) else { throw .outOfRange }
        try await reach(range.end)
        try await file.write(at: offset, from: bytes, flags: flags)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await reach(range.end)
        try await file.zero(range, flags: flags)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) { try await file.discard(range) }
    public func flush() async throws(BlockError) { try await file.flush() }
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await file.status(of: range) }

    public func resize(to length: UInt64) async throws(BlockError) {
        await state.growth.lock()
        defer { state.growth.unlock() }
        // What was taken ahead may hold what a failed write left: it goes before the length says that it is data.
        let end = min(self.length, length)
        if file.length > end { try await file.resize(to: end) }
        state.dataEnd = nil
        try await file.resize(to: length)
    }
}
