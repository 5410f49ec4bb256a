import SCSI

/// Commands as initiators build them.
extension CDB {
    static let testUnitReady: CDB = [0x00]
    static func requestSense(descriptors: Bool = false) -> CDB { [0x03, descriptors ? 1 : 0, 0, 0, 252, 0] }
    static func inquiry(page: UInt8? = nil, _ length: UInt16 = 255) -> CDB {
        CDB([0x12, page == nil ? 0 : 1, page ?? 0] + length.bigEndianBytes + [0])
    }
    static func reportUnits(_ selection: UInt8 = 0, _ length: UInt32 = 4096) -> CDB {
        CDB([0xA0, 0, selection, 0, 0, 0] + length.bigEndianBytes + [0, 0])
    }
    static let readCapacity10: CDB = [0x25]
    static func readCapacity16(_ length: UInt32 = 32) -> CDB {
        CDB([0x9E, 0x10] + UInt64(0).bigEndianBytes + length.bigEndianBytes + [0, 0])
    }

    static func six(_ code: UInt8, _ address: UInt32, _ count: UInt8) -> CDB {
        CDB([code] + Array(address.bigEndianBytes.dropFirst()) + [count, 0])
    }
    static func ten(_ code: UInt8, _ address: UInt32, _ count: UInt16, flags: UInt8 = 0, group: UInt8 = 0) -> CDB {
        CDB([code, flags] + address.bigEndianBytes + [group] + count.bigEndianBytes + [0])
    }
    static func twelve(_ code: UInt8, _ address: UInt32, _ count: UInt32, flags: UInt8 = 0) -> CDB {
        CDB([code, flags] + address.bigEndianBytes + count.bigEndianBytes + [0, 0])
    }
    static func sixteen(_ code: UInt8, _ address: UInt64, _ count: UInt32, flags: UInt8 = 0) -> CDB {
        CDB([code, flags] + address.bigEndianBytes + count.bigEndianBytes + [0, 0])
    }
}
