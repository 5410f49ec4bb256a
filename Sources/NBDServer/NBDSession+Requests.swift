import Block
import Bytes
import NBDWire
import Streams

extension NBDSession {
    /// Carries one request out and answers it.
    func handle(_ request: NBDRequest, _ memory: inout AlignedBuffer) async {
        guard let export else { return }
        do {
            try check(request, export)
            switch request.command {
            case .read: try await read(request, export, &memory)
            case .blockStatus: try await blockStatus(request, export)
            default:
                try await change(request, export, memory.bytes)
                await output.simple(request)
            }
        } catch {
            let isWrite = request.command != .read && request.command != .blockStatus
            // What the client asked wrongly is its own affair, and not to be fast is no failure.
            if error != .outOfRange && error != .invalid && error != .readOnly && error != .unsupported {
                export.onFailure?(isWrite, error)
            }
            // Past the end of the disk a write lacks room, as the specification asks.
            let grows = request.command == .write || request.command == .writeZeroes
            await output.fail(request, error == .outOfRange && grows ? .noSpace : NBDError(error), self)
        }
    }

    /// What is wrong with a request is known before anything is done.
    private func check(_ request: NBDRequest, _ export: NBDExport) throws(BlockError) {
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
        let isForced = request.flags.contains(.fua) || (export.isWritethrough && export.isWritable)
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
        var whole = memory.mutableBytes
        var target = whole._mutatingExtracting(0..<length)
        try await export.storage.read(at: request.offset, into: &target)
        await send(request, memory.bytes.extracting(0..<length), at: request.offset, isLast: true)
    }

    /// Reads shorter than this are sent whole: looking for holes would cost more than it saves.
    private static var sparseLimit: Int { 32 << 10 }

    /// Sends holes as such, and the data between them.
    private func readSparse(_ request: NBDRequest, _ export: NBDExport, _ memory: inout AlignedBuffer)
        async throws(BlockError)
    {
        var rest = ByteRange(at: request.offset, count: UInt64(request.length))
        while !rest.isEmpty {
            let status = try await export.storage.status(of: rest)
            var part = rest.prefix(status.count)
            if status.flags.contains(.zero) {
                rest = rest.dropping(part.count)
                await sendHole(request, part, isLast: rest.isEmpty)
                continue
            }
            // Neighbouring runs of data go out as one.
            while part.count < rest.count {
                let next = try await export.storage.status(of: rest.dropping(part.count))
                if next.flags.contains(.zero) { break }
                part = rest.prefix(part.count + next.count)
            }
            var whole = memory.mutableBytes
            var target = whole._mutatingExtracting(0..<Int(part.count))
            try await export.storage.read(at: part.start, into: &target)
            rest = rest.dropping(part.count)
            await send(request, memory.bytes.extracting(0..<Int(part.count)), at: part.start, isLast: rest.isEmpty)
        }
    }

    private func send(_ request: NBDRequest, _ payload: RawSpan, at offset: UInt64, isLast: Bool) async {
        let headCount = hasStructuredReplies ? NBDReply.chunkByteCount + 8 : NBDReply.simpleByteCount
        guard payload.byteCount > StreamOutput.gatherLimit else {
            await output.gather(headCount + payload.byteCount) {
                storeHead(&$0, $1, request, payload.byteCount, at: offset, isLast: isLast)
                $0.copy(payload, at: $1 + headCount)
            }
            return
        }
        var head = [UInt8](repeating: 0, count: headCount)
        head.withMutableBytes { storeHead(&$0, 0, request, payload.byteCount, at: offset, isLast: isLast) }
        await output.sendNow(head, payload)
    }

    private func storeHead(
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

    // MARK: Block status

    private func blockStatus(_ request: NBDRequest, _ export: NBDExport) async throws(BlockError) {
        let names = export.info.contexts
        var lists = [[(length: UInt32, flags: UInt32)]](repeating: [], count: contexts.count)
        var rest = ByteRange(at: request.offset, count: UInt64(request.length))
        let isSingle = request.flags.contains(.reqOne)
        gather: while !rest.isEmpty {
            let status = try await export.storage.status(of: rest)
            let part = rest.prefix(status.count)
            for (index, context) in contexts.enumerated() {
                let flags = Self.stateFlags(status, context: names[context])
                let last = lists[index].count - 1
                if last >= 0, lists[index][last].flags == flags {
                    lists[index][last].length += UInt32(part.count)
                } else if lists[index].count == (isSingle ? 1 : NBDLimits.extents) {
                    break gather
                } else {
                    lists[index].append((UInt32(part.count), flags))
                }
            }
            rest = rest.dropping(part.count)
        }
        for (index, context) in contexts.enumerated() {
            await output.add(
                NBDReply.blockStatusChunk(
                    context: UInt32(context), extents: lists[index], isLast: index == contexts.count - 1,
                    cookie: request.cookie))
        }
    }

    /// `base:allocation`: bit 0 hole, bit 1 reads as zeros. `qemu:allocation-depth`: 0 nowhere, 1 here, 2 one below, …
    private static func stateFlags(_ status: BlockStatus, context: String) -> UInt32 {
        if context == NBDExport.depthContext {
            return status.flags.contains(.allocated) ? UInt32(clamping: status.depth + 1) : 0
        }
        return (status.flags.contains(.data) ? 0 : 1) | (status.flags.contains(.zero) ? 2 : 0)
    }
}
