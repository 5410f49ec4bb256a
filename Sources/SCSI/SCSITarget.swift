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
    private(set) var units: [UInt16: LogicalUnit] = [:]
    private(set) var nexuses: [ObjectIdentifier: SCSINexus] = [:]

    public init(context: any IOContext, name: String) {
        self.context = context
        self.name = name
    }

    // MARK: Logical units

    /// Units that one target shows, so that REPORT LUNS always fits its room.
    public static var unitLimit: Int { 4096 }

    /// Makes a drive visible as a logical unit. Precondition: the number is free, and fewer than `unitLimit` are taken.
    public func attach(_ drive: any Drive, lun: UInt16, serial: String? = nil) {
        precondition(units[lun] == nil && units.count < Self.unitLimit, "a logical unit number is taken twice")
        announceInventory()
        let unit = LogicalUnit(self, drive, number: lun, serial: serial)
        units[lun] = unit
        drive.addObserver(unit)
        unit.establish(.powerOn)
    }

    /// Hides a logical unit, and waits for its commands.
    public func detach(lun: UInt16) async {
        guard let unit = units.removeValue(forKey: lun) else { return }
        unit.isDetached = true
        unit.drive.removeObserver(unit)
        announceInventory()
        await unit.tasks.enterOrdered()
        for nexus in nexuses.values { unit.forget(nexus) }
        unit.tasks.leaveOrdered()
    }

    private func announceInventory() {
        for unit in units.values { unit.establish(.reportedUnitsChanged) }
    }

    // MARK: Nexuses

    /// A nexus begins: its first command meets a unit attention on every logical unit.
    public func begin(_ nexus: SCSINexus) {
        nexuses[ObjectIdentifier(nexus)] = nexus
        for unit in units.values { unit.establish(.powerOn, for: nexus) }
    }

    /// A nexus is lost: its non-persistent reservations and locks end.
    public func end(_ nexus: SCSINexus) {
        for unit in units.values { unit.forget(nexus) }
        nexuses[ObjectIdentifier(nexus)] = nil
    }

    /// LOGICAL UNIT RESET. Answers once the commands that were under way have ended; false where there is no such unit.
    public func reset(lun: UInt64, by nexus: SCSINexus) async -> Bool {
        guard let unit = unit(at: lun) else { return false }
        await reset(unit)
        return true
    }

    /// TARGET WARM or COLD RESET. Answers once the commands that were under way have ended.
    public func resetAll(by nexus: SCSINexus) async {
        for unit in units.values { await reset(unit) }
    }

    private func reset(_ unit: LogicalUnit) async {
        await unit.tasks.enterOrdered()
        unit.reset()
        unit.tasks.leaveOrdered()
    }

    // MARK: Commands

    /// The unit that a command's LUN field names.
    func unit(at field: UInt64) -> LogicalUnit? { LUN.decode(field).flatMap { units[$0] } }

    /// What `execute` will move, from the command's bytes and the unit's block size alone. A command that will fail moves
    /// nothing. No plan is larger than `maxTransfer`.
    public func plan(_ command: SCSICommand) -> SCSIDataPlan {
        guard let unit = unit(at: command.lun) else { return absentPlan(command) }
        guard let operation = try? unit.operations.row(of: command.cdb), operation.fault(in: command.cdb) == nil,
            let plan = try? operation.plan(command, blockShift: unit.blockShift)
        else { return .none }
        return plan
    }

    /// Bytes that one command may move, as many as over NBD; a longer one fails with INVALID FIELD IN CDB.
    public static var maxTransfer: Int { 32 << 20 }

    /// Carries the command out. `dataOut` holds what was planned (or less, where the initiator sent less); `dataIn` has
    /// room for what was planned.
    ///
    /// The outcome's `dataInCount` bytes are all written, whatever the room held before. A command whose data did not all
    /// come is refused as a whole (INVALID FIELD IN COMMAND INFORMATION UNIT).
    public func execute(_ command: SCSICommand, dataOut: RawSpan, dataIn: inout MutableRawSpan) async -> SCSIOutcome {
        guard let unit = unit(at: command.lun) else { return absentOutcome(command, &dataIn) }
        let isOrdered = command.attribute == .ordered || unit.operations.runsAlone(command.cdb)
        if isOrdered {
            await unit.tasks.enterOrdered()
        } else if !unit.tasks.enterAtOnce() {
            await unit.tasks.enter()
        }
        defer { if isOrdered { unit.tasks.leaveOrdered() } else { unit.tasks.leave() } }
        guard !unit.isDetached else { return absentOutcome(command, &dataIn) }
        return await unit.run(command, dataOut: dataOut, dataIn: &dataIn)
    }
}
