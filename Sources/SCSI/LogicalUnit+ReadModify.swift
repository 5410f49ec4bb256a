import Block
import Bytes

// COMPARE AND WRITE and ORWRITE: what they read stays as it is until they have written.
extension LogicalUnit {
    /// The blocks of data that COMPARE AND WRITE wants: those to compare, then those to write.
    static func compareBlocks(_ command: SCSICommand) -> UInt64 { command.cdb.blocks.count * 2 }

    func compareAndWrite(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        let range = try range(command.cdb)
        // More data than the command names blocks for: the number of blocks is not what the initiator meant.
        guard command.expectedLength == 2 * range.count else { throw .field(13) }
        guard !range.isEmpty else { return }
        let count = Int(range.count)
        let flags = writeFlags(fua: command.cdb.has(0x08, at: 1))
        try await hold(range)
        defer { writes.unlock(range) }
        let generation = mediumGeneration
        var buffer = AlignedBuffer(byteCount: count)
        var room = buffer.mutableBytes
        try await load(at: range.start, into: &room)
        if let place = buffer.bytes.firstDifference(from: data.extracting(0..<count)) {
            throw .check(Sense(.miscompare, information: UInt64(place)))
        }
        try checkMedium(generation)
        try await store(data.extracting(count..<2 * count), at: range.start, flags)
    }

    /// ORWRITE (16).
    func orWrite(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        let range = try range(command.cdb)
        guard !range.isEmpty else { return }
        let flags = writeFlags(fua: command.cdb.has(0x08, at: 1))
        try await hold(range)
        defer { writes.unlock(range) }
        let generation = mediumGeneration
        var buffer = AlignedBuffer(byteCount: Int(min(range.count, Self.pieceLimit)))
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(Self.pieceLimit)
            let count = Int(part.count)
            let from = Int(part.start - range.start)
            var bytes = buffer.mutableBytes
            var room = bytes._mutatingExtracting(0..<count)
            try await load(at: part.start, into: &room)
            room.unite(data.extracting(from..<from + count))
            try checkMedium(generation)
            try await store(buffer.bytes.extracting(0..<count), at: part.start, flags)
            rest = rest.dropping(part.count)
        }
    }
}

extension MutableRawSpan {
    /// Sets the bits that `other` has. Precondition: whole words of the same count.
    @_lifetime(self: copy self)
    fileprivate mutating func unite(_ other: RawSpan) {
        precondition(byteCount == other.byteCount && byteCount % 8 == 0)
        for offset in stride(from: 0, to: byteCount, by: 8) {
            let word: UInt64 = bytes.bigEndian(at: offset) | other.bigEndian(at: offset)
            storeBigEndian(word, at: offset)
        }
    }
}
