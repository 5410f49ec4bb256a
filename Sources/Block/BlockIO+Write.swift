import Bytes

extension BlockIO {
    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        let range = ByteRange(checked: offset, count: UInt64(bytes.byteCount))
        if options.detectZeroes != .off, bytes.byteCount > 0, bytes.isZero {
            var zeroFlags: ZeroFlags = options.detectZeroes == .unmap ? .mayUnmap : []
            if flags.contains(.fua) { zeroFlags.insert(.fua) }
            return try await zero(check(range, growable: limits.growable), flags: zeroFlags)
        }
        if flags.contains(.compressed), limits.encodedUnit == 0 { throw .unsupported }
        switch driver {
        case .storage(let storage):
            let range = try check(range, growable: storage.limits.growable)
            // After the write, for whoever clears the bit and then reads must not read what was there before; and also
            // where it failed, for nobody knows how much of it was done.
            defer { tracker?.changed(range) }
            try await write(range, of: storage, from: bytes, flags: flags)
        case .format(let format):
            let range = try check(range, growable: format.limits.growable)
            defer { tracker?.changed(range) }
            if flags.contains(.compressed) {
                try await writeEncoded(range, of: format, from: bytes)
            } else {
                try await write(range, of: format, from: bytes)
            }
            if flags.contains(.fua) { try await flush() }
        }
    }

    private func write(_ range: ByteRange, of format: any ImageFormat, from bytes: RawSpan) async throws(BlockError) {
        if case .now = format.commitUrgency { try await flush() }
        var walk = Walk(token: format.beginRequest())
        defer {
            format.endRequest(walk.token)
            scheduleCommit(format)
        }
        try await write(range, of: format, from: bytes, &walk)
    }

    /// Writes as a part of a request.
    func write(_ range: ByteRange, of format: any ImageFormat, from bytes: RawSpan, _ walk: inout Walk)
        async throws(BlockError)
    {
        var rest = range
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            if let refusal = format.writeRefusal { throw refusal }
            let extent = format.lookup(rest)
            let from = Int(rest.start - range.start)
            do throws(BlockError) {
                switch extent.mapping {
                case .unresolved(let need):
                    try await format.resolve(need)
                case .corrupt:
                    throw .corrupt
                case .data(let offset) where extent.isWritable:
                    guard let data else { throw .noMedium }
                    // Where the file goes on with places for what follows, one write fills them too.
                    if extent.count < rest.count, case .ticket(let ticket) = format.allocate(rest) {
                        let whole = bytes.extracting(from..<bytes.byteCount)
                        rest = rest.dropping(try await place(ticket, in: format, from: whole))
                        continue
                    }
                    let part = rest.prefix(extent.count)
                    let piece = bytes.extracting(from..<from + Int(part.count))
                    if tellsData { await data.reach(.writeAIO) }
                    try await data.write(at: offset, from: piece, flags: [])
                    rest = rest.dropping(part.count)
                default:
                    let written = try await allocate(rest, in: format, from: bytes.extracting(from..<bytes.byteCount))
                    rest = rest.dropping(written)
                }
            } catch .noSpace {
                try await reclaim(format, &walk)
            }
        }
    }

    /// A request that walks a format.
    struct Walk {
        /// What the request looked up since is neither reused nor punched.
        var token: RequestToken
        /// How often it has asked for what was freed.
        var reclaims = 0
    }

    /// The most often that one request asks for what was freed: others that hold on to it may have to end first.
    private static var mostReclaims: Int { 3 }

    /// A step of a request found no space. What was freed returns when its epoch ends; then there may be room, and the
    /// step is tried again. The request must not hold on to what was freed since it began, so it begins anew.
    func reclaim(_ format: any ImageFormat, _ walk: inout Walk) async throws(BlockError) {
        guard walk.reclaims < Self.mostReclaims, format.commitUrgency != .none else { throw .noSpace }
        walk.reclaims += 1
        format.noteFullHost()
        format.endRequest(walk.token)
        defer { walk.token = format.beginRequest() }
        try await flush()
    }

    /// One attempt to place the first bytes of `guest`. Answers how many were written; 0 means: look again.
    private func allocate(_ guest: ByteRange, in format: any ImageFormat, from bytes: RawSpan)
        async throws(BlockError) -> UInt64
    {
        switch format.allocate(guest) {
        case .needs(let need):
            try await format.resolve(need)
            return 0
        case .busy:
            await format.settle(guest)
            return 0
        case .failed(let failure):
            throw failure
        case .ticket(let ticket):
            return try await place(ticket, in: format, from: bytes)
        }
    }

    /// Fills the ticket's place and publishes it, or abandons it where that fails.
    private func place(_ ticket: consuming AllocationTicket, in format: any ImageFormat, from bytes: RawSpan)
        async throws(BlockError) -> UInt64
    {
        let count = ticket.guest.count
        var failure: BlockError?
        do {
            try await fill(
                (ticket.head, ticket.guest, ticket.tail), at: ticket.offset, readsZero: ticket.readsZero,
                of: format, from: bytes.extracting(0..<Int(count)))
        } catch { failure = error }
        if let failure {
            format.abandon(ticket)
            throw failure
        }
        format.publish(ticket)
        return count
    }

    /// Writes the data of a new place, and around it what its head and tail read as now.
    private func fill(
        _ parts: (head: ByteRange, guest: ByteRange, tail: ByteRange), at offset: UInt64, readsZero: Bool,
        of format: any ImageFormat, from bytes: RawSpan
    ) async throws(BlockError) {
        guard let data else { throw .noMedium }
        let copiesHead = try await needsCopy(parts.head, format, readsZero)
        let copiesTail = try await needsCopy(parts.tail, format, readsZero)
        if !copiesHead && !copiesTail {
            if tellsData { await data.reach(.writeAIO) }
            return try await data.write(at: offset, from: bytes, flags: [])
        }
        await file?.reach(.cowRead)
        let head = copiesHead ? parts.head.count : 0
        let tail = copiesTail ? parts.tail.count : 0
        guard head + tail + UInt64(bytes.byteCount) <= Self.gatherLimit else {
            try await copyUp(parts.head.prefix(head), to: offset - head, data)
            try await copyUp(parts.tail.prefix(tail), to: offset + UInt64(bytes.byteCount), data)
            if tellsData { await data.reach(.writeAIO) }
            return try await data.write(at: offset, from: bytes, flags: [])
        }
        var gathered = AlignedBuffer(byteCount: Int(head + tail) + bytes.byteCount)
        var whole = gathered.mutableBytes
        // The tail of the last cluster may pass the disk's end; what lies there reads as zeros.
        let inside = parts.tail.prefix(tail).intersection(ByteRange(at: 0, count: length))
        let from = Int(head) + bytes.byteCount
        if head > 0, !inside.isEmpty, bytes.byteCount <= Self.bridgedLimit {
            var part = whole._mutatingExtracting(0..<from + Int(inside.count))
            try await read(at: parts.head.start, into: &part)
        } else {
            if head > 0 {
                var part = whole._mutatingExtracting(0..<Int(head))
                try await read(at: parts.head.start, into: &part)
            }
            if !inside.isEmpty {
                var part = whole._mutatingExtracting(from..<from + Int(inside.count))
                try await read(at: inside.start, into: &part)
            }
        }
        whole.copy(bytes, at: Int(head))
        await file?.reach(.cowWrite)
        if tellsData { await data.reach(.writeAIO) }
        try await data.write(at: offset - head, from: gathered.bytes, flags: [])
    }

    /// Up to this many bytes, head, data and tail are gathered into one write; beyond it copying costs more than calls.
    private static var gatherLimit: UInt64 { 256 << 10 }

    /// Up to this many bytes of data, what lies around it is read with what it replaces, in one call.
    private static var bridgedLimit: Int { 16 << 10 }

    /// Whether the bytes around new data must be written: not where they read as zeros and the place does too.
    private func needsCopy(_ part: ByteRange, _ format: any ImageFormat, _ readsZero: Bool) async throws(BlockError)
        -> Bool
    {
        if part.isEmpty { return false }
        if !readsZero { return true }
        var rest = part.intersection(ByteRange(at: 0, count: length))
        while !rest.isEmpty {
            let extent = format.lookup(rest)
            switch extent.mapping {
            case .unresolved(let need):
                try await format.resolve(need)
                continue
            case .zero: break
            case .unallocated:
                if let backing, rest.start < backing.length { return true }
            default: return true
            }
            rest = rest.dropping(extent.count)
        }
        return false
    }

    /// Copies guest bytes as they read now to a place.
    func copyUp(_ part: ByteRange, to offset: UInt64, _ data: any Storage) async throws(BlockError) {
        guard !part.isEmpty else { return }
        var buffer = AlignedBuffer(byteCount: Int(part.count))
        var whole = buffer.mutableBytes
        let inside = part.intersection(ByteRange(at: 0, count: length))
        if inside.count > 0 {
            var target = whole._mutatingExtracting(0..<Int(inside.count))
            try await read(at: inside.start, into: &target)
        }
        await file?.reach(.cowWrite)
        try await data.write(at: offset, from: buffer.bytes, flags: [])
    }

    func write(_ range: ByteRange, of storage: any Storage, from bytes: RawSpan, flags: WriteFlags)
        async throws(BlockError)
    {
        let limits = storage.limits
        if limits.requestAlignment == 1 {
            return try await writeAligned(range, of: storage, from: bytes, flags: flags)
        }
        guard let wide = range.grown(to: limits.requestAlignment) else { throw .outOfRange }
        await widened.lock(wide)
        defer { widened.unlock(wide) }
        if range.isAligned(to: limits.requestAlignment) {
            return try await writeAligned(range, of: storage, from: bytes, flags: flags)
        }
        var rest = range
        while !rest.isEmpty {
            let (part, wide) = try widen(rest, limits)
            var bounce = AlignedBuffer(byteCount: Int(wide.count), alignment: max(limits.memoryAlignment, 16))
            var whole = bounce.mutableBytes
            if wide != part { try await readAround(part, wide, storage, into: &whole) }
            let from = Int(part.start - range.start)
            whole.copy(bytes.extracting(from..<from + Int(part.count)), at: Int(part.start - wide.start))
            try await storage.write(at: wide.start, from: bounce.bytes, flags: flags)
            rest = rest.dropping(part.count)
        }
    }

    /// Reads what lies around bytes that are not aligned.
    private func readAround(
        _ part: ByteRange, _ wide: ByteRange, _ storage: any Storage, into whole: inout MutableRawSpan
    )
        async throws(BlockError)
    {
        let (hasHead, hasTail) = (wide.start < part.start, wide.end > part.end)
        if hasHead { await storage.reach(.pwritevRmwHead) }
        if hasTail { await storage.reach(.pwritevRmwTail) }
        try await storage.read(at: wide.start, into: &whole)
        if hasHead { await storage.reach(.pwritevRmwAfterHead) }
        if hasTail { await storage.reach(.pwritevRmwAfterTail) }
    }

    /// A write whose ends are aligned: splits it, and bounces it where the memory is not aligned.
    private func writeAligned(_ range: ByteRange, of storage: any Storage, from bytes: RawSpan, flags: WriteFlags)
        async throws(BlockError)
    {
        let limits = storage.limits
        let bounces = !bytes.isAligned(to: limits.memoryAlignment)
        if range.count <= limits.maxTransfer, !bounces {
            return try await storage.write(at: range.start, from: bytes, flags: flags)
        }
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(min(limits.maxTransfer, Self.bounceLimit))
            let from = Int(part.start - range.start)
            let source = bytes.extracting(from..<from + Int(part.count))
            if bounces {
                var bounce = AlignedBuffer(byteCount: Int(part.count), alignment: max(limits.memoryAlignment, 16))
                var whole = bounce.mutableBytes
                whole.copy(source)
                try await storage.write(at: part.start, from: bounce.bytes, flags: flags)
            } else {
                try await storage.write(at: part.start, from: source, flags: flags)
            }
            rest = rest.dropping(part.count)
        }
    }
}
