public import Block
public import Bytes
import NBDWire

extension NBDRemote {
    /// The range of a request; nil where it is empty.
    private func check(_ offset: UInt64, _ count: Int) throws(BlockError) -> ByteRange? {
        guard let range = ByteRange(checked: offset, count: UInt64(count)), range.end <= length else {
            throw .outOfRange
        }
        guard range.isAligned(to: limits.requestAlignment), range.count <= limits.maxTransfer else { throw .invalid }
        return range.isEmpty ? nil : range
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        guard let range = try check(offset, buffer.byteCount) else { return }
        var attempts = 0
        while true {
            let connection = try await ready()
            do throws(NBDCallFailure) { return try await connection.read(range, into: &buffer) } catch {
                try judge(error, &attempts)
            }
        }
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        guard let range = try check(offset, bytes.byteCount) else { return }
        let forces = flags.contains(.fua)
        let wire: NBDCommandFlags = forces && can(.sendFUA) ? .fua : []
        var attempts = 0
        while true {
            let connection = try await ready()
            do throws(NBDCallFailure) {
                try await connection.run(.write, wire, range, bytes)
                break
            } catch { try judge(error, &attempts) }
        }
        if can(.sendFlush) { unflushed.add(.write, range, bytes, isDurable: !wire.isEmpty) }
        await relieve()
        if forces, wire.isEmpty { try await flush() }
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        guard range.end <= length else { throw .outOfRange }
        guard range.isAligned(to: limits.requestAlignment) else { throw .invalid }
        guard can(.sendWriteZeroes), !flags.contains(.fastOnly) || can(.sendFastZero) else { throw .unsupported }
        let forces = flags.contains(.fua)
        var wire: NBDCommandFlags = forces && can(.sendFUA) ? .fua : []
        if !flags.contains(.mayUnmap) { wire.insert(.noHole) }
        if flags.contains(.fastOnly) { wire.insert(.fastZero) }
        // As QEMU does, zeros are held to the limit of data: not every server keeps the two apart.
        try await change(
            range, .writeZeroes, wire, most: limits.maxTransfer, .zero(mayUnmap: flags.contains(.mayUnmap)))
        if forces, !wire.contains(.fua) { try await flush() }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        guard range.end <= length else { throw .outOfRange }
        guard can(.sendTrim) else { return }
        let inside = range.shrunk(to: limits.requestAlignment)
        guard !inside.isEmpty else { return }
        do {
            try await change(
                inside, .trim, [], most: Self.longestTrim.roundedDown(to: limits.requestAlignment), .discard)
        } catch {
            // It is advice.
            if error != .unsupported { throw error }
        }
    }

    /// Requests without payload are no longer than this, in bytes: servers may keep their lengths in signed 32-bit numbers.
    private static let longestTrim = UInt64(Int32.max)

    /// Carries out a change without payload, in pieces.
    private func change(
        _ range: ByteRange, _ command: NBDCommand, _ flags: NBDCommandFlags, most: UInt64,
        _ kind: UnflushedChanges.Kind
    ) async throws(BlockError) {
        forgetData(range)
        defer { forgetData(range) }
        var rest = range
        var attempts = 0
        while !rest.isEmpty {
            let piece = rest.prefix(most)
            let connection = try await ready()
            do throws(NBDCallFailure) { try await connection.run(command, flags, piece) } catch {
                try judge(error, &attempts)
                continue
            }
            if can(.sendFlush) { unflushed.add(kind, piece, RawSpan(), isDurable: flags.contains(.fua)) }
            rest = rest.dropping(piece.count)
        }
        await relieve()
    }

    // MARK: Flush

    public func flush() async throws(BlockError) {
        if isReadOnly || !can(.sendFlush) { return }
        var attempts = 0
        while true {
            if let flushFailure { throw flushFailure }
            let connection = try await ready()
            // Of several connections any will do: it covers what was acknowledged on all.
            let mark = unflushed.mark
            do throws(NBDCallFailure) {
                try await connection.run(.flush, [], ByteRange(at: 0, count: 0))
                unflushed.retire(to: mark)
                return
            } catch .refused(let error) {
                flushFailure = error
                unflushed.forget()
                throw error
            } catch {
                try judge(error, &attempts)
            }
        }
    }

    /// Keeps what is not durable within its bound: the server is asked to make it so, and whoever writes on waits.
    private func relieve() async {
        while unflushed.keptBytes > UnflushedChanges.limit / 2, flushFailure == nil {
            if !isRelieving {
                isRelieving = true
                context.spawnOnOwner {
                    // Whether it failed, the next flush tells.
                    try? await self.flush()
                    self.isRelieving = false
                    self.relieved.wakeAll()
                }
            }
            guard unflushed.keptBytes > UnflushedChanges.limit, case .connected = phase else { return }
            await relieved.wait()
        }
    }

    // MARK: Status

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        guard range.end <= length else { throw .outOfRange }
        guard !range.isEmpty else { throw .invalid }
        if knownData.contains(range.start) {
            return data(range.prefix(knownData.end - range.start))
        }
        guard hasContext else { return data(range) }
        let unit = limits.requestAlignment
        let whole = ByteRange(from: range.start.roundedDown(to: unit), to: range.end)
        let asked = whole.prefix(Self.longestTrim.roundedDown(to: unit)).grown(to: unit) ?? whole
        let before = holes
        var attempts = 0
        while true {
            let connection = try await ready()
            // One that came back without the context.
            guard connection.contextID != nil else { return data(range) }
            do throws(NBDCallFailure) {
                return state(range, asked, try await connection.status(asked), isNew: before == holes)
            } catch { try judge(error, &attempts) }
        }
    }

    /// What an extent says of the range, which begins within its first unit.
    private func state(
        _ range: ByteRange, _ asked: ByteRange, _ extent: (length: UInt32, flags: UInt32), isNew: Bool
    ) -> BlockStatus {
        let unit = limits.requestAlignment
        var (count, flags) = (min(UInt64(extent.length), asked.count).roundedDown(to: unit), extent.flags)
        // A server whose extents end amid a block tells nothing of that one.
        if count == 0 { (count, flags) = (min(unit, asked.count), 0) }
        // Of a depth only two bits are looked at, as QEMU does.
        if options.bitmap == Self.depthContext { flags = min(flags, 2) }
        let known = ByteRange(at: asked.start, count: count)
        let part = known.intersection(range)
        if flags & 3 == 0 {
            if isNew { knownData = known }
            return data(part)
        }
        var state: BlockStatus.Flags = .allocated
        if flags & 1 == 0 { state.insert(.data) }
        if flags & 2 != 0 { state.insert(.zero) }
        return BlockStatus(count: part.count, flags: state, offset: part.start, holder: self)
    }

    private static let depthContext = "qemu:allocation-depth"

    private func data(_ range: ByteRange) -> BlockStatus {
        BlockStatus(count: range.count, flags: [.data, .allocated], offset: range.start, holder: self)
    }

    private func forgetData(_ range: ByteRange) {
        holes += 1
        if knownData.overlaps(range) { knownData = ByteRange(at: 0, count: 0) }
    }

    // MARK: Length

    public func resize(to length: UInt64) async throws(BlockError) {
        guard length == self.length else { throw .unsupported }
    }
}
