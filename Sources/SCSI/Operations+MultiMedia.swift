extension Operation {
    /// MMC-6 alone.
    static let multiMedia: [Operation] = [
        Operation(
            0x23, "READ FORMAT CAPACITIES", "00 0000000000 FFFF 00", .allocation(at: 7, width: 2), .unlessReserved,
            by: .answer { unit, _ throws(Refusal) in unit.formatCapacities() }),
        Operation(
            0x42, "READ SUB-CHANNEL", "02 40 FF 0000 FF FFFF 00", .allocation(at: 7, width: 2), .read, .needsMedium,
            by: .answer { unit, command throws(Refusal) in try unit.subChannel(command) }),
        Operation(
            0x43, "READ TOC/PMA/ATIP", "02 0F 000000 FF FFFF 00", .allocation(at: 7, width: 2), .read, .needsMedium,
            by: .answer { unit, command throws(Refusal) in try unit.tableOfContents(command) }),
        Operation(
            0x46, "GET CONFIGURATION", "03 FFFF 000000 FFFF 00", .allocation(at: 7, width: 2), .always,
            .ignoresAttention,
            by: .answer { unit, command throws(Refusal) in try unit.configuration(command) }),
        Operation(
            0x4A, "GET EVENT STATUS NOTIFICATION", "01 0000 FF 0000 FFFF 00", .allocation(at: 7, width: 2), .always,
            .ignoresAttention,
            by: .answer { unit, command throws(Refusal) in try unit.eventStatus(command) }),
        Operation(
            0x51, "READ DISC INFORMATION", "07 0000000000 FFFF 00", .allocation(at: 7, width: 2), .read, .needsMedium,
            by: .answer { unit, command throws(Refusal) in try unit.discInformation(command) }),
        Operation(
            0x52, "READ TRACK INFORMATION", "03 FFFFFFFF 00 FFFF 00", .allocation(at: 7, width: 2), .read,
            .needsMedium,
            by: .answer { unit, command throws(Refusal) in try unit.trackInformation(command) }),
        Operation(
            0xAD, "READ DVD STRUCTURE", "0F FFFFFFFF FF FF FFFF C0 00", .allocation(at: 8, width: 2), .read,
            .needsMedium,
            by: .answer { unit, command throws(Refusal) in try unit.dvdStructure(command) }),
        Operation(
            0xBD, "MECHANISM STATUS", "00 00000000 0000 FFFF 00 00", .allocation(at: 8, width: 2), .unlessReserved,
            by: .answer { unit, _ throws(Refusal) in unit.mechanismStatus() }),
        Operation(
            0xBE, "READ CD", "1E FFFFFFFF FFFFFF FE 07 00", .bytesFound { LogicalUnit.sectorBytes($0) }, .read,
            .needsMedium,
            by: .read { unit, command, room throws(Refusal) in try await unit.readCD(command, into: &room) }),
    ]
}
