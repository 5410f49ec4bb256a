import Block
import BlockTestKit
import Bytes
import Devices

/// A fixed disk in memory, as an initiator's target.
final class MemoryDrive: Drive {
    private let memory: MemoryStorage

    init(length: UInt64) { memory = MemoryStorage(length: length) }

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
    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await memory.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try await memory.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await memory.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await memory.discard(range) }
    func flush() async throws(BlockError) { try await memory.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await memory.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }
}
