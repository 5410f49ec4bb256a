import Devices

/// Standard INQUIRY data (SPC-4 6.6.2).
struct StandardInquiry {
    /// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE.
    let type: UInt8
    let isRemovable: Bool
    let product: String
    /// Standards that the unit conforms to, by their version descriptors (SPC-4 table 142).
    var versions: [UInt16] = []

    static let vendor = "NACRE"
    static let revision = "1.0"

    var bytes: [UInt8] {
        var bytes: [UInt8] = [
            type, isRemovable ? 0x80 : 0,
            // SPC-4.
            0x06,
            // HISUP; the format of this data.
            0x10 | 0x02,
            // ADDITIONAL LENGTH.
            91,
            0, 0,
            // CMDQUE.
            0x02,
        ]
        bytes.append(text: Self.vendor, width: 8)
        bytes.append(text: product, width: 16)
        bytes.append(text: Self.revision, width: 4)
        bytes += [UInt8](repeating: 0, count: 96 - bytes.count)
        for (index, version) in versions.prefix(8).enumerated() { bytes.store(version, at: 58 + 2 * index) }
        return bytes
    }
}

extension LogicalUnit {
    private var deviceType: UInt8 { isDisc ? 0x05 : 0x00 }

    /// SAM-5, SPC-4, and SBC-3 or MMC-6.
    private var versions: [UInt16] { [0x00A0, 0x0460, isDisc ? 0x04E0 : 0x04C0] }

    func inquiry(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let page = command.cdb[2]
        if command.cdb.has(1, at: 1) { return try vitalProductData(page) }
        guard page == 0 else { throw .field(2) }
        return StandardInquiry(
            type: deviceType, isRemovable: drive.kind != .fixed, product: isDisc ? "CD-ROM" : "DISK",
            versions: versions
        ).bytes
    }

    // MARK: Vital product data

    private func vitalProductData(_ page: UInt8) throws(Refusal) -> [UInt8] {
        guard supportedPages.contains(page) else { throw .field(2) }
        let body =
            switch page {
            case 0x00: supportedPages
            case 0x80: Array(printable(serial))
            case 0x83: designators
            case 0xB0: blockLimits
            case 0xB1: blockCharacteristics
            default: provisioning
            }
        return [deviceType, page, UInt8(body.count >> 8), UInt8(truncatingIfNeeded: body.count)] + body
    }

    private var supportedPages: [UInt8] { isDisc ? [0x00, 0x80, 0x83] : [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2] }

    /// Device Identification (SPC-4 7.8.6): the unit by a locally assigned NAA and by the vendor's word, then the target
    /// port and the target device by the transport's names.
    private var designators: [UInt8] {
        var naa: [UInt8] = []
        naa.append(bigEndian: 0x3 << 60 | Self.hash(target.name, drive.name) & ~(0xF << 60))
        var vendor: [UInt8] = []
        vendor.append(text: StandardInquiry.vendor, width: 8)
        vendor += printable(serial)
        let device = Array(target.name.utf8.prefix(Self.nameLimit))
        // iSCSI's names (SAM-5 annex A), with PIV.
        return designator(codeSet: 1, kind: 3, naa) + designator(codeSet: 2, kind: 1, vendor)
            + designator(codeSet: 0x53, kind: 0x98, padded(device + Array(",t,0x0001".utf8)))
            + designator(codeSet: 0x51, kind: 0x94, [0, 0, 0, 1])
            + designator(codeSet: 0x53, kind: 0xA8, padded(device))
    }

    private func designator(codeSet: UInt8, kind: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [codeSet, kind, 0, UInt8(bytes.count)] + bytes
    }

    /// SCSI name strings end with a zero and take a multiple of four bytes.
    private func padded(_ text: [UInt8]) -> [UInt8] {
        text + [UInt8](repeating: 0, count: 4 - text.count % 4)
    }

    /// Bytes of a name (RFC 7143 allows 223); what is derived from it fits a designator's 255.
    private static var nameLimit: Int { 223 }

    // MARK: Names

    /// A serial number is at most this long here.
    static var serialLimit: Int { 64 }

    private func printable(_ text: String) -> some Sequence<UInt8> {
        text.utf8.prefix(Self.serialLimit).map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "_") }
    }

    /// The same for the same target and drive, whenever and wherever they are made.
    static func serial(target: String, drive: String) -> String {
        let digits = String(hash(target, drive), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// FNV-1a of the two names with a zero byte between them.
    private static func hash(_ target: String, _ drive: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in Array(target.utf8) + [0] + Array(drive.utf8) {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        return hash
    }
}
