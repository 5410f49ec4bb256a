extension OperationTable {
    /// Direct access block devices: SBC-3 over SPC-4.
    static let disk = OperationTable(Operation.primary + Operation.block + Operation.diskOnly)
    /// Multi-media devices: MMC-6 over SPC-4.
    static let disc = OperationTable(Operation.primary + Operation.block)
}

extension Operation {
    /// SPC-4: what every unit does.
    static let primary: [Operation] = [
        Operation(
            0x00, "TEST UNIT READY", "0000000000", .none, .unlessReserved, .needsMedium,
            .change { _, _, _ throws(Refusal) in }),
        Operation(
            0x03, "REQUEST SENSE", "01 0000 FF 00", .allocation(at: 4, width: 1), .always, .ignoresAttention,
            .answer { unit, command throws(Refusal) in unit.requestSense(command) }),
        Operation(
            0x12, "INQUIRY", "01 FF FFFF 00", .allocation(at: 3, width: 2), .always, .ignoresAttention,
            .answer { unit, command throws(Refusal) in try unit.inquiry(command) }),
        Operation(
            0xA0, "REPORT LUNS", "00 FF 000000 FFFFFFFF 00 00", .allocation(at: 6, width: 4),
            .always, .ignoresAttention,
            .answer { unit, command throws(Refusal) in try unit.target.reportUnits(command) }),
    ]

    /// SBC-3 and MMC-6 alike.
    static let block: [Operation] = [
        Operation(
            0x25, "READ CAPACITY (10)", "000000000000000000", .bytesFound { _ in 8 }, .unlessReserved,
            .needsMedium, .answer { unit, _ throws(Refusal) in try unit.readCapacity10() }),
        Operation(
            0x28, "READ (10)", "18 FFFFFFFF 1F FFFF 00", .blocksIn, .read, .needsMedium,
            read),
        Operation(
            0xA8, "READ (12)", "18 FFFFFFFF FFFFFFFF 1F 00", .blocksIn, .read,
            .needsMedium, read),
    ]

    /// SBC-3 alone.
    static let diskOnly: [Operation] = [
        Operation(
            0x08, "READ (6)", "1FFFFF FF 00", .blocksIn, .read, .needsMedium, read),
        Operation(
            0x0A, "WRITE (6)", "1FFFFF FF 00", .blocksOut, .write, [.needsMedium, .changesMedium, .takesPart], write),
        Operation(
            0x2A, "WRITE (10)", "18 FFFFFFFF 1F FFFF 00", .blocksOut, .write,
            [.needsMedium, .changesMedium, .takesPart], write),
        Operation(
            0xAA, "WRITE (12)", "18 FFFFFFFF FFFFFFFF 1F 00", .blocksOut, .write,
            [.needsMedium, .changesMedium, .takesPart], write),
        Operation(
            0x88, "READ (16)",
            "18 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00", .blocksIn, .read,
            .needsMedium, read),
        Operation(
            0x8A, "WRITE (16)",
            "18 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00", .blocksOut,
            .write, [.needsMedium, .changesMedium, .takesPart], write),
        Operation(
            0x9E, action: 0x10, "READ CAPACITY (16)", "10 0000000000000000 FFFFFFFF 00 00",
            .allocation(at: 10, width: 4), .unlessReserved, .needsMedium,
            .answer { unit, _ throws(Refusal) in try unit.readCapacity16() }),
    ]

    private static let read = Handler.read { unit, command, room throws(Refusal) in
        try await unit.read(command, into: &room)
    }
    private static let write = Handler.write { unit, command, data throws(Refusal) in
        try await unit.write(command, data)
    }
}
