import Block
import Devices

/// One logical unit: a drive, and what initiators set up on it.
///
/// State changes in functions that are not asynchronous. What belongs to a nexus is kept by the nexus's identity, what
/// outlives it (persistent reservations) by its port's TransportID.
final class LogicalUnit {
    unowned let target: SCSITarget
    let drive: any Drive
    let number: UInt16
    /// UNIT SERIAL NUMBER.
    let serial: String
    let operations: OperationTable
    /// Whether it is a disc behind a tray; else a disk. The drive's kind when it was attached.
    let isDisc: Bool
    /// The logarithm of the logical block's size in bytes.
    let blockShift: UInt64
    let tasks = TaskSet()
    /// Set once it is no unit of the target any more: what waited to enter finds nothing.
    var isDetached = false
    /// Keeps writes out of what COMPARE AND WRITE and ORWRITE read and write back.
    let writes = RangeLock()

    /// Pending unit attentions, the oldest first; a nexus without any has no entry.
    var attentions: [ObjectIdentifier: [SenseCode]] = [:]
    /// Media events that GET EVENT STATUS NOTIFICATION has not told yet.
    var mediaEvents: [ObjectIdentifier: [MediaEvent]] = [:]
    /// The nexuses that prevent the medium's removal.
    var preventers: Set<ObjectIdentifier> = []
    var mode = ModeParameters()
    /// Who holds the unit by RESERVE.
    var reserver: ObjectIdentifier?
    var reservations = PersistentReservations()
    /// Counts the media that the unit has had in reach, so that what waited can tell that its medium is gone.
    var mediumGeneration: UInt64 = 0

    init(_ target: SCSITarget, _ drive: any Drive, number: UInt16, serial: String?) {
        self.target = target
        self.drive = drive
        self.number = number
        self.serial = serial ?? LogicalUnit.serial(target: target.name, drive: drive.name)
        isDisc = drive.kind == .tray
        operations = isDisc ? .disc : .disk
        blockShift = isDisc ? 11 : 9
    }

    var blockSize: UInt64 { 1 << blockShift }
    /// Whole blocks of the medium.
    var blockCount: UInt64 { drive.length >> blockShift }
    /// Whether blocks can be unmapped: LBPME.
    var isThin: Bool {
        let limits = drive.limits
        return !isDisc && (limits.discards || limits.zeroesFast)
    }
    /// Whether unmapped blocks read as zeros: LBPRZ.
    var unmapsToZero: Bool { drive.limits.zeroesFast }
    var isWriteProtected: Bool { drive.isReadOnly || mode.isWriteProtected }

    // MARK: Admission

    /// Checks all that is checked before a command is carried out, in the order in which conditions are told: unit
    /// attention, operation code, reservation, the bytes of the command, medium, write protection.
    ///
    /// A unit attention comes before RESERVATION CONFLICT, so that an initiator that clears what it finds after login
    /// is not surprised by it at its first command after the reservation.
    func admit(_ command: SCSICommand) throws(Refusal) -> Operation {
        let nexus = command.nexus
        let operation: Operation
        do throws(Refusal) {
            operation = try operations.row(of: command.cdb)
        } catch {
            try takeAttention(of: nexus)
            throw error
        }
        let traits = operation.traits
        if !attentions.isEmpty, !traits.contains(.ignoresAttention) { try takeAttention(of: nexus) }
        if reserver != nil || reservations.kind != nil {
            try checkReservation(nexus, operation.access)
        }
        if traits.contains(.needsProvisioning), !isThin { throw .check(.invalidOperationCode) }
        if let fault = operation.fault(in: command.cdb) { throw fault }
        if command.attribute == .aca { throw .check(.invalidMessage) }
        if traits.contains(.needsMedium) { try checkMedium() }
        if traits.contains(.changesMedium), isWriteProtected {
            throw .check(drive.isReadOnly ? .writeProtected : .softwareWriteProtected)
        }
        return operation
    }

    /// NOT READY where there is no medium, by what the tray shows.
    func checkMedium() throws(Refusal) {
        if !drive.isReady { throw .check(notReady) }
    }

    var notReady: SenseCode {
        if !isDisc { return .mediumNotPresent }
        if drive.isTrayOpen { return .mediumNotPresentTrayOpen }
        return drive.hasMedium ? .becomingReady : .mediumNotPresentTrayClosed
    }

    /// What a failure of the drive is to the initiator.
    func refusal(_ error: BlockError, _ request: Refusal.Request) -> Refusal {
        error == .noMedium ? .check(notReady) : Refusal(error, in: request)
    }

    // MARK: Outcomes

    func outcome(of refusal: Refusal) -> SCSIOutcome {
        switch refusal {
        case .reservationConflict: SCSIOutcome(status: .reservationConflict)
        case .check(let sense):
            SCSIOutcome(status: .checkCondition, sense: sense.bytes(asDescriptors: mode.usesDescriptors))
        }
    }

    // MARK: Nexuses

    /// What a nexus leaves behind ends with it: its reservation, its lock, what it was still to be told.
    func forget(_ nexus: SCSINexus) {
        let id = ObjectIdentifier(nexus)
        attentions[id] = nil
        mediaEvents[id] = nil
        if reserver == id { reserver = nil }
        allowRemoval(by: id)
    }

    /// As after power on, but for what persists: LOGICAL UNIT RESET (SAM-5 6.3.3).
    func reset() {
        reserver = nil
        mode = ModeParameters()
        mediaEvents.removeAll()
        if !preventers.isEmpty {
            preventers.removeAll()
            drive.setLocked(false, by: self)
        }
        attentions.removeAll()
        for nexus in target.nexuses.values { establish(.busDeviceReset, for: nexus) }
    }
}
