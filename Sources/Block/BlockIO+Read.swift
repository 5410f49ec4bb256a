import Bytes

extension BlockIO {
    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        let range = ByteRange(checked: offset, count: UInt64(buffer.byteCount))
        switch driver {
        case .storage(let storage):
            let range = try check(range, growable: storage.limits.growable)
            try await read(range, of: storage, into: &buffer)
        case .format(let format):
            let range = try check(range, growable: format.limits.growable)
            let token = format.beginRequest()
            defer { format.endRequest(token) }
            try await read(range, of: format, into: &buffer)
        }
    }

    private func read(_ range: ByteRange, of format: any ImageFormat, into buffer: inout MutableRawSpan)
        async throws(BlockError)
    {
        var rest = range
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            let extent = format.lookup(rest)
            if case .unresolved(let need) = extent.mapping {
                try await format.resolve(need)
                continue
            }
            let part = rest.prefix(extent.count)
            let from = Int(part.start - range.start)
            var target = buffer._mutatingExtracting(from..<from + Int(part.count))
            try await read(part, at: extent.mapping, of: format, into: &target)
            rest = rest.dropping(part.count)
        }
    }

    /// Reads guest bytes that one extent holds.
    private func read(
        _ part: ByteRange, at mapping: Extent.Mapping, of format: any ImageFormat, into target: inout MutableRawSpan
    ) async throws(BlockError) {
        switch mapping {
        case .data(let offset):
            guard let data else { throw .noMedium }
            if tellsData { await data.reach(.readAIO) }
            try await data.read(at: offset, into: &target)
        case .zero:
            target.fill()
        case .unallocated:
            try await readBacking(part, into: &target)
        case .encoded:
            try await format.decode(part, into: &target, on: context)
        case .corrupt:
            throw .corrupt
        case .unresolved:
            preconditionFailure("resolved by the caller")
        }
    }

    /// Reads what lies below; zeros past the backing's end or where there is none.
    func readBacking(_ part: ByteRange, into target: inout MutableRawSpan) async throws(BlockError) {
        let count = backingCount(part)
        if let backing, count > 0 {
            if tellsData { await file?.reach(.readBackingAIO) }
            var head = target._mutatingExtracting(0..<count)
            try await backing.read(at: part.start, into: &head)
        }
        target.fill(at: count)
    }

    /// How many bytes of a part lie before the backing's end.
    func backingCount(_ part: ByteRange) -> Int {
        guard let backing else { return 0 }
        return Int(part.intersection(ByteRange(at: 0, count: backing.length)).count)
    }

    private func read(_ range: ByteRange, of storage: any Storage, into buffer: inout MutableRawSpan)
        async throws(BlockError)
    {
        let limits = storage.limits
        if range.isAligned(to: limits.requestAlignment), range.count <= limits.maxTransfer,
            buffer.isAligned(to: limits.memoryAlignment)
        {
            return try await storage.read(at: range.start, into: &buffer)
        }
        var rest = range
        while !rest.isEmpty {
            let (part, wide) = try widen(rest, limits)
            var bounce = AlignedBuffer(byteCount: Int(wide.count), alignment: max(limits.memoryAlignment, 16))
            var whole = bounce.mutableBytes
            try await storage.read(at: wide.start, into: &whole)
            let from = Int(part.start - wide.start)
            buffer.copy(bounce.bytes.extracting(from..<from + Int(part.count)), at: Int(part.start - range.start))
            rest = rest.dropping(part.count)
        }
    }

    /// The most bytes of a buffer between a request and a storage that it is not aligned for. Each request under way may
    /// have one, so no storage may need a wider alignment.
    public static let bounceLimit: UInt64 = 1 << 20

    /// The longest first part of `rest` that one aligned transfer of at most `bounceLimit` can carry, and that transfer.
    func widen(_ rest: ByteRange, _ limits: StorageLimits) throws(BlockError) -> (part: ByteRange, wide: ByteRange) {
        let longest = min(limits.maxTransfer, Self.bounceLimit).roundedDown(to: limits.requestAlignment)
        let start = rest.start.roundedDown(to: limits.requestAlignment)
        let part = rest.prefix(max(longest, limits.requestAlignment) - (rest.start - start))
        guard let wide = part.grown(to: limits.requestAlignment) else { throw .outOfRange }
        return (part, wide)
    }
}
