import Block
import Bytes
import Devices

// WRITE SAME, UNMAP and GET LBA STATUS: blocks without data of their own.
extension LogicalUnit {
    private static var unmapBit: UInt8 { 0x08 }
    private static var anchorBit: UInt8 { 0x10 }
    /// NDOB: there is no data; zeros are meant. WRITE SAME (16) alone has it.
    private static func hasNoData(_ cdb: CDB) -> Bool { cdb.code == 0x93 && cdb.has(1, at: 1) }

    /// The blocks of data that WRITE SAME wants: one. Initiators older than NDOB send none with UNMAP.
    static func sameBlocks(_ command: SCSICommand) -> UInt64 {
        if hasNoData(command.cdb) { return 0 }
        return command.cdb.has(unmapBit, at: 1) && command.expectedLength == 0 ? 0 : 1
    }

    func writeSame(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        let cdb = command.cdb
        // No block can be anchored: ANC_SUP is 0.
        if cdb.has(Self.anchorBit, at: 1) { throw .field(1, bit: 4) }
        let unmaps = cdb.has(Self.unmapBit, at: 1)
        if unmaps, !isThin { throw .field(1, bit: 3) }
        if !Self.hasNoData(cdb), data.byteCount > 0, command.expectedLength != blockSize {
            throw .check(.invalidFieldInInformationUnit)
        }
        let range = try sameRange(cdb)
        guard !range.isEmpty else { return }
        let isZero = data.byteCount == 0 || data.isZero
        try await hold(range)
        defer { writes.unlock(range) }
        if isZero {
            try await zero(range, unmaps: unmaps)
        } else {
            try await fill(range, with: data)
        }
    }

    /// No blocks mean all from the address on.
    private func sameRange(_ cdb: CDB) throws(Refusal) -> ByteRange {
        var (address, count) = cdb.blocks
        if count == 0 {
            _ = try range(address, 0)
            count = blockCount - address
        }
        guard count <= Self.writeSameLimit else { throw .field(cdb.code == 0x93 ? 10 : 7) }
        return try range(address, count)
    }

    private func zero(_ range: ByteRange, unmaps: Bool) async throws(Refusal) {
        var flags: ZeroFlags = mode.hasWriteCache ? [] : .fua
        if unmaps { flags.insert(.mayUnmap) }
        do throws(BlockError) {
            try await drive.zero(range, flags: flags)
        } catch {
            throw refusal(error, .write)
        }
    }

    private func fill(_ range: ByteRange, with block: RawSpan) async throws(Refusal) {
        let generation = mediumGeneration
        var buffer = AlignedBuffer(byteCount: Int(min(range.count, Self.pieceLimit)))
        var bytes = buffer.mutableBytes
        let count = bytes.byteCount
        for start in stride(from: 0, to: count, by: Int(blockSize)) { bytes.copy(block, at: start) }
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(Self.pieceLimit)
            try checkMedium(generation)
            try await store(buffer.bytes.extracting(0..<Int(part.count)), at: part.start, writeFlags(fua: false))
            rest = rest.dropping(part.count)
        }
    }

    // MARK: UNMAP

    /// UNMAP (SBC-3 5.28). All descriptors are checked before the first is carried out.
    func unmap(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        if command.cdb.has(1, at: 1) { throw .field(1, bit: 0) }
        guard data.byteCount > 0 else { return }
        guard data.byteCount >= 8 else { throw .check(.parameterListLength) }
        // What is announced and did not come is left out; so is part of a descriptor.
        let length = min(Int(data.bigEndian(UInt16.self, at: 2)), data.byteCount - 8) / 16
        guard length <= Self.unmapDescriptorLimit else { throw .parameter(2) }
        var total: UInt64 = 0
        for index in 0..<length {
            let range = try unmapRange(data, index)
            total += range.count >> blockShift
            guard total <= Self.unmapLimit else { throw .parameter(8 + 16 * index + 8) }
        }
        let generation = mediumGeneration
        for index in 0..<length {
            let range = try unmapRange(data, index)
            guard !range.isEmpty else { continue }
            try checkMedium(generation)
            try await hold(range)
            defer { writes.unlock(range) }
            try checkMedium(generation)
            try await unmap(range)
        }
    }

    private func unmapRange(_ data: RawSpan, _ index: Int) throws(Refusal) -> ByteRange {
        let offset = 8 + 16 * index
        return try range(data.bigEndian(at: offset), UInt64(data.bigEndian(UInt32.self, at: offset + 8)))
    }

    private func unmap(_ range: ByteRange) async throws(Refusal) {
        do throws(BlockError) {
            if unmapsToZero {
                try await drive.unmap(range, flags: mode.hasWriteCache ? [] : .fua)
            } else {
                try await drive.discard(range)
            }
        } catch {
            throw refusal(error, .write)
        }
    }

    // MARK: GET LBA STATUS

    /// Runs that one answer tells at most, whatever it has room for: each costs a look at the drive.
    private static var statusLimit: Int { 128 }

    /// GET LBA STATUS (SBC-3 5.6).
    func blockStatus(_ command: SCSICommand) async throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        let start = cdb.blocks.address
        guard start < blockCount else { throw .check(.addressOutOfRange) }
        let room = min(cdb.number(at: 10, width: 4), Operation.answerLimit)
        // At least one run is found, though the answer may be cut.
        let limit = min(max(room, 24) - 8, UInt64(16 * Self.statusLimit)) / 16
        var runs: [(address: UInt64, count: UInt64, isMapped: Bool)] = []
        var address = start
        var looks = 0
        while address < blockCount, looks < Self.statusLimit {
            let run = try await statusRun(address)
            looks += 1
            if let last = runs.last, last.isMapped == run.isMapped {
                runs[runs.count - 1].count += run.count
            } else if runs.count == Int(limit) {
                break
            } else {
                runs.append((address, run.count, run.isMapped))
            }
            address += run.count
        }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt32(4 + 16 * runs.count))
        bytes.append(bigEndian: UInt32(0))
        for run in runs {
            bytes.append(bigEndian: run.address)
            bytes.append(bigEndian: UInt32(clamping: run.count))
            bytes += [run.isMapped ? 0 : 1, 0, 0, 0]
            // What a longer run's field cannot hold is told by no other.
            if run.count > UInt64(UInt32.max) { break }
        }
        bytes.store(UInt32(bytes.count - 4), at: 0)
        return bytes
    }

    /// Whole blocks from `address` on that are mapped or not. A block that is partly mapped is.
    private func statusRun(_ address: UInt64) async throws(Refusal) -> (count: UInt64, isMapped: Bool) {
        let range = try range(address, min(blockCount - address, 1 << 32))
        guard !range.isEmpty else { throw .check(.addressOutOfRange) }
        do throws(BlockError) {
            let status = try await drive.status(of: range)
            let count = status.count >> blockShift
            if count == 0 { return (1, true) }
            return (count, status.flags.contains(.data) || !status.flags.contains(.zero))
        } catch {
            throw refusal(error, .read)
        }
    }
}
