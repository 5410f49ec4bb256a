import Bytes

/// The basic header segment: the 48 bytes that every PDU begins with (RFC 7143 11.2.1). What its fields beyond the common
/// ones mean depends on the opcode; the types of `Wire` name them.
struct PDUHeader: Equatable, Sendable {
    static let byteCount = 48
    /// The value of a tag that names nothing.
    static let noTag: UInt32 = 0xFFFF_FFFF

    /// Six bits; may be one that we do not know.
    var opcode: UInt8
    /// The I bit.
    var isImmediate = false
    /// Byte 1.
    var flags: UInt8 = 0
    /// Bytes 2 and 3.
    var specific: UInt16 = 0
    /// Bytes of additional header segments, a multiple of four up to 1020.
    var ahsCount = 0
    /// Bytes of data without padding, 24 bits.
    var dataCount = 0
    /// Bytes 8 to 15: the LUN, or what the opcode has there.
    var lun: UInt64 = 0
    /// The initiator task tag.
    var tag = PDUHeader.noTag
    /// Bytes 20 to 47.
    var word20: UInt32 = 0
    var word24: UInt32 = 0
    var word28: UInt32 = 0
    var word32: UInt32 = 0
    var word36: UInt32 = 0
    var word40: UInt32 = 0
    var word44: UInt32 = 0

    init(opcode: UInt8) { self.opcode = opcode }

    /// Precondition: 48 bytes are there.
    init(_ bytes: RawSpan) {
        let first = bytes.bigEndian(UInt32.self, at: 0)
        opcode = UInt8(first >> 24 & 0x3F)
        isImmediate = first >> 24 & 0x40 != 0
        flags = UInt8(truncatingIfNeeded: first >> 16)
        specific = UInt16(truncatingIfNeeded: first)
        let lengths = bytes.bigEndian(UInt32.self, at: 4)
        ahsCount = Int(lengths >> 24) * 4
        dataCount = Int(lengths & 0xFF_FFFF)
        lun = bytes.bigEndian(at: 8)
        tag = bytes.bigEndian(at: 16)
        word20 = bytes.bigEndian(at: 20)
        word24 = bytes.bigEndian(at: 24)
        word28 = bytes.bigEndian(at: 28)
        word32 = bytes.bigEndian(at: 32)
        word36 = bytes.bigEndian(at: 36)
        word40 = bytes.bigEndian(at: 40)
        word44 = bytes.bigEndian(at: 44)
    }

    /// Writes the 48 bytes at `position`.
    func store(_ bytes: inout MutableRawSpan, at position: Int) {
        let first = UInt32(opcode & 0x3F | (isImmediate ? 0x40 : 0)) << 24 | UInt32(flags) << 16 | UInt32(specific)
        bytes.storeBigEndian(first, at: position)
        bytes.storeBigEndian(UInt32(ahsCount / 4) << 24 | UInt32(dataCount), at: position + 4)
        bytes.storeBigEndian(lun, at: position + 8)
        bytes.storeBigEndian(tag, at: position + 16)
        bytes.storeBigEndian(word20, at: position + 20)
        bytes.storeBigEndian(word24, at: position + 24)
        bytes.storeBigEndian(word28, at: position + 28)
        bytes.storeBigEndian(word32, at: position + 32)
        bytes.storeBigEndian(word36, at: position + 36)
        bytes.storeBigEndian(word40, at: position + 40)
        bytes.storeBigEndian(word44, at: position + 44)
    }

    /// The 48 bytes.
    var encoded: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.byteCount)
        bytes.withMutableBytes { store(&$0, at: 0) }
        return bytes
    }

    func has(_ flag: UInt8) -> Bool { flags & flag != 0 }
}

/// What the initiator sends (RFC 7143 11.2.1.2).
enum InitiatorOpcode: UInt8, CaseIterable {
    case nopOut = 0x00, scsiCommand = 0x01, taskManagement = 0x02, login = 0x03, text = 0x04, dataOut = 0x05
    case logout = 0x06, snack = 0x10
}

/// What the target sends.
enum TargetOpcode: UInt8, CaseIterable {
    case nopIn = 0x20, scsiResponse = 0x21, taskManagement = 0x22, login = 0x23, text = 0x24, dataIn = 0x25
    case logout = 0x26, readyToTransfer = 0x31, async = 0x32, reject = 0x3F
}

/// One kind of PDU: named fields for those of the header. What a kind reserves is dropped when it is read.
protocol PDU: Equatable, Sendable {
    init(_ header: PDUHeader)
    var header: PDUHeader { get }
}

/// Bytes that bring a segment up to whole words (RFC 7143 11.1).
func padding(_ count: Int) -> Int { -count & 3 }

/// The order of sequence numbers, which wrap (RFC 1982).
struct SerialNumber {
    static func isBefore(_ one: UInt32, _ other: UInt32) -> Bool { Int32(bitPattern: one &- other) < 0 }
}
