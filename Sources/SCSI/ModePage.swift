/// One mode page: its bytes with the header, and which bits of them MODE SELECT may change.
struct ModePage: Equatable {
    let bytes: [UInt8]
    let changeable: [UInt8]

    var code: UInt8 { bytes[0] & 0x3F }

    /// `count` bytes with the given ones set, after a header of page code and length.
    init(_ code: UInt8, count: Int, _ values: [Int: UInt8] = [:], changeable: [Int: UInt8] = [:]) {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes[0] = code
        bytes[1] = UInt8(count - 2)
        var mask = bytes
        for (index, value) in values { bytes[index] = value }
        for (index, value) in changeable { mask[index] = value }
        self.bytes = bytes
        self.changeable = mask
    }
}

/// What MODE SELECT changes. Nothing is saved: after a reset the unit is as it was made.
struct ModeParameters: Equatable, Sendable {
    /// WCE: writes may be told done before they are durable.
    var hasWriteCache = true
    /// D_SENSE.
    var usesDescriptors = false
    /// SWP.
    var isWriteProtected = false

    /// Caching (SBC-3 6.5.5).
    var caching: ModePage {
        ModePage(0x08, count: 20, [2: hasWriteCache ? 0x04 : 0], changeable: [2: 0x04])
    }

    /// Control (SPC-4 7.5.8): GLTSD, unrestricted reordering, no limit on how long the unit is busy.
    var control: ModePage {
        ModePage(
            0x0A, count: 12,
            [2: 0x02 | (usesDescriptors ? 0x04 : 0), 3: 0x10, 4: isWriteProtected ? 0x08 : 0, 8: 0xFF, 9: 0xFF],
            changeable: [2: 0x04, 4: 0x08])
    }

    /// Takes what a selected page sets.
    mutating func take(_ page: [UInt8]) {
        switch page[0] & 0x3F {
        case 0x08: hasWriteCache = page[2] & 0x04 != 0
        case 0x0A:
            usesDescriptors = page[2] & 0x04 != 0
            isWriteProtected = page[4] & 0x08 != 0
        default: break
        }
    }
}

extension ModePage {
    /// Read-Write Error Recovery (SBC-3 6.5.8; MMC-6 7.3): nothing is retried or remapped here.
    static let errorRecovery = ModePage(0x01, count: 12)
    /// Informational Exceptions Control (SPC-4 7.5.12): DEXCPT, none are told.
    static let exceptions = ModePage(0x1C, count: 12, [2: 0x08])
    /// CD Audio Control (MMC-3): IMMED, two ports at full volume.
    static let audio = ModePage(0x0E, count: 16, [2: 0x04, 8: 0x01, 9: 0xFF, 10: 0x02, 11: 0xFF])
    /// Power Condition (SPC-4 7.5.13): no timers.
    static let power = ModePage(0x1A, count: 12)
    /// Timeout and Protect (MMC-6 7.8): no time limits.
    static let timeout = ModePage(0x1D, count: 10)

    /// CD/DVD Capabilities and Mechanical Status (MMC-3 6.3.11), which initiators still ask.
    static func capabilities(isLocked: Bool) -> ModePage {
        // 50 times 176 kB/s, what nobody waits for here.
        let speed: [UInt8] = [0x22, 0x60]
        return ModePage(
            0x2A, count: 22,
            [
                // Reads DVD-RAM, DVD-R, DVD-ROM, CD-RW, CD-R; multi-session, mode 2 form 2 and 1.
                2: 0x3B, 4: 0x70,
                // A tray that ejects and locks.
                6: 0x29 | (isLocked ? 0x02 : 0),
                8: speed[0], 9: speed[1], 12: 0x08, 14: speed[0], 15: speed[1],
            ])
    }
}
