public import Bytes

extension BlockIO {
    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        switch driver {
        case .storage(let storage):
            let range = try check(range, growable: storage.limits.growable)
            try await zero(range, of: storage, flags: flags)
        case .format(let format):
            let range = try check(range, growable: false)
            let keeps = !(flags.contains(.mayUnmap) && options.honoursDiscard)
            try await unmap(range, of: format, to: .zero(keepPlace: keeps), flags: flags)
            if flags.contains(.fua) { try await flush() }
        }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        // Past the end of what can grow there is nothing to discard: `raw` takes the last sector of a file for whole.
        let range = try check(range, growable: limits.growable)
        guard options.honoursDiscard, !range.isEmpty else { return }
        switch driver {
        case .storage(let storage):
            let inside = range.intersection(ByteRange(at: 0, count: storage.length)).shrunk(
                to: max(storage.limits.requestAlignment, storage.limits.discardAlignment, 1))
            guard storage.limits.discards, !inside.isEmpty else { return }
            try await storage.discard(inside)
        case .format(let format):
            try await unmap(range, of: format, to: .discard, flags: [])
        }
    }

    /// Asks the format to unmap the range, part by part, and does as data or below what it cannot.
    private func unmap(_ range: ByteRange, of format: any ImageFormat, to target: UnmapTarget, flags: ZeroFlags)
        async throws(BlockError)
    {
        if case .now = format.commitUrgency { try await flush() }
        let token = format.beginRequest()
        defer {
            format.endRequest(token)
            scheduleCommit(format)
        }
        var rest = range
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            if let refusal = format.writeRefusal { throw refusal }
            switch format.unmap(rest, to: target) {
            case .done(let count):
                rest = rest.dropping(count)
            case .needs(let need):
                try await format.resolve(need)
            case .busy:
                await format.settle(rest)
            case .failed(let failure):
                throw failure
            case .asData(let count):
                let part = rest.prefix(count)
                if target != .discard { try await zeroAsData(part, of: format, flags: flags) }
                rest = rest.dropping(part.count)
            case .passDown(let offset, let count):
                guard let file else { throw .noMedium }
                let part = rest.prefix(count)
                let below = ByteRange(at: offset, count: part.count)
                if target == .discard {
                    try await file.discard(below)
                } else {
                    try await file.zero(below, flags: flags.subtracting(.fua))
                }
                rest = rest.dropping(part.count)
            }
        }
    }

    /// Writes zeros through the ordinary write path, unless the part reads as zeros already.
    private func zeroAsData(_ part: ByteRange, of format: any ImageFormat, flags: ZeroFlags) async throws(BlockError) {
        var rest = part
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            let known = try await status(of: rest)
            let piece = rest.prefix(min(known.count, Self.zeroPiece))
            if !known.flags.contains(.zero) {
                if flags.contains(.fastOnly) { throw .unsupported }
                let zeros = AlignedBuffer(byteCount: Int(piece.count))
                try await write(piece, of: format, from: zeros.bytes)
            }
            rest = rest.dropping(piece.count)
        }
    }

    /// Zeros are written in pieces of at most this many bytes.
    private static var zeroPiece: UInt64 { 1 << 20 }

    private func zero(_ range: ByteRange, of storage: any Storage, flags: ZeroFlags) async throws(BlockError) {
        let limits = storage.limits
        let inside =
            limits.zeroesFast ? range.shrunk(to: limits.requestAlignment) : ByteRange(at: range.start, count: 0)
        if !inside.isEmpty {
            do {
                try await storage.zero(inside, flags: flags)
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
