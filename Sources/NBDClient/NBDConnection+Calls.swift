import Block
import Bytes
import NBDWire
import Streams

extension NBDConnection {
    /// Reads all of `buffer`, which is as long as `range`.
    func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(NBDCallFailure) {
        let call = try begin(.read, [], range)
        defer { finish(call) }
        await send(call.request, RawSpan())
        while true {
            switch await call.next() {
            case .data(let offset, let count, let isLast):
                var part = buffer._mutatingExtracting(offset..<offset + count)
                let isTaken = await take(&part)
                giveTurnBack()
                guard isTaken else { throw .lost }
                if isLast { return }
            case .hole(let offset, let count, let isLast):
                buffer.fill(at: offset, count: count)
                giveTurnBack()
                if isLast { return }
            case .ended:
                if let failure = call.failure { throw .refused(failure) }
                return
            case .lost: throw .lost
            }
        }
    }

    /// Carries out a request without an answer but whether it succeeded.
    func run(_ command: NBDCommand, _ flags: NBDCommandFlags, _ range: ByteRange, _ payload: RawSpan = RawSpan())
        async throws(NBDCallFailure)
    {
        let call = try begin(command, flags, range)
        defer { finish(call) }
        await send(call.request, payload)
        try await outcome(of: call)
    }

    /// The state of the first bytes of the range in the context that was negotiated.
    func status(_ range: ByteRange) async throws(NBDCallFailure) -> (length: UInt32, flags: UInt32) {
        let call = try begin(.blockStatus, .reqOne, range)
        defer { finish(call) }
        await send(call.request, RawSpan())
        try await outcome(of: call)
        guard let extent = call.extent else { throw .refused(.io) }
        return extent
    }

    private func outcome(of call: NBDCall) async throws(NBDCallFailure) {
        if case .ended = await call.next() {
            if let failure = call.failure { throw .refused(failure) }
            return
        }
        throw .lost
    }

    private func send(_ request: NBDRequest, _ payload: RawSpan) async {
        let length = NBDRequest.byteCount + payload.byteCount
        guard output.gathers(length) else { return await output.sendNow(request.encoded, payload) }
        await output.gather(length) {
            request.store(&$0, at: $1)
            $0.copy(payload, at: $1 + NBDRequest.byteCount)
        }
    }

    /// Takes a payload from the stream; false where it did not come whole.
    private func take(_ part: inout MutableRawSpan) async -> Bool {
        var done = 0
        while done < part.byteCount {
            let next = min(done + Self.piece, part.byteCount)
            var room = part._mutatingExtracting(done..<next)
            do throws(BlockError) { try await input.fill(&room, from: stream) } catch {
                end(.gone("the connection ended amid a reply"))
                return false
            }
            heard()
            done = next
        }
        return true
    }

    /// After so many bytes a slow server has been heard.
    private static var piece: Int { 1 << 20 }

    private func giveTurnBack() {
        isTaken = false
        turn.wake()
    }
}
