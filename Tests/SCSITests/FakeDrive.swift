import Block
import BlockTestKit
import Bytes
import Devices

/// A drive over any storage, its tray moved by hand.
final class FakeDrive: Drive {
    let name: String
    let kind: DriveKind
    var medium: (any Storage)?
    var isTrayOpen = false
    var isMediumReadOnly = false
    private(set) var isLocked = false
    /// The flags of each write and zeroing, in their order.
    private(set) var writes: [WriteFlags] = []
    private(set) var zeros: [ZeroFlags] = []
    private(set) var flushes = 0
    private(set) var discards = 0
    private var observers: [Weak] = []

    private struct Weak { weak var observer: (any DriveObserver)? }

    init(_ name: String = "disk0", kind: DriveKind = .fixed, medium: (any Storage)?) {
        self.name = name
        self.kind = kind
        self.medium = medium
    }

    var hasMedium: Bool { medium != nil }
    var isReady: Bool { hasMedium && !isTrayOpen }
    var isReadOnly: Bool { kind == .tray || isMediumReadOnly || !hasMedium }
    var length: UInt64 { isReady ? medium?.length ?? 0 : 0 }
    var limits: StorageLimits { medium?.limits ?? StorageLimits() }

    func setLocked(_ isLocked: Bool, by holder: AnyObject) { if kind != .fixed { self.isLocked = isLocked } }

    func moveTray(open: Bool) -> Bool {
        guard kind == .tray else { return !open }
        if isTrayOpen == open { return true }
        if isLocked { return false }
        isTrayOpen = open
        if hasMedium { tell { $0.driveChangedMedium(self) } }
        return true
    }

    func addObserver(_ observer: any DriveObserver) { observers.append(Weak(observer: observer)) }
    func removeObserver(_ observer: any DriveObserver) { observers.removeAll { $0.observer === observer } }

    // MARK: Management

    func insert(_ medium: (any Storage)?) {
        self.medium = medium
        tell { $0.driveChangedMedium(self) }
    }
    func wantEject() { tell { $0.driveWantsEject(self) } }
    func resized() { tell { $0.driveChangedLength(self) } }
    private func tell(_ body: (any DriveObserver) -> Void) { for entry in observers { entry.observer.map(body) } }

    // MARK: Storage

    private func ready() throws(BlockError) -> any Storage {
        guard isReady, let medium else { throw .noMedium }
        return medium
    }

    private func writable() throws(BlockError) -> any Storage {
        let medium = try ready()
        if isReadOnly { throw .readOnly }
        return medium
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await ready().read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        writes.append(flags)
        try await writable().write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        zeros.append(flags)
        try await writable().zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) {
        discards += 1
        try await writable().discard(range)
    }
    func flush() async throws(BlockError) {
        flushes += 1
        try await ready().flush()
    }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await ready().status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await writable().resize(to: length) }
}
