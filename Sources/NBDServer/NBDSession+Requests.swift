import Block
import Bytes
import DirtyMap
import NBDWire
import Streams

extension NBDSession {
    /// Carries one request out and answers it. `replyRoom`: how many bytes a reply may hold that is not in `memory`.
    func handle(_ request: NBDRequest, _ memory: inout AlignedBuffer, replyRoom: Int) async {
        guard let export else { return }
        do {
            try check(request, export)
            switch request.command {
            case .read: try await read(request, export, &memory)
            case .blockStatus: try await blockStatus(request, export, room: replyRoom)
            default:
                try await change(request, export, memory.bytes)
                await output.simple(request)
            }
        } catch {
            await refuse(request, error, export)
        }
    }

    /// Answers a request with its error.
    func refuse(_ request: NBDRequest, _ error: BlockError, _ export: NBDExport) async {
        let isWrite = request.command != .read && request.command != .blockStatus
        // What the client asked wrongly is its own affair, and not to be fast is no failure.
        if error != .outOfRange && error != .invalid && error != .readOnly && error != .unsupported {
            export.onFailure?(isWrite, error)
        }
        // Past the end of the disk a write lacks room, as the specification asks.
        let grows = request.command == .write || request.command == .writeZeroes
        await output.fail(request, error == .outOfRange && grows ? .noSpace : NBDError(error), self)
    }

    /// What is wrong with a request is known before anything is done.
    func check(_ request: NBDRequest, _ export: NBDExport) throws(BlockError) {
        let allowed: NBDCommandFlags
        switch request.command {
        case .read: allowed = hasStructuredReplies ? [.fua, .dontFragment] : .fua
        case .write, .trim, .cache, .flush: allowed = .fua
        case .writeZeroes: allowed = [.fua, .noHole, .fastZero]
        case .blockStatus:
            allowed = [.fua, .reqOne]
            if contexts.isEmpty || request.length == 0 { throw .invalid }
        case .disconnect, nil: throw .invalid
        }
        guard request.flags.isSubset(of: allowed) else { throw .invalid }
        switch request.command {
        case .write, .trim, .writeZeroes:
            if !export.isWritable { throw .readOnly }
        default: break
        }
        guard request.command != .flush else { return }
        guard let range = ByteRange(checked: request.offset, count: UInt64(request.length)),
            range.end <= export.storage.length
        else { throw .outOfRange }
    }

    private func change(_ request: NBDRequest, _ export: NBDExport, _ payload: RawSpan) async throws(BlockError) {
        let storage = export.storage
        // A flush has no range: what its offset and length hold was not checked and means nothing.
        if request.command == .flush {
            if export.isWritable { try await storage.flush() }
            return
        }
        let range = ByteRange(at: request.offset, count: UInt64(request.length))
        let isForced = isForced(request, export)
        switch request.command {
        case .write:
            try await storage.write(
                at: range.start, from: payload.extracting(0..<Int(request.length)), flags: isForced ? .fua : [])
        case .writeZeroes:
            var flags: ZeroFlags = isForced ? .fua : []
            if !request.flags.contains(.noHole) { flags.insert(.mayUnmap) }
            if request.flags.contains(.fastZero) { flags.insert(.fastOnly) }
            try await storage.zero(range, flags: flags)
        case .trim:
            try await storage.discard(range)
            if isForced { try await storage.flush() }
        default:
            // Caching is advice; there is nothing that a read would not do as well.
            break
        }
    }

    /// Whether the request is durable before it is answered.
    func isForced(_ request: NBDRequest, _ export: NBDExport) -> Bool {
        request.flags.contains(.fua) || (export.isWritethrough && export.isWritable)
    }

    // MARK: Reads

