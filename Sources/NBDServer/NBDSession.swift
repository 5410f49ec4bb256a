import Block
import Bytes
import Logging
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

    /// Pays for all buffers below.
    let account: MemoryAccount
    /// Made when the first reply to a request is due: idle clients may be many.
    private(set) lazy var output = StreamOutput(stream, account)
    private var input: StreamInput
    private var idle: [NBDSlot] = []
    private(set) var slots: [NBDSlot] = []
    /// Requests under way and their bytes.
    private var requests = 0
    private var bytes = 0
    private let room = WaitQueue()

    init(_ server: NBDServer, _ stream: any ByteStream) {
        self.server = server
        self.stream = stream
        account = MemoryAccount(server.budget)
        input = StreamInput(account, capacity: Self.window)
        // Within the share, and nothing was charged before: this cannot fail.
        _ = account.charge(Self.least)
    }

    /// What is needed to serve a client at all: the smallest buffers, and one slot with its reply.
    private static let least = StreamInput.least + StreamOutput.least + 2 * RequestBuffer.least
    /// In transmission one receive takes up to this much: many requests at a time. Longer than any message of the handshake.
    private static let window = 256 << 10

    /// Ends the session: what is under way still ends, nothing is answered any more.
    func close() {
        isClosing = true
        stream.close()
    }

    func run() async {
        guard await negotiate() else { return }
        guard let executor = export?.executor else { return await transmit() }
        await context.visit(executor) { await self.transmit() }
    }

    private func transmit() async {
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
        let secured = stream as? any SecurableStream
        var negotiation = NBDNegotiation(needsTLS: secured != nil)
        try await stream.send(NBDNegotiation.greeting.byteSpan)
        while true {
            let exports = server.exports.filter { $0.access() != .none }
            let infos = exports.map(\.info)
            let media = exports.map(\.medium)
            let (consumed, reply) = input.show { negotiation.receive($0, exports: infos) }
            input.consume(consumed)
            if !reply.isEmpty { try await stream.send(reply.byteSpan) }
            switch negotiation.state {
            case .ended: return false
            case .securing:
                // What came in the clear behind the request to begin may be anybody's.
                guard input.count == 0, let secured, account.charge(secured.memory) else { return false }
                do throws(OpenError) { try await secured.secure() } catch {
                    server.log.warning("option negotiation failed: \(error.message)")
                    return false
                }
                negotiation.secured()
            case .transmission(let name):
                // The export may have gone while the answer was sent, and another taken its name, or another medium its
                // place: that is not the one whose size and contexts the client was told.
                guard let index = exports.firstIndex(where: { $0.name == name }), !isClosing else { return false }
                let export = exports[index]
                guard server.export(named: name) === export, export.medium == media[index] else { return false }
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
            var answered = 0
            while !isClosing {
                guard input.count >= NBDRequest.byteCount else {
                    if try await !input.receive(from: stream) { return }
                    // Whoever has not filled the window is waited for the next time, and others have their turn.
                    if !input.isFilled { answered = 0 }
                    continue
                }
                guard let request = input.show({ NBDRequest($0) }) else { return }
                input.consume(NBDRequest.byteCount)
                if request.command == .disconnect { return }
                if answerNow(request, &input) {
                    answered += 1
                    if answered % Self.answersPerTurn == 0 { await context.yield() }
                    continue
                }
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
        var found = slotAtOnce(weight, hasBuffer)
        if found == nil { found = await slotLater(weight, hasBuffer) }
        guard let slot = found else { return false }
        requests += 1
        bytes += weight
        guard hasPayload else {
            slot.start(request, weight)
            return true
        }
        var payload = slot.takeBuffer()
        var failure: BlockError?
        do {
            if payload.byteCount < length {
                try await writeInPieces(request, &payload, from: &input)
            } else {
                try await input.fill(&payload, length, from: stream)
            }
        } catch { failure = error }
        let isDone = payload.byteCount < length
        slot.giveBack(payload)
        if failure != nil || isDone {
            finished(slot, weight)
            if let failure { throw failure }
        } else {
            slot.start(request, weight)
        }
        return true
    }

    /// A slot with the memory that a request takes, where the client's limits and the budget have it.
    private func slotAtOnce(_ weight: Int, _ hasBuffer: Bool) -> NBDSlot? {
        let isAllowed =
            requests == 0 || (requests < server.limits.requests && bytes + weight <= server.limits.bytes)
        guard isAllowed, let slot = takeSlot() else { return nil }
        if slot.reserve(weight, asBuffer: hasBuffer) { return slot }
        idle.append(slot)
        return nil
    }

    /// Waits for the client's own requests until there is one. Where even the last of them has ended and the budget has
    /// too little, the request is done with the memory that its slot has. Nil once the session closes.
    private func slotLater(_ weight: Int, _ hasBuffer: Bool) async -> NBDSlot? {
        while requests > 0 {
            await room.wait()
            if isClosing { return nil }
            if let slot = slotAtOnce(weight, hasBuffer) { return slot }
        }
        guard let slot = takeSlot() else { return nil }
        for other in idle { other.shrink() }
        _ = slot.reserve(weight, asBuffer: hasBuffer)
        return slot
    }

    /// What the reply to a request without a buffer may hold in memory: block status collects extents, seldom shorter
    /// than a sector, and encodes them.
    private func weight(of request: NBDRequest) -> Int {
        guard request.command == .blockStatus, !request.flags.contains(.reqOne) else { return 0 }
        return min(Int(request.length) / 512 + 1, NBDLimits.extents) * contexts.count * Self.extentWeight
    }

    /// Bytes that one extent takes in a list, and encoded.
    static let extentWeight = 16

    /// An idle slot, or a new one. The first is paid for with the session; nil where another cannot be.
    private func takeSlot() -> NBDSlot? {
        if let slot = idle.popLast() { return slot }
        guard slots.isEmpty || account.charge(RequestBuffer.least) else { return nil }
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
