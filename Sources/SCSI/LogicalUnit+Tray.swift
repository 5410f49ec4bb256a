import Devices

extension LogicalUnit {
    /// The nexus no longer prevents the removal; the medium is free once nobody does.
    func allowRemoval(by id: ObjectIdentifier) {
        guard preventers.remove(id) != nil, preventers.isEmpty else { return }
        drive.setLocked(false)
    }
}
