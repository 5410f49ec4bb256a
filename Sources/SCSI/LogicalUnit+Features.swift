import Devices

// GET CONFIGURATION and GET EVENT STATUS NOTIFICATION: what a drive can do, and what happened to its medium.
extension LogicalUnit {
    private enum Profile { static let none: UInt16 = 0x0000, cd: UInt16 = 0x0008, dvd: UInt16 = 0x0010 }

    private var profile: UInt16 { !drive.isReady ? Profile.none : isDVD ? Profile.dvd : Profile.cd }

    /// A feature descriptor (MMC-6 5.3), with its version and flags.
    private func feature(
        _ code: UInt16, version: UInt8 = 0, isPersistent: Bool = false, isCurrent: Bool, _ data: [UInt8] = []
    )
        -> (code: UInt16, isCurrent: Bool, bytes: [UInt8])
    {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: code)
        bytes += [version << 2 | (isPersistent ? 2 : 0) | (isCurrent ? 1 : 0), UInt8(data.count)]
        return (code, isCurrent, bytes + data)
    }

    private var features: [(code: UInt16, isCurrent: Bool, bytes: [UInt8])] {
        let profile = profile
        let profiles: [UInt8] = [0, 0x10, profile == Profile.dvd ? 1 : 0, 0, 0, 0x08, profile == Profile.cd ? 1 : 0, 0]
        return [
            feature(0x0000, isPersistent: true, isCurrent: true, profiles),
            // Core: of the SCSI family.
            feature(0x0001, version: 2, isPersistent: true, isCurrent: true, [0, 0, 0, 1, 0, 0, 0, 0]),
            // Removable Medium: a tray that loads, ejects and locks.
            feature(0x0003, version: 1, isPersistent: true, isCurrent: true, [0x39, 0, 0, 0]),
            // Random Readable: blocks of 2048 bytes, one by one, with the error recovery page.
            feature(
                0x0010, isCurrent: profile != Profile.none, [0, 0, 0x08, 0, 0, profile == Profile.dvd ? 16 : 1, 1, 0]),
            // CD Read, DVD Read.
            feature(0x001E, version: 2, isCurrent: profile == Profile.cd, [0, 0, 0, 0]),
            feature(0x001F, isCurrent: profile == Profile.dvd),
            // Power Management, Timeout.
            feature(0x0100, isPersistent: true, isCurrent: true),
            feature(0x0105, version: 1, isPersistent: true, isCurrent: true, [0, 0, 0, 0]),
        ]
    }

    /// GET CONFIGURATION (MMC-6 6.5).
    func configuration(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let start = UInt16(truncatingIfNeeded: command.cdb.number(at: 2, width: 2))
        let chosen: [UInt8]
        switch command.cdb[1] & 3 {
        case 0: chosen = features.filter { $0.code >= start }.flatMap(\.bytes)
        case 1: chosen = features.filter { $0.code >= start && $0.isCurrent }.flatMap(\.bytes)
        case 2: chosen = features.filter { $0.code == start }.flatMap(\.bytes)
        default: throw .field(1, bit: 1)
        }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt32(4 + chosen.count))
        bytes += [0, 0]
        bytes.append(bigEndian: profile)
        return bytes + chosen
    }

    // MARK: GET EVENT STATUS NOTIFICATION

    private static let mediaClass: UInt8 = 4

    /// GET EVENT STATUS NOTIFICATION (MMC-6 6.6), polled, of the media class. An event that there is room for has been
    /// told.
    func eventStatus(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        // Nobody is notified later of what is not known now.
        guard cdb.has(1, at: 1) else { throw .field(1, bit: 0) }
        let supported: UInt8 = 1 << Self.mediaClass
        // NEA: none of the classes that were asked for has events.
        guard cdb[4] & supported != 0 else { return [0, 2, 0x80, supported] }
        let id = ObjectIdentifier(command.nexus)
        let event = mediaEvents[id]?.first
        if event != nil, cdb.number(at: 7, width: 2) >= 8 {
            mediaEvents[id]?.removeFirst()
            if mediaEvents[id]?.isEmpty == true { mediaEvents[id] = nil }
        }
        let state: UInt8 = (drive.isTrayOpen ? 1 : 0) | (drive.isReady ? 2 : 0)
        return [0, 6, Self.mediaClass, supported, event?.rawValue ?? 0, state, 0, 0]
    }
}