    private func read(_ request: NBDRequest, _ export: NBDExport, _ memory: inout AlignedBuffer)
        async throws(BlockError)
    {
        let length = Int(request.length)
        if hasStructuredReplies, length == 0 {
            // A chunk of content has at least one byte.
            return await output.gather(NBDReply.chunkByteCount) {
                NBDReply.storeChunk(
                    &$0, at: $1, type: NBDChunk.none, isLast: true, cookie: request.cookie, length: 0)
            }
        }
        if hasStructuredReplies, length >= Self.sparseLimit, !request.flags.contains(.dontFragment) {
            return try await readSparse(request, export, &memory)
        }
        if length > memory.byteCount { return try await readInPieces(request, export, &memory) }
        var whole = memory.mutableBytes
        var target = whole._mutatingExtracting(0..<length)
        try await export.storage.read(at: request.offset, into: &target)
        await send(request, memory.bytes.extracting(0..<length), at: request.offset, isLast: true)
    }

    /// Reads shorter than this are sent whole: looking for holes would cost more than it saves.
    static var sparseLimit: Int { 32 << 10 }

    /// Sends holes as such, and the data between them.
    private func readSparse(_ request: NBDRequest, _ export: NBDExport, _ memory: inout AlignedBuffer)
        async throws(BlockError)
    {
        var rest = ByteRange(at: request.offset, count: UInt64(request.length))
        var steps = 0
        while !rest.isEmpty {
            await step(&steps)
            let status = try await export.storage.status(of: rest)
            var part = rest.prefix(status.count)
            if status.flags.contains(.zero) {
                rest = rest.dropping(part.count)
                await sendHole(request, part, isLast: rest.isEmpty)
                continue
            }
            // Neighbouring runs of data go out as one, as far as there is memory.
            let most = min(rest.count, UInt64(memory.byteCount))
            while part.count < most {
                await step(&steps)
                let next = try await export.storage.status(of: rest.dropping(part.count))
                if next.flags.contains(.zero) { break }
                part = rest.prefix(part.count + next.count)
            }
            part = part.prefix(most)
            var whole = memory.mutableBytes
            var target = whole._mutatingExtracting(0..<Int(part.count))
            try await export.storage.read(at: part.start, into: &target)
            rest = rest.dropping(part.count)
            await send(request, memory.bytes.extracting(0..<Int(part.count)), at: part.start, isLast: rest.isEmpty)
        }
    }

    private func send(_ request: NBDRequest, _ payload: RawSpan, at offset: UInt64, isLast: Bool) async {
        let headCount = headByteCount
        guard output.gathers(payload.byteCount) else {
            return await output.sendNow(head(request, payload.byteCount, at: offset, isLast: isLast), payload)
        }
        await output.gather(headCount + payload.byteCount) {
            storeHead(&$0, $1, request, payload.byteCount, at: offset, isLast: isLast)
            $0.copy(payload, at: $1 + headCount)
        }
    }

    /// What stands in front of `count` bytes of data.
    func head(_ request: NBDRequest, _ count: Int, at offset: UInt64, isLast: Bool) -> [UInt8] {
        var head = [UInt8](repeating: 0, count: headByteCount)
        head.withMutableBytes { storeHead(&$0, 0, request, count, at: offset, isLast: isLast) }
        return head
    }

    /// Bytes in front of the data of a read's reply.
    var headByteCount: Int { hasStructuredReplies ? NBDReply.chunkByteCount + 8 : NBDReply.simpleByteCount }

    func storeHead(
        _ bytes: inout MutableRawSpan, _ position: Int, _ request: NBDRequest, _ count: Int, at offset: UInt64,
        isLast: Bool
    ) {
        guard hasStructuredReplies else {
            return NBDReply.storeSimple(&bytes, at: position, error: 0, cookie: request.cookie)
        }
        NBDReply.storeChunk(
            &bytes, at: position, type: NBDChunk.offsetData, isLast: isLast, cookie: request.cookie,
            length: UInt32(count + 8))
        bytes.storeBigEndian(offset, at: position + NBDReply.chunkByteCount)
    }

    private func sendHole(_ request: NBDRequest, _ hole: ByteRange, isLast: Bool) async {
        await output.gather(NBDReply.chunkByteCount + 12) {
            NBDReply.storeChunk(
                &$0, at: $1, type: NBDChunk.offsetHole, isLast: isLast, cookie: request.cookie, length: 12)
            $0.storeBigEndian(hole.start, at: $1 + NBDReply.chunkByteCount)
            $0.storeBigEndian(UInt32(hole.count), at: $1 + NBDReply.chunkByteCount + 8)
        }
    }

