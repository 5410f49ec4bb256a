import Block
public import Filters
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
        /// `--device` and `device_add`: goes with the guest device.
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
    /// What the guest device is; nil for a bare backend.
    public internal(set) var model: DeviceModel?
    public internal(set) var isTrayOpen = false
    private var locks = Set<ObjectIdentifier>()
    /// How the next medium is opened where there is none now.
    var rememberedState: RootState
    public internal(set) var statistics = DeviceStatistics()
    /// The group whose limits hold its requests back; nil where nothing is limited.
    public internal(set) var throttle: ThrottleGroup?

    let context: any IOContext
    let observer: DeviceObserver
    private(set) var medium: BlockRoot?
    /// The medium, while requests reach it: the tray is closed.
    private(set) var reach: BlockRoot?
    /// What the medium's users may do beside it.
    var shared: Permissions = .all
    var outsiders: [DeviceUser] = []
    private var observers: [Watching] = []

    private struct Watching {
        weak var observer: (any DriveObserver)?
    }

    init(
        _ name: String, origin: Origin, kind: DriveKind, rootState: RootState, context: any IOContext,
        observer: DeviceObserver
    ) {
        self.name = name
        self.origin = origin
        self.kind = kind
        self.context = context
        self.observer = observer
        rememberedState = rootState
    }

    public var hasMedium: Bool { medium != nil }
    public var isReady: Bool { reach != nil }
    public var hasTray: Bool { kind == .tray }
    /// `removable` of `query-block`.
    public var isRemovable: Bool { kind != .fixed }
    public var isReadOnly: Bool { medium?.used.contains(.write) != true }
    /// The node that is the medium, behind an open tray or a closed one.
    public var nodeName: String? { medium?.nodeName }
    /// Who uses it from outside: exports and LUNs, by name.
    public var users: [String] { outsiders.map(\.name) }

    // MARK: What happens to it

    /// Another medium is in, or none: at once in reach unless the tray is open.
    func setMedium(_ root: BlockRoot?) {
        medium?.onLengthChange = nil
        medium = root
        root?.onLengthChange = { [weak self] in
            guard let self, reach != nil else { return }
            tell { $0.driveChangedLength(self) }
        }
        updateReach()
    }

    /// Moves the tray, if there is one and it is elsewhere.
    func setTray(open: Bool) {
        guard hasTray, isTrayOpen != open else { return }
        isTrayOpen = open
        observer.onTrayMoved(name, guestID ?? "", open)
        updateReach()
    }

    /// Becomes another kind of drive, its tray closed and without a lock.
    func become(_ kind: DriveKind, _ model: DeviceModel?, guestID: String?) {
        self.kind = kind
        self.model = model
        self.guestID = guestID
        releaseLocks()
        isTrayOpen = false
        updateReach()
    }

    private func updateReach() {
        let now = isTrayOpen ? nil : medium
        guard now !== reach else { return }
        reach = now
        // What the limits hold back was meant for another medium.
        throttle?.release(self)
        tell { $0.driveChangedMedium(self) }
    }

    // MARK: Drive

    public var isLocked: Bool { !locks.isEmpty }

    public func setLocked(_ isLocked: Bool, by holder: AnyObject) {
        guard isLocked else {
            locks.remove(ObjectIdentifier(holder))
            return
        }
        // A fixed disk stays anyway, and what has no tray nothing can hold.
        if hasTray { locks.insert(ObjectIdentifier(holder)) }
    }

    /// The tray was forced, or another guest device is there: nobody's lock holds any more.
    func releaseLocks() { locks.removeAll() }

    public func moveTray(open: Bool) -> Bool {
        guard hasTray else { return !open }
        if open, !isTrayOpen, isLocked { return false }
        setTray(open: open)
        return true
    }

    /// The initiator is asked to let the medium go.
    func requestEject() { tell { $0.driveWantsEject(self) } }

    public func addObserver(_ observer: any DriveObserver) {
        observers.removeAll { $0.observer == nil || $0.observer === observer }
        observers.append(Watching(observer: observer))
    }

    public func removeObserver(_ observer: any DriveObserver) {
        observers.removeAll { $0.observer == nil || $0.observer === observer }
    }

    private func tell(_ event: (any DriveObserver) -> Void) {
        for watching in observers { if let observer = watching.observer { event(observer) } }
    }
}
