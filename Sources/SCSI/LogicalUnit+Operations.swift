// REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: what the tables say.
extension LogicalUnit {
    /// RCTD: with command timeouts descriptors. No timeouts are told in them.
    private static let timeouts: [UInt8] = [0, 0x0A] + [UInt8](repeating: 0, count: 10)

    private func isSupported(_ row: Operation) -> Bool { !row.traits.contains(.needsProvisioning) || isThin }

    func supportedOperations(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        let hasTimeouts = cdb.has(0x80, at: 2)
        let action = UInt16(truncatingIfNeeded: cdb.number(at: 4, width: 2))
        let rows = operations.rows(of: cdb[3])
        // An operation code has service actions in all of its rows or in none.
        let hasActions = rows.first?.action != nil
        switch cdb[2] & 7 {
        case 0: return allOperations(hasTimeouts)
        case 1:
            if hasActions { throw .field(2, bit: 2) }
            return one(rows.first, hasTimeouts)
        case 2:
            if !rows.isEmpty, !hasActions { throw .field(2, bit: 2) }
            return one(rows.first { $0.action == action }, hasTimeouts)
        case 3:
            return one(rows.first { $0.action ?? 0 == action }, hasTimeouts)
        default: throw .field(2, bit: 2)
        }
    }

    private func allOperations(_ hasTimeouts: Bool) -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0, 0]
        for row in operations.rows where isSupported(row) {
            bytes += [row.code, 0]
            bytes.append(bigEndian: row.action ?? 0)
            bytes += [0, (hasTimeouts ? 2 : 0) | (row.action == nil ? 0 : 1)]
            bytes.append(bigEndian: UInt16(row.usage.count))
            if hasTimeouts { bytes += Self.timeouts }
        }
        bytes.store(UInt32(bytes.count - 4), at: 0)
        return bytes
    }

    private func one(_ row: Operation?, _ hasTimeouts: Bool) -> [UInt8] {
        guard let row, isSupported(row) else { return [0, 1, 0, 0] }
        var bytes: [UInt8] = [0, (hasTimeouts ? 0x80 : 0) | 3]
        bytes.append(bigEndian: UInt16(row.usage.count))
        return bytes + row.usage + (hasTimeouts ? Self.timeouts : [])
    }

    /// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET; REPD asks for the long form.
    func supportedTaskManagement(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        guard command.cdb.number(at: 6, width: 4) >= 4 else { throw .field(6) }
        let functions: [UInt8] = [0x80 | 0x40 | 0x10 | 0x08, 0, 0]
        guard command.cdb.has(0x80, at: 2) else { return functions + [0] }
        return functions + [12] + [UInt8](repeating: 0, count: 12)
    }
}
