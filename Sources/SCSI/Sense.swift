import Bytes

/// Why a command ended with CHECK CONDITION: sense data as a value, put into bytes when the command ends.
struct Sense: Equatable, Sendable {
    /// The sense-key specific field (SPC-4 4.5.2.4).
    enum Specific: Equatable, Sendable {
        case none
        /// ILLEGAL REQUEST: the byte in error and, where known, its most significant bit in error.
        case field(inCDB: Bool, byte: UInt16, bit: UInt8?)
    }

    var code: SenseCode
    var specific: Specific = .none
    /// INFORMATION: what it means depends on the command (the block in error, the first differing byte).
    var information: UInt64?

    init(_ code: SenseCode, specific: Specific = .none, information: UInt64? = nil) {
        self.code = code
        self.specific = specific
        self.information = information
    }

    /// INVALID FIELD IN CDB that points at the field.
    static func field(_ byte: Int, bit: Int? = nil) -> Sense {
        Sense(.invalidFieldInCDB, specific: .field(inCDB: true, byte: UInt16(byte), bit: bit.map { UInt8($0) }))
    }

    /// INVALID FIELD IN PARAMETER LIST that points at the field.
    static func parameter(_ byte: Int, bit: Int? = nil) -> Sense {
        Sense(
            .invalidFieldInParameterList,
            specific: .field(inCDB: false, byte: UInt16(clamping: byte), bit: bit.map { UInt8($0) }))
    }
}

/// Why a command did not end with GOOD.
enum Refusal: Error, Equatable {
    case check(Sense)
    case reservationConflict

    static func check(_ code: SenseCode) -> Refusal { .check(Sense(code)) }
    static func field(_ byte: Int, bit: Int? = nil) -> Refusal { .check(.field(byte, bit: bit)) }
    static func parameter(_ byte: Int, bit: Int? = nil) -> Refusal { .check(.parameter(byte, bit: bit)) }
}

extension Sense {
    /// The sense data in fixed (SPC-4 4.5.3) or descriptor format (4.5.2).
    func bytes(asDescriptors: Bool) -> [UInt8] { asDescriptors ? descriptors : fixed }

    private var fixed: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 18)
        bytes[0] = 0x70
        bytes[2] = code.key.rawValue
        // INFORMATION has 32 bits here; a larger number cannot be told in this format.
        if let information, let short = UInt32(exactly: information) {
            bytes[0] |= 0x80
            bytes.store(short, at: 3)
        }
        bytes[7] = UInt8(bytes.count - 8)
        bytes[12] = code.code
        bytes[13] = code.qualifier
        storeSpecific(in: &bytes, at: 15)
        return bytes
    }

    private var descriptors: [UInt8] {
        var bytes: [UInt8] = [0x72, code.key.rawValue, code.code, code.qualifier, 0, 0, 0, 0]
        if let information {
            bytes += [0x00, 0x0A, 0x80, 0x00] + [UInt8](repeating: 0, count: 8)
            bytes.store(information, at: bytes.count - 8)
        }
        if specific != .none {
            bytes += [0x02, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]
            storeSpecific(in: &bytes, at: bytes.count - 4)
        }
        bytes[7] = UInt8(bytes.count - 8)
        return bytes
    }

    private func storeSpecific(in bytes: inout [UInt8], at offset: Int) {
        guard case .field(let inCDB, let byte, let bit) = specific else { return }
        bytes[offset] = 0x80 | (inCDB ? 0x40 : 0) | (bit.map { 0x08 | $0 & 7 } ?? 0)
        bytes.store(byte, at: offset + 1)
    }
}

extension [UInt8] {
    /// Stores a big-endian integer. Precondition: it fits.
    mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        withMutableBytes { $0.storeBigEndian(value, at: offset) }
    }

    /// Appends a big-endian integer.
    mutating func append<T: FixedWidthInteger & BitwiseCopyable>(bigEndian value: T) {
        let width = T.bitWidth / 8
        append(contentsOf: repeatElement(0, count: width))
        store(value, at: count - width)
    }

    /// Appends printable ASCII in a field of `width` bytes, cut or padded with spaces; other characters become `_`.
    mutating func append(text: String, width: Int) {
        let characters = text.utf8.prefix(width).map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "_") }
        append(contentsOf: characters)
        append(contentsOf: repeatElement(UInt8(ascii: " "), count: width - characters.count))
    }
}
