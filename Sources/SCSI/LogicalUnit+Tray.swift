import Bytes
import Devices

// START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL: the tray and its lock.
extension LogicalUnit {
    /// START STOP UNIT (SBC-3 5.25, MMC-6 6.42). The unit is always started, and has no power conditions to be in; LOEJ
    /// moves the tray. With IMMED, too, the status waits.
    func startStop(_ command: SCSICommand) async throws(Refusal) {
        let options = command.cdb[4]
        let isStart = options & 0x01 != 0
        if !isStart { try checkAccess(command.nexus) }
        // A power condition asked for: START and LOEJ mean nothing.
        guard options & 0xF0 == 0 else { return }
        // NO_FLUSH.
        if !isStart, options & 0x04 == 0, drive.isReady, !drive.isReadOnly { try await flush() }
        guard options & 0x02 != 0 else { return }
        if drive.kind == .fixed { throw .field(4, bit: 1) }
        if !drive.moveTray(open: !isStart) { throw .check(.mediumRemovalPrevented) }
    }

    /// PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.17). The medium is kept in as long as one nexus asks for it.
    func preventRemoval(_ command: SCSICommand) throws(Refusal) {
        let id = ObjectIdentifier(command.nexus)
        switch command.cdb[4] & 3 {
        case 0: allowRemoval(by: id)
        case 1:
            try checkAccess(command.nexus)
            preventers.insert(id)
            // Again for each: management may have taken the lock away meanwhile.
            drive.setLocked(true, by: self)
        default: throw .field(4, bit: 1)
        }
    }

    /// What takes the medium from others needs the right to write.
    private func checkAccess(_ nexus: SCSINexus) throws(Refusal) {
        if reserver != nil || reservations.kind != nil { try checkReservation(nexus, .write) }
    }

    /// The nexus no longer prevents the removal; the medium is free once nobody does.
    func allowRemoval(by id: ObjectIdentifier) {
        guard preventers.remove(id) != nil, preventers.isEmpty else { return }
        drive.setLocked(false, by: self)
    }
}
