import Block
import Bytes

// VERIFY and WRITE AND VERIFY of all lengths, PRE-FETCH, SYNCHRONIZE CACHE.
extension LogicalUnit {
    /// Verification and the like go through the medium in pieces of this many bytes.
    static var pieceLimit: UInt64 { 256 << 10 }

    /// BYTCHK (SBC-3 table 110): what the blocks are compared with.
    enum ByteCheck: UInt8 { case nothing = 0, eachBlock = 1, oneBlock = 3 }

    /// The blocks of data that VERIFY wants.
    static func verifyBlocks(_ command: SCSICommand) -> UInt64 {
        let count = command.cdb.blocks.count
        switch byteCheck(command.cdb) {
        case .eachBlock: return count
        case .oneBlock: return min(count, 1)
        case .nothing, nil: return 0
        }
    }

    private static func byteCheck(_ cdb: CDB) -> ByteCheck? { ByteCheck(rawValue: cdb[1] >> 1 & 3) }

    func verify(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        guard let check = Self.byteCheck(command.cdb) else { throw .field(1, bit: 2) }
        let range = try range(command.cdb)
        // MAXIMUM TRANSFER LENGTH binds VERIFY, too, even where it moves nothing.
        guard range.count <= UInt64(SCSITarget.maxTransfer) else { throw .check(.invalidFieldInCDB) }
        try await verify(range, check, data)
    }

    /// WRITE AND VERIFY: what is written is durable, and is read back.
    func writeAndVerify(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        guard let check = Self.byteCheck(command.cdb), check != .oneBlock else { throw .field(1, bit: 2) }
        // Of what the command names, what came.
        let range = try range(command.cdb).prefix(UInt64(data.byteCount))
        guard !range.isEmpty else { return }
        try await hold(range)
        defer { writes.unlock(range) }
        let generation = mediumGeneration
        try await store(data, at: range.start, .fua)
        try checkMedium(generation)
        try await verify(range, check, data)
    }

    private func verify(_ range: ByteRange, _ check: ByteCheck, _ data: RawSpan) async throws(Refusal) {
        let generation = mediumGeneration
        var buffer = AlignedBuffer(byteCount: Int(min(range.count, Self.pieceLimit)))
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(Self.pieceLimit)
            var bytes = buffer.mutableBytes
            var room = bytes._mutatingExtracting(0..<Int(part.count))
            try await load(at: part.start, into: &room)
            try checkMedium(generation)
            let from = Int(part.start - range.start)
            if let place = difference(buffer.bytes.extracting(0..<Int(part.count)), check, data, from) {
                throw .check(Sense(.miscompare, information: UInt64(place)))
            }
            rest = rest.dropping(part.count)
        }
    }

    /// Where, in the bytes of the command's data, the medium's bytes first differ.
    private func difference(_ bytes: RawSpan, _ check: ByteCheck, _ data: RawSpan, _ from: Int) -> Int? {
        switch check {
        case .nothing: return nil
        case .eachBlock:
            return bytes.firstDifference(from: data.extracting(from..<from + bytes.byteCount)).map { from + $0 }
        case .oneBlock:
            for start in stride(from: 0, to: bytes.byteCount, by: Int(blockSize)) {
                let block = bytes.extracting(start..<start + Int(blockSize))
                if let place = block.firstDifference(from: data) { return place }
            }
            return nil
        }
    }

    /// PRE-FETCH: the range is checked; GOOD says that not all of it may be in a cache.
    func prefetch(_ command: SCSICommand) throws(Refusal) { _ = try range(command.cdb) }

    /// SYNCHRONIZE CACHE: all is made durable, whatever the range. With IMMED, too, the status waits.
    func synchronize(_ command: SCSICommand) async throws(Refusal) {
        _ = try range(command.cdb)
        try await flush()
    }
}

extension RawSpan {
    /// The first byte in which two runs of one length differ.
    func firstDifference(from other: RawSpan) -> Int? {
        precondition(byteCount == other.byteCount)
        var offset = 0
        while byteCount - offset >= 8 {
            let difference: UInt64 = bigEndian(at: offset) ^ other.bigEndian(at: offset)
            if difference != 0 { return offset + difference.leadingZeroBitCount / 8 }
            offset += 8
        }
        while offset < byteCount {
            if byte(at: offset) != other.byte(at: offset) { return offset }
            offset += 1
        }
        return nil
    }
}
