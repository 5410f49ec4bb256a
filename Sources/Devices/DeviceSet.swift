public import Block
public import Graph

/// All devices of a graph, and the commands on them (qmp-semantics §9.4, §9.5, §10.5, §10.6).
///
/// A command that names a device does so by `device` or by `id`, of which exactly one is given; both find a backend's
/// name as well as a guest device's id. Every command happens as a whole or not at all; its events come before it
/// returns.
public final class DeviceSet {
    let context: any IOContext
    let graph: Graph
    let observer: DeviceObserver
    /// In the order of their creation, as `query-block` lists them.
    public internal(set) var devices: [Device] = []

    public init(context: any IOContext, graph: Graph, observer: DeviceObserver = DeviceObserver()) {
        self.context = context
        self.graph = graph
        self.observer = observer
    }

    /// The device whose backend or guest device has this name.
    public func device(_ name: String) -> Device? {
        devices.first { $0.name == name } ?? devices.first { $0.guestID == name }
    }

    /// The device that a command names.
    public func find(device: String?, id: String?) throws(DeviceError) -> Device {
        guard (device == nil) != (id == nil), let name = device ?? id else {
            throw DeviceError("Need exactly one of 'device' and 'id'")
        }
        guard let found = self.device(name) else { throw .notFound(name) }
        return found
    }
}

/// `device_add` and `--device`: a guest device. Its backend has its id as a name, unless `drive` names a bare backend,
/// which then is the device's and keeps its name.
public struct DeviceRequest: Equatable, Sendable {
    public var model: DeviceModel
    public var id: String
    /// A node, or a bare backend; nil: an empty drive, which a fixed disk cannot be.
    public var drive: String?
    /// Lets others write to the medium (`share-rw`).
    public var sharesWrites = false

    public init(_ model: DeviceModel, id: String, drive: String? = nil) {
        self.model = model
        self.id = id
        self.drive = drive
    }
}

/// A bare backend: `blockdev-add` with `id`, and `drive_add`.
public struct BackendRequest: Equatable, Sendable {
    public var name: String
    public var origin: Device.Origin
    /// The medium, which only the backend holds; nil: none.
    public var medium: NodeOptions?
    /// What the first medium is opened like, where there is none yet.
    public var rootState = RootState()
    /// `stats-account-invalid` and `stats-account-failed`.
    public var accountsInvalid = true
    public var accountsFailed = true

    public init(_ name: String, origin: Device.Origin = .blockdevAdd, medium: NodeOptions? = nil) {
        self.name = name
        self.origin = origin
        self.medium = medium
    }
}

/// `read-only-mode` of `blockdev-change-medium`.
public enum ReadOnlyMode: String, CaseIterable, Sendable {
    case retain
    case readOnly = "read-only"
    case readWrite = "read-write"
}

extension DeviceSet {
    // MARK: Devices

    /// `device_add`.
    @discardableResult
    public func add(_ request: DeviceRequest) async throws(DeviceError) -> Device { throw DeviceError("") }

    /// `blockdev-add` with `id`, `drive_add`.
    @discardableResult
    public func add(_ request: BackendRequest) async throws(DeviceError) -> Device { throw DeviceError("") }

    /// `device_del`: the guest device goes, with its backend unless that was there before. Tells `DEVICE_DELETED`.
    public func remove(_ id: String) async throws(DeviceError) {}

    /// `x-blockdev-del`, by backend or by node.
    public func delete(id: String?, nodeName: String?) async throws(DeviceError) {}

    /// `drive_del`: the backend loses its medium, and goes unless a guest device is on it.
    public func deleteDrive(_ name: String) async throws(DeviceError) {}

    // MARK: Tray and medium

    /// `blockdev-open-tray`. A locked drive that is not forced asks its initiator and stays closed: that is success.
    public func openTray(device: String? = nil, id: String? = nil, force: Bool = false) throws(DeviceError) {}
    /// `blockdev-close-tray`.
    public func closeTray(device: String? = nil, id: String? = nil) throws(DeviceError) {}
    /// `blockdev-remove-medium`.
    public func removeMedium(device: String? = nil, id: String? = nil) async throws(DeviceError) {}
    /// `blockdev-insert-medium`.
    public func insertMedium(device: String? = nil, id: String? = nil, nodeName: String) async throws(DeviceError) {}
    /// `eject`.
    public func eject(device: String? = nil, id: String? = nil, force: Bool = false) async throws(DeviceError) {}
    /// `blockdev-change-medium`, and `change` of a block device. Without a format it is told by the content.
    public func changeMedium(
        device: String? = nil, id: String? = nil, filename: String, format: String? = nil,
        readOnlyMode: ReadOnlyMode = .retain, force: Bool = false
    ) async throws(DeviceError) {}

    // MARK: Limits

    /// `block_set_io_throttle`. A group's members share its limits; without a group the device is one for itself.
    public func setThrottle(device: String? = nil, id: String? = nil, _ limits: ThrottleLimits, group: String? = nil)
        throws(DeviceError)
    {}

    // MARK: Users from outside

    /// Makes `user` (an export's or a target's name) a user of a device: it sends its requests to `DeviceUser.device`,
    /// and the device is neither deleted nor removed until it is detached. `onChange` tells that another medium is in
    /// reach, none is, or its length has changed: an NBD export then closes its connections.
    public func attach(
        _ user: String, toDevice name: String, isWritable: Bool, onChange: @escaping () -> Void = {}
    ) throws(DeviceError) -> DeviceUser { throw DeviceError("") }

    public func detach(_ user: DeviceUser) {}
}

/// A user of a device from outside: an export, or a LUN of a target.
public final class DeviceUser {
    public let name: String
    public let device: Device
    init(_ name: String, _ device: Device) {
        self.name = name
        self.device = device
    }
}
