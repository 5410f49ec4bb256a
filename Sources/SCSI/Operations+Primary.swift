extension OperationTable {
    /// Direct access block devices: SBC-3 over SPC-4.
    static let disk = OperationTable(Operation.primary + Operation.read + Operation.block + Operation.provisioning)
    /// Multi-media devices: MMC-6 over SPC-4.
    static let disc = OperationTable(Operation.primary + Operation.read + Operation.multiMedia)
}

extension Operation {
    /// SPC-4: what every unit does.
    static let primary: [Operation] = inquiries + modes + reservations + persistentReservations

    private static let inquiries: [Operation] = [
        Operation(
            0x00, "TEST UNIT READY", "00 00 00 00 00", .none, .unlessReserved, .needsMedium,
            by: .change { _, _, _ throws(Refusal) in }),
        Operation(
            0x03, "REQUEST SENSE", "01 0000 FF 00", .allocation(at: 4, width: 1), .always, .ignoresAttention,
            by: .answer { unit, command throws(Refusal) in unit.requestSense(command) }),
        Operation(
            0x12, "INQUIRY", "01 FF FFFF 00", .allocation(at: 3, width: 2), .always, .ignoresAttention,
            by: .answer { unit, command throws(Refusal) in try unit.inquiry(command) }),
        Operation(
            0xA0, "REPORT LUNS", "00 FF 000000 FFFFFFFF 00 00", .allocation(at: 6, width: 4), .always,
            .ignoresAttention,
            by: .answer { unit, command throws(Refusal) in try unit.target.reportUnits(command) }),
        Operation(
            0xA3, action: 0x0C, "REPORT SUPPORTED OPERATION CODES", "0C 87 FF FFFF FFFFFFFF 00 00",
            .allocation(at: 6, width: 4), .unlessReserved,
            by: .answer { unit, command throws(Refusal) in try unit.supportedOperations(command) }),
        Operation(
            0xA3, action: 0x0D, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "0D 80 000000 FFFFFFFF 00 00",
            .allocation(at: 6, width: 4), .unlessReserved,
            by: .answer { unit, command throws(Refusal) in try unit.supportedTaskManagement(command) }),
    ]

    private static let modes: [Operation] = {
        let sense = Handler.answer { unit, command throws(Refusal) in try unit.modeSense(command) }
        let select = Handler.change { unit, command, data throws(Refusal) in try unit.modeSelect(command, data) }
        return [
            Operation(0x1A, "MODE SENSE (6)", "08 FF FF FF 00", .allocation(at: 4, width: 1), .read, by: sense),
            Operation(
                0x5A, "MODE SENSE (10)", "18 FF FF 000000 FFFF 00", .allocation(at: 7, width: 2), .read, by: sense),
            Operation(0x15, "MODE SELECT (6)", "11 0000 FF 00", .parameters(at: 4, width: 1), .write, by: select),
            Operation(
                0x55, "MODE SELECT (10)", "11 0000000000 FFFF 00", .parameters(at: 7, width: 2), .write, by: select),
        ]
    }()

    /// RESERVE and RELEASE of whole units (SPC-2): no third parties, no extents.
    private static let reservations: [Operation] = {
        let reserve = Handler.change { unit, command, _ throws(Refusal) in try unit.reserve(command.nexus) }
        let release = Handler.change { unit, command, _ throws(Refusal) in try unit.release(command.nexus) }
        return [
            Operation(0x16, "RESERVE (6)", "00 00 0000 00", .none, .own, .runsAlone, by: reserve),
            Operation(0x17, "RELEASE (6)", "00 00 0000 00", .none, .own, .runsAlone, by: release),
            Operation(0x56, "RESERVE (10)", "00 00 0000000000 00 00", .none, .own, .runsAlone, by: reserve),
            Operation(0x57, "RELEASE (10)", "00 00 0000000000 00 00", .none, .own, .runsAlone, by: release),
        ]
    }()

    private static let persistentReservations: [Operation] = {
        let answers: [(String, Handler)] = [
            ("READ KEYS", .answer { unit, _ throws(Refusal) in try unit.readKeys() }),
            ("READ RESERVATION", .answer { unit, _ throws(Refusal) in try unit.readReservation() }),
            ("REPORT CAPABILITIES", .answer { unit, _ throws(Refusal) in try unit.reportReservationCapabilities() }),
            ("READ FULL STATUS", .answer { unit, _ throws(Refusal) in try unit.readFullStatus() }),
        ]
        let change = Handler.change { unit, command, data throws(Refusal) in
            try unit.persistentReserve(command, data)
        }
        let changes = [
            "REGISTER", "RESERVE", "RELEASE", "CLEAR", "PREEMPT", "PREEMPT AND ABORT",
            "REGISTER AND IGNORE EXISTING KEY",
            "REGISTER AND MOVE",
        ]
        let reads = answers.enumerated().map { action, answer in
            Operation(
                0x5E, action: UInt16(action), "PERSISTENT RESERVE IN: " + answer.0, "0\(action) 0000000000 FFFF 00",
                .allocation(at: 7, width: 2), .own, by: answer.1)
        }
        return reads
            + changes.enumerated().map { action, name in
                Operation(
                    0x5F, action: UInt16(action), "PERSISTENT RESERVE OUT: " + name, "0\(action) FF 0000 FFFFFFFF 00",
                    .parameters(at: 5, width: 4), .own, .runsAlone, by: change)
            }
    }()
}
