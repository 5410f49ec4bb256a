import Block
import Bytes
import NBDWire
import Streams

// Requests for which there is less memory than they are long: what the slot's buffer holds goes at a time. (A read whose
// reply may come in several chunks is cut by them.)
extension NBDSession {
    /// Carries out a write while its payload arrives, and answers it. Throws where the connection ends.
    func writeInPieces(_ request: NBDRequest, _ memory: inout AlignedBuffer, from input: inout StreamInput)
        async throws(BlockError)
    {
        guard let export else { throw .closed }
        var failure: BlockError?
        do { try check(request, export) } catch { failure = error }
        let length = Int(request.length)
        var done = 0
        while done < length {
            let count = min(memory.byteCount, length - done)
            try await input.fill(&memory, count, from: stream)
            // After a failure the rest is still received, so that the next request is found.
            if failure == nil {
                do {
                    try await export.storage.write(
                        at: request.offset + UInt64(done), from: memory.bytes.extracting(0..<count),
                        flags: isForced(request, export) ? .fua : [])
                } catch { failure = error }
            }
            done += count
        }
        if let failure { await refuse(request, failure, export) } else { await output.simple(request) }
    }

    /// Answers a read in one chunk whose data is sent as it is read. The head promises all of it: where a later piece
    /// fails, the connection ends, for there is no other way left to tell.
    func readInPieces(_ request: NBDRequest, _ export: NBDExport, _ memory: inout AlignedBuffer)
        async throws(BlockError)
    {
        let length = Int(request.length)
        var count = min(memory.byteCount, length)
        try await read(count, at: request.offset, export, &memory)
        await output.beginTrain()
        await output.sendPart(
            head(request, length, at: request.offset, isLast: true).byteSpan, memory.bytes.extracting(0..<count))
        var done = count
        while done < length, !isClosing, !output.isBroken {
            count = min(memory.byteCount, length - done)
            do { try await read(count, at: request.offset + UInt64(done), export, &memory) } catch {
                export.onFailure?(false, error)
                close()
                break
            }
            await output.sendPart(RawSpan(), memory.bytes.extracting(0..<count))
            done += count
        }
        output.endTrain()
    }

    private func read(_ count: Int, at offset: UInt64, _ export: NBDExport, _ memory: inout AlignedBuffer)
        async throws(BlockError)
    {
        var whole = memory.mutableBytes
        var target = whole._mutatingExtracting(0..<count)
        try await export.storage.read(at: offset, into: &target)
    }
}
