public import Bytes

extension BlockIO {
    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        let range = try check(range, growable: limits.growable)
        defer { tracker?.changed(range) }
        // A node that ignores discards keeps the space of what it zeroes, whatever the client allows.
        let flags = options.honoursDiscard ? flags : flags.subtracting(.mayUnmap)
        switch driver {
        case .storage(let storage):
            try await zero(range, of: storage, flags: flags)
        case .format(let format):
            let keeps = !flags.contains(.mayUnmap)
            try await unmap(range, of: format, to: .zero(keepPlace: keeps), flags: flags)
            if flags.contains(.fua) { try await flush() }
        }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        // Past the end of what can grow there is nothing to discard: `raw` takes the last sector of a file for whole.
        let range = try check(range, growable: limits.growable)
        guard options.honoursDiscard, !range.isEmpty else { return }
        defer { tracker?.changed(range) }
        switch driver {
        case .storage(let storage):
            let inside = range.intersection(ByteRange(at: 0, count: storage.length)).shrunk(
                to: max(storage.limits.requestAlignment, storage.limits.discardAlignment, 1))
            guard storage.limits.discards, !inside.isEmpty else { return }
            try await apart(inside, storage) { () async throws(BlockError) in try await storage.discard(inside) }
        case .format(let format):
            try await unmap(range, of: format, to: .discard, flags: [])
        }
    }

    /// Asks the format to unmap the range, part by part, and does as data or below what it cannot.
    private func unmap(_ range: ByteRange, of format: any ImageFormat, to target: UnmapTarget, flags: ZeroFlags)
        async throws(BlockError)
    {
        if case .now = format.commitUrgency { try await flush() }
        var walk = Walk(token: format.beginRequest())
        defer {
            format.endRequest(walk.token)
            scheduleCommit(format)
        }
        var rest = range
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            if let refusal = format.writeRefusal { throw refusal }
            do throws(BlockError) {
                rest = rest.dropping(try await unmapFirst(of: rest, of: format, to: target, flags: flags, &walk))
            } catch .noSpace {
                try await reclaim(format, &walk)
            }
        }
    }

    /// One attempt to unmap the first bytes of `rest`. Answers how many are done; 0 means: ask again.
    private func unmapFirst(
        of rest: ByteRange, of format: any ImageFormat, to target: UnmapTarget, flags: ZeroFlags, _ walk: inout Walk
    ) async throws(BlockError) -> UInt64 {
        try await carryOut(format.unmap(rest, to: target), of: rest, of: format, to: target, flags: flags, &walk)
    }

    /// Does what the format answered to an attempt to unmap `rest`. Answers how many bytes are done; 0 means: ask again.
    private func carryOut(
        _ outcome: UnmapOutcome, of rest: ByteRange, of format: any ImageFormat, to target: UnmapTarget,
        flags: ZeroFlags, _ walk: inout Walk
    ) async throws(BlockError) -> UInt64 {
        switch outcome {
        case .done(let count):
            return count
        case .needs(let need):
            try await format.resolve(need)
            return 0
        case .busy:
            await format.settle(rest)
            return 0
        case .failed(let failure):
            throw failure
        case .asData(let count):
            guard target != .discard else { return count }
            return try await zeroPart(rest.prefix(count), of: format, to: target, flags: flags, &walk)
        case .passDown(let offset, let count, let passed):
            guard let data else { throw .noMedium }
            let below = ByteRange(at: offset, count: min(count, rest.count))
            if passed != .discard {
                try await data.zero(below, flags: flags.subtracting(.fua))
            } else if target == .discard, options.punchesFreed {
                try await data.discard(below)
            } else if options.punchesFreed {
                // It reads as zeros already; a failure leaves the space taken.
                try? await data.discard(below)
            }
            return count
        }
    }

    /// Zeros what cannot be unmapped by itself: with the whole of its cluster (or subcluster) where that holds no data and
    /// what lies around the part reads as zeros already, as qemu does; else as data. Answers as `carryOut`.
    private func zeroPart(
        _ part: ByteRange, of format: any ImageFormat, to target: UnmapTarget, flags: ZeroFlags, _ walk: inout Walk
    ) async throws(BlockError) -> UInt64 {
        let size = format.limits.discardAlignment
        if format.limits.zeroesFast, part.count < size {
            let start = part.start.roundedDown(to: size)
            let unit = ByteRange(at: start, count: min(size, length - start))
            var isZeroAround = try await readsZero(ByteRange(from: unit.start, to: part.start))
            if isZeroAround { isZeroAround = try await readsZero(ByteRange(from: part.end, to: unit.end)) }
            // Asked again after the waits, and unmapped with no wait between: others may have written around the part.
            if isZeroAround, holdsNoData(unit, format) {
                let outcome = format.unmap(unit, to: target)
                guard case .asData = outcome else {
                    let done = try await carryOut(outcome, of: unit, of: format, to: target, flags: flags, &walk)
                    return done == 0 ? 0 : part.count
                }
            }
        }
        try await zeroAsData(part, of: format, flags: flags, &walk)
        return part.count
    }

    /// Whether all of the range is known to read as zeros through the chain.
    func readsZero(_ range: ByteRange) async throws(BlockError) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let known = try await status(of: rest)
            guard known.flags.contains(.zero) else { return false }
            rest = rest.dropping(known.count)
        }
        return true
    }

    /// Whether the format itself holds none of the range's bytes; false also where that is not in memory.
    private func holdsNoData(_ range: ByteRange, _ format: any ImageFormat) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let extent = format.lookup(rest)
            switch extent.mapping {
            case .zero, .unallocated: rest = rest.dropping(extent.count)
            case .data, .encoded, .unresolved, .corrupt: return false
            }
        }
        return true
    }

    /// Writes zeros through the ordinary write path, unless the part reads as zeros already: in a format that has clusters
    /// of zeros only where it says so itself, so that it is as independent of what lies below as a zeroed cluster.
    private func zeroAsData(
        _ part: ByteRange, of format: any ImageFormat, flags: ZeroFlags, _ walk: inout Walk
    ) async throws(BlockError) {
        var rest = part
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            let known = try await status(of: rest)
            let piece = rest.prefix(min(known.count, Self.zeroPiece))
            let isOwn = known.flags.contains(.allocated) && known.depth == 0
            if !known.flags.contains(.zero) || format.limits.zeroesFast && !isOwn {
                if flags.contains(.fastOnly) { throw .unsupported }
                if case .now = format.commitUrgency { try await flush() }
                let zeros = AlignedBuffer(byteCount: Int(piece.count))
                try await write(piece, of: format, from: zeros.bytes, &walk)
            }
            rest = rest.dropping(piece.count)
        }
    }

    /// Zeros are written in pieces of at most this many bytes.
    static var zeroPiece: UInt64 { 1 << 20 }

    private func zero(_ range: ByteRange, of storage: any Storage, flags: ZeroFlags) async throws(BlockError) {
        let limits = storage.limits
        let inside =
            limits.zeroesFast ? range.shrunk(to: limits.requestAlignment) : ByteRange(at: range.start, count: 0)
        if !inside.isEmpty {
            do {
                try await apart(inside, storage) { () async throws(BlockError) in
                    try await storage.zero(inside, flags: flags)
                }
            } catch {
                // A host that refuses to zero in place still takes zeros as data.
                guard error == .unsupported, !flags.contains(.fastOnly) else { throw error }
                return try await writeZeros(range, of: storage, flags: flags)
            }
            try await writeZeros(ByteRange(from: range.start, to: inside.start), of: storage, flags: flags)
            return try await writeZeros(ByteRange(from: inside.end, to: range.end), of: storage, flags: flags)
        }
        if flags.contains(.fastOnly) { throw .unsupported }
        try await writeZeros(range, of: storage, flags: flags)
    }

    /// Changes whole units of the storage apart from writes that are widened to them: what such a write has read before,
    /// it would bring back.
    private func apart(_ range: ByteRange, _ storage: any Storage, _ change: () async throws(BlockError) -> Void)
        async throws(BlockError)
    {
        guard storage.limits.requestAlignment > 1 else { return try await change() }
        await widened.lock(range)
        defer { widened.unlock(range) }
        try await change()
    }

    private func writeZeros(_ range: ByteRange, of storage: any Storage, flags: ZeroFlags) async throws(BlockError) {
        guard !range.isEmpty else { return }
        let zeros = AlignedBuffer(byteCount: Int(min(range.count, Self.zeroPiece)))
        var rest = range
        while !rest.isEmpty {
            let piece = rest.prefix(Self.zeroPiece)
            let writeFlags: WriteFlags = flags.contains(.fua) ? .fua : []
            try await write(piece, of: storage, from: zeros.bytes.extracting(0..<Int(piece.count)), flags: writeFlags)
            rest = rest.dropping(piece.count)
        }
    }
}
