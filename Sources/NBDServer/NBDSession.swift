import Block
import Bytes
import NBDWire
import Streams

/// One client: the handshake, then requests. This task receives and starts requests; each runs in a slot, a task of
/// its own that is parked between requests; one more task sends what the slots have answered.
final class NBDSession {
    let server: NBDServer
    let stream: any ByteStream
    var context: any IOContext { server.context }
    private(set) var export: NBDExport?
    private(set) var hasStructuredReplies = false
    /// Ids into the export's contexts.
    private(set) var contexts: [Int] = []
    private(set) var isClosing = false

    /// Made when the first reply to a request is due, for its buffers are large and idle clients may be many.
    private(set) lazy var output = StreamOutput(stream)
    /// In transmission one receive takes this much: many requests at a time. Longer than any message of the handshake.
    private var input = StreamInput(capacity: 256 << 10)
    private var idle: [NBDSlot] = []
    private(set) var slots: [NBDSlot] = []
    /// Requests under way and their bytes.
    private var requests = 0
    private var bytes = 0
    private let room = WaitQueue()

    init(_ server: NBDServer, _ stream: any ByteStream) {
        self.server = server
        self.stream = stream
    }

    /// Ends the session: what is under way still ends, nothing is answered any more.
    func close() {
        isClosing = true
        stream.close()
    }

    func run() async {
        guard await negotiate() else { return }
        input.widen()
        context.spawn { [output] in await output.run() }
        await receiveRequests()
        // Every request ends before the session does, so that a removed export is not in use.
        while requests > 0 { await room.wait() }
        for slot in slots { slot.end() }
        await output.finish()
    }

    // MARK: Handshake

    private func negotiate() async -> Bool {
        var deadline: TimerID?
        if server.limits.handshakeMs > 0 {
            deadline = context.schedule(afterMs: server.limits.handshakeMs) { [weak self] in self?.close() }
        }
        defer { if let deadline { context.cancel(deadline) } }
        do {
            return try await shakeHands()
        } catch {
            return false
        }
    }

    private func shakeHands() async throws(BlockError) -> Bool {
        var negotiation = NBDNegotiation()
        try await stream.send(NBDNegotiation.greeting.byteSpan)
        while true {
            let exports = server.exports
            let infos = exports.map(\.info)
            let (consumed, reply) = input.show { negotiation.receive($0, exports: infos) }
            input.consume(consumed)
            if !reply.isEmpty { try await stream.send(reply.byteSpan) }
            switch negotiation.state {
            case .ended: return false
            case .transmission(let name):
                // The export may have gone while the answer was sent, and another taken its name: that is not the one
                // whose size and contexts the client was told.
                guard let export = exports.first(where: { $0.name == name }),
                    server.export(named: name) === export, !isClosing
                else { return false }
                self.export = export
                hasStructuredReplies = negotiation.hasStructuredReplies
                contexts = negotiation.contexts
                return true
            case .clientFlags, .options:
                if consumed == 0, try await !input.receive(from: stream) { return false }
            }
        }
    }

    // MARK: Requests

    private func receiveRequests() async {
        do {
            while !isClosing {
                guard input.count >= NBDRequest.byteCount else {
                    if try await !input.receive(from: stream) { return }
                    continue
                }
                guard let request = input.show({ NBDRequest($0) }) else { return }
                input.consume(NBDRequest.byteCount)
                if request.command == .disconnect { return }
                if try await !start(request) { return }
            }
        } catch {
            // The connection is gone; nobody is left to be told.
        }
    }

    /// Hands a request to a slot. False where the connection cannot go on.
    private func start(_ request: NBDRequest) async throws(BlockError) -> Bool {
        let length = Int(request.length)
        let hasPayload = request.command == .write
        let hasBuffer = hasPayload || request.command == .read
        if hasBuffer, length > NBDLimits.payload {
            // A payload this long is not read to its end to stay in step: the connection ends.
            if hasPayload { return false }
            await output.fail(request, .invalid, self)
            return true
        }
        let weight = hasBuffer ? length : weight(of: request)
        while requests >= server.limits.requests || (requests > 0 && bytes + weight > server.limits.bytes) {
            await room.wait()
            if isClosing { return false }
        }
        requests += 1
        bytes += weight
        let slot = takeSlot()
        if hasBuffer { slot.reserve(length) }
        if hasPayload {
            var payload = slot.takeBuffer()
            var failure: BlockError?
            do { try await input.fill(&payload, length, from: stream) } catch { failure = error }
            slot.giveBack(payload)
            if let failure {
                finished(slot, weight)
                throw failure
            }
        }
        slot.start(request, weight)
        return true
    }

    /// What the reply to a request without a buffer may hold in memory: block status collects extents, seldom shorter
    /// than a sector, and encodes them.
    private func weight(of request: NBDRequest) -> Int {
        guard request.command == .blockStatus, !request.flags.contains(.reqOne) else { return 0 }
        return min(Int(request.length) / 512 + 1, NBDLimits.extents) * contexts.count * 16
    }

    private func takeSlot() -> NBDSlot {
        if let slot = idle.popLast() { return slot }
        let slot = NBDSlot(self)
        slots.append(slot)
        context.spawn { await slot.run() }
        return slot
    }

    /// A slot's request has been answered.
    func finished(_ slot: NBDSlot, _ weight: Int) {
        requests -= 1
        bytes -= weight
        idle.append(slot)
        room.wakeAll()
    }
}
