import Block
import Graph

/// `read-only-mode` of `blockdev-change-medium`.
public enum ReadOnlyMode: String, CaseIterable, Sendable {
    /// As the medium before, or as the drive was defined.
    case retain
    case readOnly = "read-only"
    case readWrite = "read-write"
}

// The tray and the medium: the ladders of qmp-semantics §9.5, rung by rung.
extension DeviceSet {
    /// `blockdev-open-tray`. A locked drive that is not forced asks its initiator and stays closed: that is success.
    public func openTray(device: String? = nil, id: String? = nil, force: Bool = false) throws(DeviceError) {
        let (device, name) = try named(device, id)
        guard device.isRemovable else { throw DeviceError("Device '\(name)' is not removable") }
        if device.isHeld, !force { return device.requestEject() }
        open(device)
    }

    /// `blockdev-close-tray`.
    public func closeTray(device: String? = nil, id: String? = nil) throws(DeviceError) {
        let (device, name) = try named(device, id)
        guard device.isRemovable else { throw DeviceError("Device '\(name)' is not removable") }
        device.setTray(open: false)
    }

    /// `blockdev-remove-medium`, and its `x-` form.
    public func removeMedium(device: String? = nil, id: String? = nil) async throws(DeviceError) {
        let (device, name) = try named(device, id)
        try await change(device, name) { (plan: BackendPlan) throws(OpenError) in
            let check = { () throws(OpenError) in
                guard device.isRemovable else { throw OpenError("Device '\(name)' is not removable") }
                guard !device.hasTray || device.isTrayOpen else {
                    throw OpenError("Tray of device '\(name)' is not open")
                }
            }
            try check()
            plan.confirm = check
            try self.planRemoval(of: device, plan) { device.setMedium(nil) }
        }
    }

    /// `blockdev-insert-medium`, and its `x-` form: a node becomes the medium.
    public func insertMedium(device: String? = nil, id: String? = nil, nodeName: String) async throws(DeviceError) {
        let (device, name) = try named(device, id)
        try await change(device, name) { (plan: BackendPlan) throws(OpenError) in
            guard plan.hasNode(nodeName) else { throw OpenError("Node '\(nodeName)' not found") }
            guard plan.user(of: nodeName) == nil else { throw OpenError("Node '\(nodeName)' is already in use") }
            let check = { () throws(OpenError) in
                guard device.isRemovable else { throw OpenError("Device is not removable") }
                guard !device.hasTray || device.isTrayOpen else { throw OpenError("Tray of the device is not open") }
            }
            try check()
            plan.confirm = check
            guard plan.medium(of: device.name) == nil else {
                throw OpenError("There already is a medium in the device")
            }
            let root = try self.insert(nodeName, into: device, device.rememberedState, plan)
            plan.onSwap = { device.setMedium(root) }
        }
    }

    /// `eject`: opens the tray and takes the medium out; the tray stays open.
    public func eject(device: String? = nil, id: String? = nil, force: Bool = false) async throws(DeviceError) {
        let (device, name) = try named(device, id)
        try await change(device, name) { (plan: BackendPlan) throws(OpenError) in
            let check = { () throws(OpenError) in try self.checkMayOpen(device, name, force: force) }
            try check()
            plan.confirm = check
            try self.planRemoval(of: device, plan) {
                self.open(device)
                device.setMedium(nil)
            }
        }
    }

    /// `blockdev-change-medium`, and `change` of a block device: opens the new image first; then the tray opens, the
    /// media change places, and the tray closes. Without a format it is told by the content. The medium is held by the
    /// device alone. (docs/decisions/0003-media.md)
    public func changeMedium(
        device: String? = nil, id: String? = nil, filename: String, format: String? = nil,
        readOnlyMode: ReadOnlyMode = .retain, force: Bool = false
    ) async throws(DeviceError) {
        let (device, name) = try named(device, id)
        try await change(device, name) { (plan: BackendPlan) async throws(OpenError) in
            var state = self.rootState(of: device, in: plan)
            if readOnlyMode != .retain { state.isReadOnly = readOnlyMode == .readOnly }
            let node = try await plan.open(
                try await plan.options(filename: filename, format: format, state.options))
            let check = { () throws(OpenError) in try self.checkMayOpen(device, name, force: force) }
            try check()
            plan.confirm = check
            if let old = plan.medium(of: device.name) { try plan.checkNotBlocked(old) }
            plan.takeOut(of: device.name)
            let root = try self.insert(node, into: device, state, plan)
            plan.onSwap = {
                self.open(device)
                device.rememberedState = state
                device.setMedium(root)
                device.setTray(open: false)
            }
        }
    }

    // MARK: Rungs

    /// Whether management may open the drive; a locked one's initiator is asked to.
    private func checkMayOpen(_ device: Device, _ name: String, force: Bool) throws(OpenError) {
        guard device.isRemovable else { throw OpenError("Device '\(name)' is not removable") }
        guard device.isHeld, !force else { return }
        device.requestEject()
        throw OpenError(
            "Device '\(name)' is locked and force was not specified, wait for tray to open and try again")
    }

    /// Opens the tray, if there is one; a lock that held it is gone, for only who forces it comes here then.
    private func open(_ device: Device) {
        if device.isHeld { device.releaseLocks() }
        device.setTray(open: true)
    }

    private func planRemoval(of device: Device, _ plan: BackendPlan, _ swap: @escaping () -> Void) throws(OpenError) {
        let state = rootState(of: device, in: plan)
        if let node = plan.medium(of: device.name) { try plan.checkNotBlocked(node) }
        plan.takeOut(of: device.name)
        plan.onSwap = {
            device.rememberedState = state
            swap()
        }
    }
}

extension Device {
    /// Whether its initiator holds the tray closed.
    var isHeld: Bool { isLocked && !isTrayOpen }
}
