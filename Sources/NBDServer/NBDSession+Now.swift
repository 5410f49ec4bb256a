import Block
import Bytes
import NBDWire
import Streams

// Requests that memory can answer: no slot, no task, no copy on the way. What is read goes from the page cache into the
// output, what is written from the input into the page cache. Everything else takes the long way, errors too.
extension NBDSession {
    /// After so many requests answered in place, of 32 KiB at most, others get their turn.
    static var answersPerTurn: Int { 64 }

    /// Carries a request out and answers it, where neither has to wait. Behind the header, `input` may hold its payload.
    func answerNow(_ request: NBDRequest, _ input: inout StreamInput) -> Bool {
        switch request.command {
        case .read: readNow(request)
        case .write: writeNow(request, &input)
        default: false
        }
    }

    private func readNow(_ request: NBDRequest) -> Bool {
        let length = Int(request.length)
        guard length > 0, length < Self.sparseLimit, let export, isAllowed(request, export) else { return false }
        let headCount = headByteCount
        return output.gatherNow(headCount + length) { bytes, position in
            let start = position + headCount
            var target = bytes._mutatingExtracting(start..<start + length)
            guard export.storage.readNow(at: request.offset, into: &target) else { return false }
            storeHead(&bytes, position, request, length, at: request.offset, isLast: true)
            return true
        }
    }

    private func writeNow(_ request: NBDRequest, _ input: inout StreamInput) -> Bool {
        let length = Int(request.length)
        guard length > 0, input.count >= length, let export, isAllowed(request, export), !isForced(request, export)
        else { return false }
        // Room for the reply is known before the bytes are stored, so that nothing is done twice.
        let isDone = output.gatherNow(NBDReply.simpleByteCount) { bytes, position in
            guard
                input.show({ export.storage.writeNow(at: request.offset, from: $0.extracting(0..<length)) })
            else { return false }
            NBDReply.storeSimple(&bytes, at: position, error: 0, cookie: request.cookie)
            return true
        }
        if isDone { input.consume(length) }
        return isDone
    }

    private func isAllowed(_ request: NBDRequest, _ export: NBDExport) -> Bool {
        do throws(BlockError) { try check(request, export) } catch { return false }
        return true
    }
}
