import Block
import Bytes
import NBDWire
import Streams

/// How a connection ended.
enum NBDLoss: Error {
    /// It is gone: in words why.
    case gone(String)
    /// The server said what the protocol forbids; nothing more is believed.
    case violation(String)

    var text: String {
        switch self {
        case .gone(let text), .violation(let text): text
        }
    }
}

/// One connection to a server: the handshake, then many requests at once.
///
/// One task receives. It reads the heads of replies; a read's payload is taken by whoever asked for it, straight into the
/// buffer that it lies in, while the receiver waits. Another task sends what requests have gathered.
final class NBDConnection {
    let stream: any ByteStream
    let context: any IOContext
    var input: StreamInput
    let output: StreamOutput
    /// Set by the handshake.
    private(set) var isStructured = false
    private(set) var contextID: UInt32?
    private(set) var loss: NBDLoss?
    /// Why it could not be made private.
    private var insecurity: OpenError?
    /// Called once, when it has ended.
    var onEnd: ((NBDLoss) -> Void)?

    private var calls: [NBDCall] = []
    private var idle: [Int] = []
    private var sequence: UInt32 = 0
    private(set) var underWay = 0
    /// The receiver waits here while a payload is taken.
    let turn = Parking()
    var isTaken = false
    private var silence: TimerID?
    private var silenceLimitMs = NBDConnection.silenceMs
    private var heardNs: UInt64 = 0
    private var isReceiving = false
    private var isSending = false
    private let rest = WaitQueue()

    /// The longest that a server with requests before it may say nothing. No disk that works takes as long; QEMU waits
    /// for ever.
    static let silenceMs: UInt64 = 300_000
    /// How long a connection that is closed waits for its last bytes to go.
    static let farewellMs: UInt64 = 1000
    /// In transmission one receive takes up to this much: many replies at a time. Longer than any message that is looked at
    /// whole.
    private static let window = 256 << 10
    /// What the buffers of one connection may take, in bytes.
    private static let memory = 2 << 20

    init(_ stream: any ByteStream, in context: any IOContext) {
        self.stream = stream
        self.context = context
        let account = MemoryAccount(MemoryBudget(limit: Self.memory, clients: 1))
        // Half of the budget is the one client's own: this cannot fail.
        _ = account.charge(StreamInput.least + StreamOutput.least)
        input = StreamInput(account, capacity: Self.window)
        output = StreamOutput(stream, account)
    }

    // MARK: Handshake

    /// Carries a handshake through, in so many milliseconds and as long as it is wanted. The connection is closed where
    /// that fails.
    func shakeHands(_ goal: NBDGoal, withinMs: UInt64, isWanted: @escaping () -> Bool = { true })
        async throws(OpenError) -> NBDClientNegotiation
    {
        let patience = Patience(stream, in: context, withinMs: withinMs, isWanted)
        defer { patience.end() }
        let secured = stream as? any SecurableStream
        var negotiation = NBDClientNegotiation(goal, wantsTLS: secured != nil)
        do throws(BlockError) {
            try await converse(&negotiation)
            if negotiation.state == .securing, let secured {
                try await secure(secured)
                try await stream.send(negotiation.secured().byteSpan)
                try await converse(&negotiation)
            }
        } catch {
            stream.close()
            if let insecurity, !patience.isOver { throw OpenError(insecurity.message, cause: .io) }
            let reason =
                patience.isOver
                ? "the server took longer than \(withinMs) ms"
                : error == .closed ? "Unexpected end-of-file before all data were read" : error.sentence
            throw OpenError("Failed to read \(negotiation.awaited): \(reason)", cause: .io)
        }
        if case .failed(let failure) = negotiation.state {
            stream.close()
            throw OpenError(failure.message, cause: failure.isViolation ? .invalid : .io)
        }
        if negotiation.state == .listed { stream.close() }
        isStructured = negotiation.hasStructuredReplies
        contextID = negotiation.context
        return negotiation
    }

    /// Begins TLS. What came in the clear behind the server's consent may be anybody's.
    private func secure(_ stream: any SecurableStream) async throws(BlockError) {
        do throws(OpenError) {
            guard input.count == 0 else { throw OpenError("TLS handshake failed: the server spoke before it began") }
            try await stream.secure()
        } catch {
            insecurity = error
            throw .io
        }
    }

    /// Sends and receives until the negotiation is over, or waits for TLS.
    private func converse(_ negotiation: inout NBDClientNegotiation) async throws(BlockError) {
        while true {
            let (consumed, reply) = input.show { negotiation.receive($0) }
            input.consume(consumed)
            if !reply.isEmpty { try await stream.send(reply.byteSpan) }
            guard negotiation.state == .underWay else { return }
            if consumed == 0, try await !input.receive(from: stream) { throw .closed }
        }
    }

