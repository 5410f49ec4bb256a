/// A logical unit number as the eight bytes of its field (SAM-5 4.7).
enum LUN {
    /// The unit's number, where the field names a unit of this device in one of the single-level forms: peripheral device
    /// with bus 0 (4.7.7.2), flat space (4.7.7.3), or extended flat space (4.7.7.5.2). Nil for all else.
    static func decode(_ field: UInt64) -> UInt16? {
        let first = field >> 48
        guard field << 16 == 0 else { return extended(field) }
        switch first >> 14 {
        case 0: return first >> 8 == 0 ? UInt16(first) : nil
        case 1: return UInt16(first & 0x3FFF)
        default: return extended(field)
        }
    }

    /// D2h and 24 bits of number: the second level and all that follows are zero.
    private static func extended(_ field: UInt64) -> UInt16? {
        guard field >> 56 == 0xD2, field << 32 == 0 else { return nil }
        return UInt16(exactly: field >> 32 & 0xFF_FFFF)
    }

    /// How REPORT LUNS tells a number: in the shortest form that holds it.
    static func encode(_ number: UInt16) -> UInt64 {
        switch number {
        case 0..<0x100: UInt64(number) << 48
        case 0x100..<0x4000: (0x4000 | UInt64(number)) << 48
        default: 0xD2 << 56 | UInt64(number) << 32
        }
    }
}
