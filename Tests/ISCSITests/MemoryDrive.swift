import Block
import BlockTestKit
import Bytes
import Devices

/// A fixed disk in memory that can hold requests back until the test lets them go.
final class MemoryDrive: Drive {
    let memory: MemoryStorage
    /// Whether reads and writes wait.
    var isHolding = false
    private var held: [Suspension<Void>] = []
    /// Bytes of each write that was carried out.
    private(set) var writes: [Int] = []

    init(blocks: Int) { memory = MemoryStorage(SparseBytes(length: UInt64(blocks) * 512)) }

    let name = "disk"
    let kind = DriveKind.fixed
    var isReady: Bool { true }
    var hasMedium: Bool { true }
    var isTrayOpen: Bool { false }
    var isReadOnly: Bool { false }
    var isLocked: Bool { false }
    func setLocked(_ isLocked: Bool, by holder: AnyObject) {}
    func moveTray(open: Bool) -> Bool { true }
    func addObserver(_ observer: any DriveObserver) {}
    func removeObserver(_ observer: any DriveObserver) {}

    var length: UInt64 { memory.length }
    var limits: StorageLimits { memory.limits }

    /// Requests that wait.
    var waiting: Int { held.count }

    /// Lets those that wait go on, and holds nothing back any more.
    func open() {
        isHolding = false
        for suspension in held { suspension.resume() }
        held = []
    }

    private func pass() async { if isHolding { await suspend { held.append($0) } } }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        await pass()
        try await memory.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        await pass()
        writes.append(bytes.byteCount)
        try await memory.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await memory.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await memory.discard(range) }
    func flush() async throws(BlockError) { try await memory.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await memory.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }

    /// What a range holds.
    func bytes(at offset: UInt64, _ count: Int) -> [UInt8] {
        memory.contents.bytes(ByteRange(at: offset, count: UInt64(count)))
    }
    func fill(_ bytes: [UInt8], at offset: UInt64) async throws {
        try await memory.write(at: offset, from: bytes.rawBytes, flags: [])
    }
}