    /// Begins transmission.
    func start() {
        output.onBroken = { [weak self] in self?.end(.gone("the server takes no more requests")) }
        isSending = true
        isReceiving = true
        context.spawn {
            await self.output.run()
            self.isSending = false
            self.rest.wakeAll()
        }
        context.spawn {
            await self.receiveReplies()
            self.isReceiving = false
            self.rest.wakeAll()
        }
    }

    // MARK: Calls

    /// Notes a request; its cookie names it.
    func begin(_ command: NBDCommand, _ flags: NBDCommandFlags, _ range: ByteRange) throws(NBDCallFailure) -> NBDCall {
        if loss != nil { throw .lost }
        guard let length = UInt32(exactly: range.count) else { throw .refused(.invalid) }
        let index: Int
        if let free = idle.popLast() {
            index = free
        } else {
            index = calls.count
            calls.append(NBDCall())
        }
        sequence &+= 1
        let cookie = UInt64(sequence) << 32 | UInt64(index)
        let call = calls[index]
        call.begin(
            NBDRequest(flags: flags, type: command.rawValue, cookie: cookie, offset: range.start, length: length))
        if underWay == 0 { heard() }
        underWay += 1
        watch()
        return call
    }

    /// The call has been answered, or never will be.
    func finish(_ call: NBDCall) {
        call.end()
        idle.append(Int(call.request.cookie & 0xFFFF_FFFF))
        underWay -= 1
        if underWay == 0 { rest.wakeAll() }
    }

    /// The call that a reply names; nil where there is none that waits for one.
    func call(_ cookie: UInt64) -> NBDCall? {
        let index = Int(cookie & 0xFFFF_FFFF)
        guard index < calls.count else { return nil }
        let call = calls[index]
        return call.isUnderWay && !call.isAnswered && call.request.cookie == cookie ? call : nil
    }

    // MARK: The end

    /// Ends the connection: what is under way on it is lost.
    func end(_ loss: NBDLoss) {
        guard self.loss == nil else { return }
        self.loss = loss
        stream.close()
        if let silence { context.cancel(silence) }
        silence = nil
        for call in calls where call.isUnderWay { call.tell(.lost) }
        turn.wake()
        onEnd?(loss)
        onEnd = nil
    }

    /// Takes leave of the server, then waits until nothing of the connection is under way.
    func close() async {
        onEnd = nil
        if loss == nil, underWay == 0 {
            await output.gather(NBDRequest.byteCount) {
                let leave = NBDRequest(
                    flags: [], type: NBDCommand.disconnect.rawValue, cookie: 0, offset: 0, length: 0)
                leave.store(&$0, at: $1)
            }
        }
        let deadline = context.schedule(afterMs: Self.farewellMs) { [stream] in stream.close() }
        // Those that are lost leave at once.
        if underWay > 0 { end(.gone("closed")) }
        while underWay > 0 { await rest.wait() }
        await output.finish()
        context.cancel(deadline)
        end(.gone("closed"))
        while isReceiving || isSending { await rest.wait() }
    }

    // MARK: Silence

    func heard() { heardNs = context.nowNs }

    /// From now on the server may be silent no longer than this.
    func limitSilence(ms: UInt64) {
        silenceLimitMs = ms
        if let silence { context.cancel(silence) }
        silence = nil
        heard()
        if underWay > 0, loss == nil { watch() }
    }

    /// Sees to it that a server that says nothing is given up.
    private func watch(afterMs: UInt64? = nil) {
        guard silence == nil else { return }
        silence = context.schedule(afterMs: afterMs ?? silenceLimitMs) { [weak self] in
            guard let self else { return }
            silence = nil
            guard underWay > 0, loss == nil else { return }
            let silentMs = (context.nowNs - heardNs) / 1_000_000
            if silentMs >= silenceLimitMs {
                end(.gone("the server has said nothing for \(silenceLimitMs / 1000) s"))
            } else {
                watch(afterMs: silenceLimitMs - silentMs)
            }
        }
    }
}

/// Ends a stream when its time is over, or when nobody wants it any more.
private final class Patience {
    private let stream: any ByteStream
    private let context: any IOContext
    private let isWanted: () -> Bool
    private let endNs: UInt64
    private var timer: TimerID?
    private(set) var isOver = false

    /// How soon it is noticed that nobody wants it, in milliseconds.
    private static let lookMs: UInt64 = 250

    init(_ stream: any ByteStream, in context: any IOContext, withinMs: UInt64, _ isWanted: @escaping () -> Bool) {
        self.stream = stream
        self.context = context
        self.isWanted = isWanted
        endNs = context.nowNs + withinMs * 1_000_000
        look()
    }

    private func look() {
        let now = context.nowNs
        guard now < endNs, isWanted() else {
            isOver = true
            return stream.close()
        }
        timer = context.schedule(afterMs: min((endNs - now) / 1_000_000 + 1, Self.lookMs)) { [weak self] in
            self?.look()
        }
    }

    func end() { if let timer { context.cancel(timer) } }
}
