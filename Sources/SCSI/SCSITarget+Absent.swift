import Bytes

// What is answered where the LUN field names no unit (SPC-4 5.9): three commands work, so that an initiator can find
// those that are there.
extension SCSITarget {
    private func absentRow(_ command: SCSICommand) throws(Refusal) -> Operation {
        let table = OperationTable.disk
        guard [0x03, 0x12, 0xA0].contains(command.cdb.code) else { throw .check(.unitNotSupported) }
        // REPORT LUNS is for unit 0, whether it is there or not.
        if command.cdb.code == 0xA0, LUN.decode(command.lun) != 0 { throw .check(.unitNotSupported) }
        let row = try table.row(of: command.cdb)
        if let fault = row.fault(in: command.cdb) { throw fault }
        return row
    }

    func absentPlan(_ command: SCSICommand) -> SCSIDataPlan {
        (try? absentRow(command).plan(command, blockShift: 0)) ?? .none
    }

    func absentOutcome(_ command: SCSICommand, _ dataIn: inout MutableRawSpan) -> SCSIOutcome {
        do throws(Refusal) {
            let plan = try absentRow(command).plan(command, blockShift: 0)
            return .answer(try absentAnswer(command), plan, &dataIn)
        } catch {
            guard case .check(let sense) = error else { return SCSIOutcome(status: .reservationConflict) }
            return SCSIOutcome(status: .checkCondition, sense: sense.bytes(asDescriptors: false))
        }
    }

    private func absentAnswer(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        switch command.cdb.code {
        case 0x03: return Sense(.unitNotSupported).bytes(asDescriptors: command.cdb.has(1, at: 1))
        case 0x12:
            if command.cdb.has(1, at: 1) { throw .field(1, bit: 0) }
            if command.cdb[2] != 0 { throw .field(2) }
            // No unit can be there, of no known type.
            return StandardInquiry(type: 0x7F, isRemovable: false, product: "").bytes
        default: return try reportUnits(command)
        }
    }

    /// REPORT LUNS (SPC-4 6.33). There are no well known units.
    func reportUnits(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let selection = command.cdb[2]
        guard selection <= 2 else { throw .field(2) }
        guard command.cdb.number(at: 6, width: 4) >= 16 else { throw .field(6) }
        let numbers = selection == 1 ? [] : units.keys.sorted()
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt32(8 * numbers.count))
        bytes.append(bigEndian: UInt32(0))
        for number in numbers { bytes.append(bigEndian: LUN.encode(number)) }
        for unit in units.values { unit.dropInventoryAttention(of: command.nexus) }
        return bytes
    }
}
