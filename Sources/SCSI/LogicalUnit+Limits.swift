import Block
import Devices

// What the unit tells of its blocks: the SBC-3 pages of vital product data and READ CAPACITY.
extension LogicalUnit {
    /// Blocks of one COMPARE AND WRITE: its field has one byte.
    static var compareLimit: UInt64 { 255 }
    /// Blocks of one WRITE SAME: bounds how long one command can write a pattern (16 MiB).
    static var writeSameLimit: UInt64 { 1 << 15 }
    /// Blocks of one UNMAP (512 MiB).
    static var unmapLimit: UInt64 { 1 << 20 }
    /// Block descriptors of one UNMAP.
    static var unmapDescriptorLimit: Int { 256 }

    /// The logarithm of how many blocks a physical one has: what the storage prefers, up to a page.
    var physicalExponent: UInt64 {
        let limits = drive.limits
        let physical = max(limits.requestAlignment, min(limits.preferredTransfer, 4096))
        return UInt64(max(0, 63 - physical.leadingZeroBitCount - Int(blockShift)))
    }

    /// Block Limits (SBC-3 6.6.4).
    var blockLimits: [UInt8] {
        let limits = drive.limits
        // WSNZ is 0: WRITE SAME of no blocks means all that follow.
        var page = [UInt8](repeating: 0, count: 0x3C)
        page[1] = UInt8(Self.compareLimit)
        page.store(UInt16(1 << min(physicalExponent, 15)), at: 2)
        page.store(UInt32(UInt64(SCSITarget.maxTransfer) >> blockShift), at: 4)
        page.store(UInt32(clamping: min(limits.preferredTransfer, UInt64(SCSITarget.maxTransfer)) >> blockShift), at: 8)
        if isThin {
            page.store(UInt32(Self.unmapLimit), at: 16)
            page.store(UInt32(Self.unmapDescriptorLimit), at: 20)
            page.store(UInt32(clamping: max(limits.discardAlignment, blockSize) >> blockShift), at: 24)
            // UGAVALID, alignment 0.
            page[28] = 0x80
        }
        page.store(Self.writeSameLimit, at: 32)
        return page
    }

    /// Block Device Characteristics (SBC-3 6.6.3): a medium that does not rotate.
    var blockCharacteristics: [UInt8] {
        var page = [UInt8](repeating: 0, count: 0x3C)
        page[1] = 1
        return page
    }

    /// Logical Block Provisioning (SBC-3 6.6.5).
    var provisioning: [UInt8] {
        guard isThin else { return [0, 0, 0, 0] }
        // LBPU, LBPWS, LBPWS10, LBPRZ; thin provisioned.
        return [0, 0xE0 | (unmapsToZero ? 0x04 : 0), 2, 0]
    }

    // MARK: READ CAPACITY

    private func lastBlock() throws(Refusal) -> UInt64 {
        let count = blockCount
        // A medium without a single block has no last one to name.
        guard count > 0 else { throw .check(.mediumFormatCorrupted) }
        return count - 1
    }

    func readCapacity10() throws(Refusal) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt32(clamping: try lastBlock()))
        bytes.append(bigEndian: UInt32(blockSize))
        return bytes
    }

    func readCapacity16() throws(Refusal) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: try lastBlock())
        bytes.append(bigEndian: UInt32(blockSize))
        bytes += [UInt8](repeating: 0, count: 20)
        bytes[13] = UInt8(physicalExponent)
        // LBPME and LBPRZ.
        if isThin { bytes[14] = 0x80 | (unmapsToZero ? 0x40 : 0) }
        return bytes
    }
}
