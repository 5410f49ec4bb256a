import Block
import Bytes
import Devices

// READ and WRITE of all lengths: straight from the drive to the transport's room and back.
extension LogicalUnit {
    /// The bytes of `count` blocks at `address`. Beyond the last block nothing can be named, not even for no blocks.
    func range(_ address: UInt64, _ count: UInt64) throws(Refusal) -> ByteRange {
        let blockCount = blockCount
        guard address <= blockCount, count <= blockCount - address else { throw .check(.addressOutOfRange) }
        return ByteRange(at: address << blockShift, count: count << blockShift)
    }

    /// The bytes of the blocks that a command names.
    func range(_ cdb: CDB) throws(Refusal) -> ByteRange {
        let (address, count) = cdb.blocks
        return try range(address, count)
    }

    /// How a write that asks for FUA or not is passed on: without a write cache every write is durable.
    func writeFlags(fua: Bool) -> WriteFlags { fua || !mode.hasWriteCache ? .fua : [] }

    /// FUA of the commands that are longer than six bytes.
    private func asksForFUA(_ cdb: CDB) -> Bool { cdb.code >= 0x20 && cdb.has(0x08, at: 1) }

    func read(_ command: SCSICommand, into room: inout MutableRawSpan) async throws(Refusal) -> Int {
        let range = try range(command.cdb)
        guard !range.isEmpty else { return 0 }
        // FUA: what is read must be on the medium first, which has to be the same one afterwards.
        if asksForFUA(command.cdb), mode.hasWriteCache, !drive.isReadOnly {
            let generation = mediumGeneration
            do throws(BlockError) { try await drive.flush() } catch { throw refusal(error, .read) }
            try checkMedium(generation)
        }
        do throws(BlockError) {
            try await drive.read(at: range.start, into: &room)
        } catch {
            throw refusal(error, .read)
        }
        return room.byteCount
    }

    func write(_ command: SCSICommand, _ data: RawSpan) async throws(Refusal) {
        // Of what the command names, what came.
        let range = try range(command.cdb).prefix(UInt64(data.byteCount))
        guard !range.isEmpty else { return }
        let flags = writeFlags(fua: asksForFUA(command.cdb))
        try await hold(range)
        defer { writes.unlock(range) }
        try await store(data, at: range.start, flags)
    }

    // MARK: for the commands built on these

    /// Waits for the range, and holds it until `writes.unlock`. The medium may be another one by then.
    func hold(_ range: ByteRange) async throws(Refusal) {
        let generation = mediumGeneration
        await writes.lock(range)
        do throws(Refusal) {
            try checkMedium(generation)
        } catch {
            writes.unlock(range)
            throw error
        }
    }

    /// Whether the medium is the one of an earlier generation still.
    func checkMedium(_ generation: UInt64) throws(Refusal) {
        try checkMedium()
        if generation != mediumGeneration { throw .check(.mediumMayHaveChanged) }
    }

    func load(at offset: UInt64, into room: inout MutableRawSpan) async throws(Refusal) {
        do throws(BlockError) {
            try await drive.read(at: offset, into: &room)
        } catch {
            throw refusal(error, .read)
        }
    }

    func store(_ data: RawSpan, at offset: UInt64, _ flags: WriteFlags) async throws(Refusal) {
        do throws(BlockError) {
            try await drive.write(at: offset, from: data, flags: flags)
        } catch {
            throw refusal(error, .write)
        }
    }

    func flush() async throws(Refusal) {
        do throws(BlockError) {
            try await drive.flush()
        } catch {
            throw refusal(error, .write)
        }
    }
}
