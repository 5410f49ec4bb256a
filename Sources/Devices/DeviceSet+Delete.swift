import Block
import Graph

// The ladders of qmp-semantics §9.4.
extension DeviceSet {
    /// `x-blockdev-del`, by backend or by node.
    public func delete(id: String?, nodeName: String?) async throws(DeviceError) {
        switch (id, nodeName) {
        case (nil, nil): throw DeviceError("No block device specified")
        case (.some, .some): throw DeviceError("Only one of id and node-name must be specified")
        case (let id?, nil): try await delete(backend: id)
        case (nil, let node?): try await delete(node: node)
        }
    }

    /// `drive_del`: the backend loses its medium at once, and goes itself unless a guest device is on it.
    public func deleteDrive(_ name: String) async throws(DeviceError) {
        guard let device = devices.first(where: { $0.name == name }) else { throw .notFound(name) }
        try await change(device, name) { (plan: BackendPlan) throws(OpenError) in
            guard device.origin != .blockdevAdd else {
                throw OpenError("Deleting device added with blockdev-add is not supported")
            }
            if let node = plan.medium(of: name) { try plan.checkNotBlocked(node) }
            let check = { () throws(OpenError) in
                if device.guestID == nil, let user = device.users.first {
                    throw OpenError("Device '\(name)' is in use by '\(user)'")
                }
            }
            try check()
            plan.confirm = check
            guard device.guestID == nil else {
                plan.takeOut(of: name)
                plan.onSwap = { device.setMedium(nil) }
                return
            }
            plan.removeBackend(name)
            plan.onSwap = { self.drop(device) }
        }
    }

    private func delete(backend id: String) async throws(DeviceError) {
        try await change { (plan: BackendPlan) throws(OpenError) in
            guard let device = self.devices.first(where: { $0.name == id }) else {
                throw OpenError("Cannot find block backend \(id)")
            }
            if device.origin == .driveAdd {
                throw OpenError("Deleting block backend added with drive-add is not supported")
            }
            let check = { () throws(OpenError) in
                guard device.guestID == nil, device.users.isEmpty else {
                    throw OpenError("Block backend \(id) is in use")
                }
            }
            try check()
            plan.confirm = check
            if let node = plan.medium(of: id) {
                try plan.checkNotBlocked(node)
                guard plan.holders(of: node) == 1 else { throw OpenError("Block device \(id) is in use") }
            }
            plan.removeBackend(id)
            plan.onSwap = { self.drop(device) }
        }
    }

    private func delete(node: String) async throws(DeviceError) {
        try await change { (plan: BackendPlan) throws(OpenError) in
            guard plan.hasNode(node) else { throw OpenError("Cannot find node \(node)") }
            if let user = plan.user(of: node) { throw OpenError("Node \(node) is in use by \(user)") }
            try plan.checkNotBlocked(node)
            guard plan.isMonitorOwned(node) else { throw OpenError("Node \(node) is not owned by the monitor") }
            guard plan.holders(of: node) == 1 else { throw OpenError("Block device \(node) is in use") }
            plan.disown(node)
        }
    }
}
