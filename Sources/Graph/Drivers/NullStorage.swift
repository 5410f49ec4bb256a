import Block
import Bytes

/// A storage that keeps nothing (`null-co`, `null-aio`): writes vanish, and reads give zeros, whether or not
/// that is promised.
final class NullStorage: Storage {
    /// The size where none is given: 1 GiB.
    static let defaultSize: UInt64 = 1 << 30

    let length: UInt64
    private let context: any IOContext
    private let latencyNs: UInt64
    private let readsZeroes: Bool

    init(_ options: NullOptions, on context: any IOContext) {
        length = options.size ?? Self.defaultSize
        latencyNs = options.latencyNs ?? 0
        readsZeroes = options.readZeroes ?? false
        self.context = context
    }

    var limits: StorageLimits { StorageLimits(zeroesFast: true, discards: true) }

    private func wait() async {
        guard latencyNs > 0 else { return }
        await context.sleep(ms: max(latencyNs / 1_000_000, 1))
    }

    private func check(_ range: ByteRange?) throws(BlockError) {
        guard let range, range.end <= length else { throw .outOfRange }
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try check(ByteRange(checked: offset, count: UInt64(buffer.byteCount)))
        await wait()
        // Buffers are used again: what one client left in it is not another's to see.
        buffer.fill()
    }

    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try check(ByteRange(checked: offset, count: UInt64(bytes.byteCount)))
        await wait()
    }

    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try check(range)
        await wait()
    }

    func discard(_ range: ByteRange) async throws(BlockError) { try check(range) }
    func flush() async throws(BlockError) { await wait() }

    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try check(range)
        if range.isEmpty { throw .invalid }
        let flags: BlockStatus.Flags = readsZeroes ? [.zero, .allocated] : [.data, .allocated]
        return BlockStatus(count: range.count, flags: flags, offset: range.start, holder: self)
    }

    func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }
}
