public import Block
public import Bytes
import Graph

/// A named backend with a medium or none: what `device` and `id` name, what an initiator sees as a drive, and what an
/// export may be made of.
///
/// Its medium is a root of the graph, and so follows snapshots. Requests reach it only while the tray is closed, and
/// never another medium than the one that was in when they came. Changed by `DeviceSet` alone, and by the initiator
/// through `Drive`.
public final class Device: Drive {
    /// Who made it, and thereby who may delete it.
    public enum Origin: Sendable {
        /// `--device` and `device_add`: it goes with the guest device.
        case device
        /// `blockdev-add` with `id`: goes with `x-blockdev-del`.
        case blockdevAdd
        /// `drive_add`: goes with `drive_del`.
        case driveAdd
    }

    public let name: String
    public let origin: Origin
    /// Fixed, with a tray, or removable; a backend without a guest device is removable.
    public internal(set) var kind: DriveKind
    /// The guest device on it (`id`, `qdev`); nil for a bare backend.
    public internal(set) var guestID: String?
    public internal(set) var isTrayOpen = false
    public internal(set) var isLocked = false
    /// How the next medium is opened.
    public internal(set) var rootState: RootState
    public internal(set) var statistics = DeviceStatistics()
    /// The throttle group's name and its limits; nil where nothing is limited.
    public internal(set) var throttle: (group: String, limits: ThrottleLimits)?
    /// Who uses it from outside: exports and LUNs, by name.
    public var users: [String] { [] }

    let context: any IOContext
    var medium: BlockRoot?

    init(_ name: String, origin: Origin, kind: DriveKind, context: any IOContext) {
        self.name = name
        self.origin = origin
        self.kind = kind
        self.context = context
        rootState = RootState(isReadOnly: kind == .tray)
    }

    public var hasMedium: Bool { medium != nil }
    public var isReady: Bool { medium != nil && !isTrayOpen }
    public var hasTray: Bool { kind == .tray }
    /// `removable` of `query-block`.
    public var isRemovable: Bool { kind != .fixed }
    public var isReadOnly: Bool { medium?.used.contains(.write) != true }
    /// The node that is the medium, behind an open tray or a closed one.
    public var nodeName: String? { medium?.nodeName }

    public func setLocked(_ isLocked: Bool) {}
    public func moveTray(open: Bool) -> Bool { false }
    public func addObserver(_ observer: any DriveObserver) {}
    public func removeObserver(_ observer: any DriveObserver) {}

    public var length: UInt64 { 0 }
    public var limits: StorageLimits { StorageLimits() }
    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) { throw .noMedium }
    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        throw .noMedium
    }
    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) { throw .noMedium }
    public func discard(_ range: ByteRange) async throws(BlockError) { throw .noMedium }
    public func flush() async throws(BlockError) { throw .noMedium }
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { throw .noMedium }
    public func resize(to length: UInt64) async throws(BlockError) { throw .noMedium }
}
