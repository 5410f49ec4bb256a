import Devices

// What MMC-6 asks of a disc with one session and one data track that fills it.
extension LogicalUnit {
    /// ADR 1 and CONTROL 4: a data track.
    private static let dataTrack: UInt8 = 0x14
    private static let leadOut: UInt8 = 0xAA

    /// Blocks of a CD: 80 minutes of 75 frames a second. What is longer is a DVD.
    static var longestCD: UInt64 { 80 * 60 * 75 }
    var isDVD: Bool { blockCount > Self.longestCD }

    /// LBAs reach as far as their fields.
    private var leadOutAddress: UInt32 { UInt32(clamping: blockCount) }

    /// An address in four bytes, as LBA or as minutes, seconds and frames (MMC-6 table 588).
    private func address(_ address: UInt32, asTime: Bool) -> [UInt8] {
        guard asTime else {
            var bytes: [UInt8] = []
            bytes.append(bigEndian: address)
            return bytes
        }
        return [0] + Self.time(address)
    }

    /// Minutes (up to 255), seconds and frames from the start of the lead-in's pause, two seconds before block 0.
    static func time(_ address: UInt32) -> [UInt8] {
        let frames = UInt64(address) + 150
        return [UInt8(clamping: frames / 4500), UInt8(frames / 75 % 60), UInt8(frames % 75)]
    }

    // MARK: READ TOC/PMA/ATIP

    func tableOfContents(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        let asTime = cdb.has(0x02, at: 1)
        let body: [UInt8]
        switch cdb[2] & 0x0F {
        case 0:
            guard cdb[6] <= 1 || cdb[6] == Self.leadOut else { throw .field(6) }
            let track = [0, Self.dataTrack, 1, 0] + address(0, asTime: asTime)
            let end = [0, Self.dataTrack, Self.leadOut, 0] + address(leadOutAddress, asTime: asTime)
            body = cdb[6] <= 1 ? track + end : end
        case 1: body = [0, Self.dataTrack, 1, 0] + address(0, asTime: asTime)
        case 2:
            guard cdb[6] <= 1 else { throw .field(6) }
            body = fullTableOfContents
        default: throw .field(2, bit: 3)
        }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt16(2 + body.count))
        // First and last track, or session.
        return bytes + [1, 1] + body
    }

    /// The points of the lead-in: first and last track, lead-out, and the track.
    private var fullTableOfContents: [UInt8] {
        let points: [(UInt8, [UInt8])] = [
            (0xA0, [1, 0, 0]), (0xA1, [1, 0, 0]), (0xA2, Self.time(leadOutAddress)), (1, Self.time(0)),
        ]
        return points.flatMap { point, time in [1, Self.dataTrack, 0, point, 0, 0, 0, 0] + time }
    }

    // MARK: Disc and track

    /// READ DISC INFORMATION (MMC-6 6.21): a complete disc.
    func discInformation(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        guard command.cdb[1] & 7 == 0 else { throw .field(1, bit: 2) }
        var bytes = [UInt8](repeating: 0, count: 34)
        bytes.store(UInt16(32), at: 0)
        bytes[2] = 0x0E
        // First track; one session; its first and last track.
        bytes[3...6] = [1, 1, 1, 1]
        // URU: the disc may be used for anything.
        bytes[7] = 0x20
        // No further session can begin or end anywhere.
        bytes.store(UInt64.max, at: 16)
        return bytes
    }

    /// READ TRACK INFORMATION (MMC-6 6.26) of the one track.
    func trackInformation(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let number = command.cdb.number(at: 2, width: 4)
        switch command.cdb[1] & 3 {
        case 0: if number >= blockCount { throw .check(.addressOutOfRange) }
        case 1, 2: if number != 1 { throw .field(2) }
        default: throw .field(1, bit: 1)
        }
        var bytes = [UInt8](repeating: 0, count: 36)
        bytes.store(UInt16(34), at: 0)
        // Track and session; a data track, in mode 1.
        bytes[2...3] = [1, 1]
        bytes[5] = 0x04
        bytes[6] = 0x01
        // LRA_V.
        bytes[7] = 0x02
        bytes.store(leadOutAddress, at: 24)
        bytes.store(leadOutAddress &- 1, at: 28)
        return bytes
    }

    /// MECHANISM STATUS (MMC-6 6.10): no changer; whether the door is open.
    func mechanismStatus() -> [UInt8] { [0, drive.isTrayOpen ? 0x10 : 0, 0, 0, 0, 0, 0, 0] }

    /// READ SUB-CHANNEL (MMC-3 6.28): nothing plays, at block 0; there are no catalogue numbers.
    func subChannel(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        // SUBQ; no audio status.
        guard cdb.has(0x40, at: 2) else { return [0, 0x15, 0, 0] }
        let body: [UInt8]
        switch cdb[3] {
        case 1:
            let start = address(0, asTime: cdb.has(0x02, at: 1))
            body = [1, Self.dataTrack, 1, 1] + start + start
        case 2: body = [2] + [UInt8](repeating: 0, count: 19)
        case 3:
            guard cdb[6] == 1 else { throw .field(6) }
            body = [3, Self.dataTrack, 1] + [UInt8](repeating: 0, count: 17)
        default: throw .field(3)
        }
        return [0, 0x15, 0, UInt8(body.count)] + body
    }

    /// READ FORMAT CAPACITIES (MMC-6 6.22): a formatted medium, or how large one may be.
    func formatCapacities() -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0, 8]
        bytes.append(bigEndian: drive.isReady ? leadOutAddress : UInt32.max)
        bytes.append(bigEndian: UInt32(blockSize) | (drive.isReady ? 2 : 3) << 24)
        return bytes
    }

    // MARK: READ DVD STRUCTURE

    /// Lengths of the structures by format: physical (0), copyright (1), manufacturing (4).
    private static let structures: [(format: UInt8, count: Int)] = [(0x00, 2048), (0x01, 4), (0x04, 2048)]

    func dvdStructure(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        guard isDVD else { throw .check(.cannotReadMedium) }
        guard cdb[1] & 0x0F == 0 else { throw .field(1, bit: 3) }
        guard cdb[6] == 0 else { throw .field(6) }
        var body: [UInt8] = []
        if cdb[7] == 0xFF {
            // RDS: each can be read.
            for (format, count) in Self.structures {
                body += [format, 0x40]
                body.append(bigEndian: UInt16(count + 4))
            }
        } else if let (format, count) = Self.structures.first(where: { $0.format == cdb[7] }) {
            body = [UInt8](repeating: 0, count: count)
            if format == 0 { storePhysicalFormat(in: &body) }
        } else {
            throw .field(7)
        }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt16(body.count + 2))
        return bytes + [0, 0] + body
    }

    /// Physical format information of a read-only disc of one layer (MMC-6 table 425).
    private func storePhysicalFormat(in body: inout [UInt8]) {
        // DVD-ROM, book version 1; 120 mm, no rate told; embossed data.
        body[0...2] = [0x01, 0x0F, 0x01]
        let start: UInt32 = 0x03_0000
        body.store(start, at: 4)
        body.store(min(start.addingReportingOverflow(leadOutAddress &- 1).partialValue, 0xFF_FFFF), at: 8)
    }
}
