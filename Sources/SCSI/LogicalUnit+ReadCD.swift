import Bytes
import Devices

// READ CD (MMC-6 6.20) of a track in mode 1.
extension LogicalUnit {
    /// Which parts of a sector are wanted; those of mode 1 in their order.
    struct SectorParts {
        let hasSync: Bool
        let hasHeader: Bool
        let hasData: Bool
        let hasCodes: Bool

        static let syncCount = 12, headerCount = 4, dataCount = 2048, codesCount = 288

        /// Byte 9 of the command. Sector headers of a track in mode 1 have no subheader.
        init(_ flags: UInt8) {
            hasSync = flags & 0x80 != 0
            hasHeader = flags & 0x20 != 0
            hasData = flags & 0x10 != 0
            hasCodes = flags & 0x08 != 0
        }

        var byteCount: Int {
            (hasSync ? Self.syncCount : 0) + (hasHeader ? Self.headerCount : 0) + (hasData ? Self.dataCount : 0)
                + (hasCodes ? Self.codesCount : 0)
        }
    }

    static func sectorBytes(_ cdb: CDB) -> UInt64 {
        cdb.number(at: 6, width: 3) * UInt64(SectorParts(cdb[9]).byteCount)
    }

    func readCD(_ command: SCSICommand, into room: inout MutableRawSpan) async throws(Refusal) -> Int {
        let cdb = command.cdb
        // Any type, or mode 1: the track has no sectors of another.
        let type = cdb[1] >> 2 & 7
        guard type <= 5 else { throw .field(1, bit: 4) }
        guard type == 0 || type == 2 else { throw .check(.illegalModeForTrack) }
        // No error flags and no sub-channels can be had.
        guard cdb[9] & 0x06 == 0 else { throw .field(9, bit: 2) }
        guard cdb[10] & 7 == 0 else { throw .field(10, bit: 2) }
        let count = cdb.number(at: 6, width: 3)
        let range = try range(cdb.number(at: 2, width: 4), count)
        let parts = SectorParts(cdb[9])
        guard count > 0, parts.byteCount > 0 else { return 0 }
        if parts.byteCount == SectorParts.dataCount, parts.hasData {
            try await load(at: range.start, into: &room)
            return room.byteCount
        }
        return try await readSectors(range, parts, into: &room)
    }

    /// Sector by sector, each made whole and then cut to what is wanted of it.
    private func readSectors(_ range: ByteRange, _ parts: SectorParts, into room: inout MutableRawSpan)
        async throws(Refusal) -> Int
    {
        let generation = mediumGeneration
        var buffer = AlignedBuffer(byteCount: CDSector.byteCount)
        var filled = 0
        for start in stride(from: range.start, to: range.end, by: Int(blockSize)) {
            var bytes = buffer.mutableBytes
            var data = bytes._mutatingExtracting(CDSector.dataRange)
            try await load(at: start, into: &data)
            try checkMedium(generation)
            CDSector.complete(&bytes, address: UInt32(clamping: start >> blockShift), hasCodes: parts.hasCodes)
            for (range, isWanted) in [
                (CDSector.syncRange, parts.hasSync), (CDSector.headerRange, parts.hasHeader),
                (CDSector.dataRange, parts.hasData), (CDSector.codesRange, parts.hasCodes),
            ] where isWanted {
                room.copy(buffer.bytes.extracting(range), at: filled)
                filled += range.count
            }
        }
        return filled
    }
}
