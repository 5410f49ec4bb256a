public import Block
public import Devices

/// A SCSI target device: logical units by number, and the commands that initiators send to them.
///
/// Confined to its context. The transport asks `plan`, makes room or collects the data, then lets `execute` run; several
/// commands may be under way at once.
public final class SCSITarget {
    let context: any IOContext
    /// What INQUIRY's device identification names the target port by: the transport's name of the target.
    public let name: String

    public init(context: any IOContext, name: String) {
        self.context = context
        self.name = name
    }

    // MARK: Logical units

    /// Makes a drive visible as a logical unit. Precondition: the number is free.
    public func attach(_ drive: any Drive, lun: UInt16, serial: String? = nil) { preconditionFailure("to come") }
    /// Hides a logical unit, and waits for its commands.
    public func detach(lun: UInt16) async { preconditionFailure("to come") }

    // MARK: Nexuses

    /// A nexus begins: its first command meets a unit attention on every logical unit.
    public func begin(_ nexus: SCSINexus) { preconditionFailure("to come") }
    /// A nexus is lost: its non-persistent reservations and locks end.
    public func end(_ nexus: SCSINexus) { preconditionFailure("to come") }
    /// LOGICAL UNIT RESET. False where there is no such unit.
    public func reset(lun: UInt64, by nexus: SCSINexus) -> Bool { preconditionFailure("to come") }
    /// TARGET WARM or COLD RESET.
    public func resetAll(by nexus: SCSINexus) { preconditionFailure("to come") }

    // MARK: Commands

    /// What `execute` will move, from the command's bytes and the unit's block size alone. A command that will fail moves
    /// nothing. No plan is larger than `maxTransfer`.
    public func plan(_ command: SCSICommand) -> SCSIDataPlan { preconditionFailure("to come") }
    /// Bytes that one command may move; a longer one fails with INVALID FIELD IN CDB.
    public static var maxTransfer: Int { 8 << 20 }
    /// Carries the command out. `dataOut` holds what was planned (or less, where the initiator sent less); `dataIn` has
    /// room for what was planned.
    public func execute(_ command: SCSICommand, dataOut: RawSpan, dataIn: inout MutableRawSpan) async -> SCSIOutcome {
        preconditionFailure("to come")
    }
}
