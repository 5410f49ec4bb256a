import Block
import Filters
public import Graph

/// `device_add` and `--device`: a guest device. Its backend has its id as a name, unless `drive` names a bare backend,
/// which is then the device's and keeps its name.
public struct DeviceRequest: Equatable, Sendable {
    public var model: DeviceModel
    public var id: String
    /// A node, or a bare backend; nil: an empty drive, which a fixed disk cannot be.
    public var drive: String?
    /// Whether others may write to the medium (`share-rw`).
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

extension DeviceSet {
    /// `device_add`.
    @discardableResult
    public func add(_ request: DeviceRequest) async throws(DeviceError) -> Device {
        var added: Device?
        try await change { (plan: BackendPlan) throws(OpenError) in
            try plan.checkIdentifier(request.id)
            if self.devices.contains(where: { $0.guestID == request.id }) {
                throw OpenError("Duplicate device ID '\(request.id)'")
            }
            if let backend = self.devices.first(where: { $0.name == request.drive }) {
                try self.plan(request, on: backend, plan)
                added = backend
            } else {
                added = try self.planNew(request, plan)
            }
        }
        return try added.orGone(request.id)
    }

    /// `blockdev-add` with `id`, `drive_add`: on failure nothing remains.
    @discardableResult
    public func add(_ request: BackendRequest) async throws(DeviceError) -> Device {
        var added: Device?
        try await change { (plan: BackendPlan) async throws(OpenError) in
            if self.device(request.name) != nil { throw OpenError("Device with id '\(request.name)' already exists") }
            try plan.addBackend(request.name)
            let device = Device(
                request.name, origin: request.origin, kind: .removable, rootState: request.rootState,
                context: self.context, observer: self.observer)
            device.statistics.accountsInvalid = request.accountsInvalid
            device.statistics.accountsFailed = request.accountsFailed
            var root: BlockRoot?
            if let options = request.medium {
                root = try self.insert(try await plan.open(options), into: device, request.rootState, plan)
            }
            plan.onSwap = {
                self.devices.append(device)
                device.setMedium(root)
            }
            added = device
        }
        return try added.orGone(request.name)
    }

    /// `device_del`: the guest device goes, with its backend unless that was there before. Tells `DEVICE_DELETED`.
    public func remove(_ id: String) async throws(DeviceError) {
        guard let device = devices.first(where: { $0.guestID == id }) else { throw .notFound(id) }
        try await change(device, id) { (plan: BackendPlan) throws(OpenError) in
            let check = { () throws(OpenError) in
                if device.guestID != id { throw OpenError("Device '\(id)' not found") }
                if let user = device.users.first { throw OpenError("Device '\(id)' is in use by '\(user)'") }
            }
            try check()
            plan.confirm = check
            if device.origin == .device {
                plan.removeBackend(device.name)
                plan.onSwap = {
                    self.drop(device)
                    self.observer.onDeleted(id)
                }
                return
            }
            let root = try self.replan(device, .removable, shared: .all, plan)
            plan.onSwap = {
                device.setMedium(root)
                device.become(.removable, nil, guestID: nil)
                device.shared = .all
                self.observer.onDeleted(id)
            }
        }
    }

    // MARK: Planning

    /// What a guest device lets others do with its medium.
    private func shared(_ request: DeviceRequest) -> Permissions {
        request.sharesWrites ? .all : [.consistentRead, .writeUnchanged, .resize]
    }

    /// A guest device with a backend of its own.
    private func planNew(_ request: DeviceRequest, _ plan: BackendPlan) throws(OpenError) -> Device {
        if self.device(request.id) != nil { throw OpenError("Device with id '\(request.id)' already exists") }
        try plan.addBackend(request.id)
        let kind = request.model.kind
        let device = Device(
            request.id, origin: .device, kind: kind, rootState: RootState(isReadOnly: kind == .tray), context: context,
            observer: observer)
        device.become(kind, request.model, guestID: request.id)
        device.shared = shared(request)
        var root: BlockRoot?
        if let node = request.drive {
            guard plan.hasNode(node) else {
                throw OpenError("Property '\(request.model.rawValue).drive' can't find value '\(node)'")
            }
            root = try insert(node, into: device, device.rememberedState, plan)
        } else if kind == .fixed {
            throw OpenError("drive property not set")
        }
        plan.onSwap = {
            self.devices.append(device)
            device.setMedium(root)
        }
        return device
    }

    /// A guest device on a bare backend.
    private func plan(_ request: DeviceRequest, on device: Device, _ plan: BackendPlan) throws(OpenError) {
        if device.guestID != nil { throw OpenError("Drive '\(device.name)' is already in use by another device") }
        if request.id != device.name, plan.hasBackend(request.id) {
            throw OpenError("Device with id '\(request.id)' already exists")
        }
        let kind = request.model.kind
        if kind == .fixed, plan.medium(of: device.name) == nil {
            throw OpenError("Device needs media, but drive is empty")
        }
        let shared = shared(request)
        let root = try replan(device, kind, shared: shared, plan)
        plan.onSwap = {
            device.setMedium(root)
            device.become(kind, request.model, guestID: request.id)
            if kind == .tray { device.rememberedState.isReadOnly = true }
            device.shared = shared
        }
    }

    /// The same medium for a device of another kind.
    private func replan(_ device: Device, _ kind: DriveKind, shared: Permissions, _ plan: BackendPlan)
        throws(OpenError) -> BlockRoot?
    {
        guard let node = plan.medium(of: device.name) else { return nil }
        plan.takeOut(of: device.name)
        return try plan.insert(node, into: device.name, mayWrite: kind != .tray, shared: shared)
    }

    /// A change that is not one of an existing device.
    func change(_ plan: (BackendPlan) async throws(OpenError) -> Void) async throws(DeviceError) {
        do { try await graph.changeBackends(plan) } catch { throw DeviceError(error) }
    }

    /// Lifts all limits: what they hold back goes on, so that whoever ends the daemon does not wait for it.
    public func liftLimits() {
        for device in devices {
            device.throttle?.release(device)
            device.throttle = nil
        }
    }

    /// The device is gone: what waits for it is refused.
    func drop(_ device: Device) {
        devices.removeAll { $0 === device }
        device.setMedium(nil)
        device.throttle?.release(device)
        device.throttle = nil
    }
}

extension Device? {
    /// What a change made, which has succeeded.
    fileprivate func orGone(_ name: String) throws(DeviceError) -> Device {
        guard let self else { throw .notFound(name) }
        return self
    }
}
