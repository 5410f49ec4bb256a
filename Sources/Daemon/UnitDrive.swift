import Block
import Bytes
import Devices
import Graph

/// A node as an initiator sees it: a disk that stays. The export that shows it lets nobody change its size.
final class NodeDrive: Drive {
    private let root: BlockRoot
    let name: String
    let kind = DriveKind.fixed
    let isReady = true
    let hasMedium = true
    let isTrayOpen = false
    let isLocked = false

    init(_ root: BlockRoot) {
        self.root = root
        name = root.nodeName
    }

    var isReadOnly: Bool { !root.used.contains(.write) }
    var length: UInt64 { root.length }
    var limits: StorageLimits { root.limits }

    func setLocked(_ isLocked: Bool, by holder: AnyObject) {}
    func moveTray(open: Bool) -> Bool { !open }
    func addObserver(_ observer: any DriveObserver) {}
    func removeObserver(_ observer: any DriveObserver) {}

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await root.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try await root.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await root.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await root.discard(range) }
    func flush() async throws(BlockError) { try await root.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await root.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await root.resize(to: length) }
}

/// A device whose initiators may not write, whatever the medium allows (`writable=off`). Its tray and lock are the
/// device's.
final class ProtectedDrive: Drive {
    private let device: Device
    let isReadOnly = true

    init(_ device: Device) { self.device = device }

    var name: String { device.name }
    var kind: DriveKind { device.kind }
    var isReady: Bool { device.isReady }
    var hasMedium: Bool { device.hasMedium }
    var isTrayOpen: Bool { device.isTrayOpen }
    var isLocked: Bool { device.isLocked }
    var length: UInt64 { device.length }
    var limits: StorageLimits { device.limits }

    func setLocked(_ isLocked: Bool, by holder: AnyObject) { device.setLocked(isLocked, by: holder) }
    func moveTray(open: Bool) -> Bool { device.moveTray(open: open) }
    func addObserver(_ observer: any DriveObserver) { device.addObserver(observer) }
    func removeObserver(_ observer: any DriveObserver) { device.removeObserver(observer) }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await device.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) { throw .readOnly }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) { throw .readOnly }
    func discard(_ range: ByteRange) async throws(BlockError) { throw .readOnly }
    func flush() async throws(BlockError) {}
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await device.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { throw .readOnly }
}