    /// Counts a look-up, which may well complete in place; after some of them others get their turn.
    private func step(_ steps: inout Int) async {
        steps += 1
        if steps % Self.lookupsPerTurn == 0 { await context.yield() }
    }

    /// Each may have to load a table from the page cache: some ten microseconds.
    private static var lookupsPerTurn: Int { 64 }
    /// What one block status request may ask of a disk in pieces: enough for as many extents as an answer holds.
    private static var lookupsPerReply: Int { NBDLimits.extents }

    // MARK: Block status

    private func blockStatus(_ request: NBDRequest, _ export: NBDExport, room: Int) async throws(BlockError) {
        let most =
            request.flags.contains(.reqOne)
            ? 1 : min(NBDLimits.extents, room / Self.extentWeight / max(1, contexts.count))
        let maps = contexts.filter { export.bitmap(of: $0) == nil }
        let states = maps.isEmpty ? [] : try await states(request, export, maps, most: most)
        for (index, context) in contexts.enumerated() {
            let extents: [Extent]
            if let bitmap = export.bitmap(of: context) {
                extents = await marks(bitmap, request, most: most)
            } else {
                extents = maps.firstIndex(of: context).map { states[$0] } ?? []
            }
            await output.add(
                NBDReply.blockStatusChunk(
                    context: UInt32(context), extents: extents, isLast: index == contexts.count - 1,
                    cookie: request.cookie))
        }
    }

    /// `qemu:dirty-bitmap:NAME`: bit 0 dirty. Told from memory; contexts need not be answered equally far.
    private func marks(_ bitmap: DirtyBitmap, _ request: NBDRequest, most: Int) async -> [Extent] {
        var extents: [Extent] = []
        var rest = ByteRange(at: request.offset, count: UInt64(request.length))
        var steps = 0
        while !rest.isEmpty, extents.count < most, !isClosing || steps == 0 {
            await step(&steps)
            // What became of a bitmap that cannot be trusted any more is not known: all may have changed.
            let run = bitmap.map?.run(rest) ?? (isDirty: true, count: rest.count)
            extents.append((UInt32(run.count), run.isDirty ? 1 : 0))
            rest = rest.dropping(run.count)
        }
        return extents
    }

    private typealias Extent = (length: UInt32, flags: UInt32)

    /// The extents of contexts that tell how the disk is stored, all equally far.
    private func states(_ request: NBDRequest, _ export: NBDExport, _ contexts: [Int], most: Int)
        async throws(BlockError) -> [[Extent]]
    {
        var lists = [[Extent]](repeating: [], count: contexts.count)
        var rest = ByteRange(at: request.offset, count: UInt64(request.length))
        var steps = 0
        // A shorter answer than was asked for is legal; the client asks again for the rest.
        gather: while !rest.isEmpty, steps < Self.lookupsPerReply, !isClosing || steps == 0 {
            await step(&steps)
            let status = try await export.storage.status(of: rest)
            let part = rest.prefix(status.count)
            for (index, context) in contexts.enumerated() {
                let flags = Self.stateFlags(status, context: export.contexts[context])
                let last = lists[index].count - 1
                if last >= 0, lists[index][last].flags == flags {
                    lists[index][last].length += UInt32(part.count)
                } else if lists[index].count == most {
                    break gather
                } else {
                    lists[index].append((UInt32(part.count), flags))
                }
            }
            rest = rest.dropping(part.count)
        }
        return lists
    }

    /// `base:allocation`: bit 0 hole, bit 1 reads as zeros. `qemu:allocation-depth`: 0 nowhere, 1 here, 2 one below, …
    private static func stateFlags(_ status: BlockStatus, context: String) -> UInt32 {
        if context == NBDExport.depthContext {
            return status.flags.contains(.allocated) ? UInt32(clamping: status.depth + 1) : 0
        }
        return (status.flags.contains(.data) ? 0 : 1) | (status.flags.contains(.zero) ? 2 : 0)
    }
}
