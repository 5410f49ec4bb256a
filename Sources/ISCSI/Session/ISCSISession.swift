import Block
import Bytes
import Logging
import SCSI
import Streams

/// One connection: the login, then the session that it is (one connection each, error recovery level 0: when the
/// connection ends, the session does).
///
/// This task receives and starts commands; each runs in a slot, a task of its own that is parked between commands; one
/// more task sends what the slots have answered.
final class ISCSISession {
    enum Phase { case login, fullFeature, ended }

    let server: ISCSIServer
    let stream: any ByteStream
    /// The address the connection came in on, as discovery tells it.
    let portal: String
    var context: any IOContext { server.context }
    private(set) var phase = Phase.login
    private(set) var login = LoginNegotiation()
    /// Who logged in, and to what; nil in a discovery session.
    private(set) var wish: LoginNegotiation.Wish?
    private(set) var tsih: UInt16 = 0
    private(set) var nexus: SCSINexus?
    var target: ISCSITarget? { phase == .login ? nil : wish?.target }
    var parameters: SessionParameters { wish?.parameters ?? SessionParameters() }
    private(set) var isClosing = false

    /// Made when the first answer of a session is due, for its buffers are large and idle clients may be many.
    private(set) lazy var output = StreamOutput(stream)
    var input = StreamInput(capacity: ISCSILimits.window)
    var framing = PDUFraming()
    var window = CommandWindow(first: 0)
    var statSN: UInt32 = 0
    var text = TextExchange()
    /// Commands that came before their turn, by number.
    var early: [UInt32: EarlyCommand] = [:]
    /// The logout that ends the session.
    var logout: LogoutRequestPDU?

    // Commands under way.
    var tasks: [UInt32: ISCSITask] = [:]
    var idle: [ISCSITask] = []
    var slots: [ISCSITask] = []
    /// Commands that hold a place in the window, and others.
    var commands = 0
    var immediateCommands = 0
    /// Bytes of those that were admitted; the others, in order.
    var bytes = 0
    var waiting: [ISCSITask] = []
    /// Slots that are not idle, and task management functions that wait.
    var busy = 0
    var managing = 0
    let ended = WaitQueue()
    var nextTransferTag: UInt32 = 0

    // Whether the initiator is still there.
    private var watch: TimerID?
    private var wasHeard = false
    var ping: UInt32?
    private var isLeaving = false

    init(_ server: ISCSIServer, _ stream: any ByteStream, portal: String) {
        self.server = server
        self.stream = stream
        self.portal = portal
    }

    /// Ends the session: what is under way still ends, nothing is answered any more.
    func close() {
        // Once: logins that wait for this session's end ask for it each time they are woken, and this wakes them.
        guard !isClosing else { return }
        isClosing = true
        stream.close()
        server.noticeEnd()
    }

    func run() async {
        guard await logInInTime() else { return end() }
        if target != nil { input.widen() }
        context.spawn { [output] in await output.run() }
        watchInitiator()
        await receivePDUs()
        // Every command ends before the session does, so that a removed target is not in use.
        for task in slots { task.abort(.silent) }
        while busy > 0 || managing > 0 { await ended.wait() }
        for task in slots { task.end() }
        end()
        if let logout { await sendLogoutResponse(logout) }
        await output.finish()
        if let watch { context.cancel(watch) }
    }

    private func end() {
        if let nexus { target?.scsi.end(nexus) }
        phase = .ended
    }

    // MARK: Login

    private func logInInTime() async -> Bool {
        let deadline = context.schedule(afterMs: ISCSILimits.loginMs) { [weak self] in self?.close() }
        defer { context.cancel(deadline) }
        do {
            return try await logIn()
        } catch {
            return false
        }
    }

    private func logIn() async throws(BlockError) -> Bool {
        var isFirst = true
        while !isClosing {
            switch input.show({ framing.next($0, limit: ISCSILimits.unnegotiatedData) }) {
            case .damaged, .tooLong: return false
            case .incomplete: if try await !input.receive(from: stream) { return false }
            case .whole(let frame):
                // Before it has logged in an initiator may say nothing else.
                guard frame.header.opcode == InitiatorOpcode.login.rawValue, frame.ahs.isEmpty else { return false }
                let data = input.show { $0.extracting(frame.data).array }
                input.consume(frame.byteCount)
                let request = LoginRequestPDU(frame.header)
                if isFirst {
                    window = CommandWindow(first: request.cmdSN)
                    statSN = request.expStatSN
                }
                isFirst = false
                if let isIn = try await step(request, data) { return isIn }
            }
        }
        return false
    }

    /// Answers one request; nil while the login goes on.
    private func step(_ request: LoginRequestPDU, _ data: [UInt8]) async throws(BlockError) -> Bool? {
        switch login.receive(request, data, server.grounds(of: self)) {
        case .reply(let response, let text):
            try await send(response, text)
            return nil
        case .refuse(let response):
            tellRefusal(response.status)
            try await send(response, [])
            return false
        case .done(var response, let text, let wish):
            if let status = await server.admit(self, wish) {
                response.transits = false
                response.dataCount = 0
                response.status = status.rawValue
                tellRefusal(status.rawValue)
                try await send(response, [])
                return false
            }
            response.tsih = tsih
            try await send(response, text)
            framing = PDUFraming(
                hasHeaderDigest: parameters.hasHeaderDigest, hasDataDigest: parameters.hasDataDigest)
            return !isClosing
        }
    }

    private func tellRefusal(_ status: UInt16) {
        let reason = LoginStatus(rawValue: status).map { "\($0)" } ?? "\(status)"
        server.log.notice("a login of '\(login.initiator ?? "")' at \(portal) was refused: \(reason)")
    }

    /// Sends a response of the login, which goes out at once.
    private func send(_ response: LoginResponsePDU, _ text: [UInt8]) async throws(BlockError) {
        var response = response
        response.numbers = takeNumbers(withStatus: true)
        var bytes = [UInt8](repeating: 0, count: framing.byteCount(data: text.count))
        bytes.withMutableBytes { _ = framing.store(response.header, text.byteSpan, into: &$0, at: 0) }
        try await stream.send(bytes.byteSpan)
    }

    /// The server lets the session in.
    func enter(_ wish: LoginNegotiation.Wish, tsih: UInt16) {
        phase = .fullFeature
        self.wish = wish
        self.tsih = tsih
        guard let target = wish.target else { return }
        let nexus = SCSINexus(wish)
        self.nexus = nexus
        target.scsi.begin(nexus)
    }

    /// What was agreed changes within the session.
    func adopt(_ changed: SessionParameters) { wish?.parameters = changed }

    /// The target was reset, and this session's initiator has been told so: its connection ends like the others, once
    /// what was said is sent.
    func leaveAfterReset() {
        context.spawn { [self] in
            await output.beginTrain {}
            output.endTrain()
            close()
        }
    }

    // MARK: Numbers

    /// The numbers of a PDU that goes out now; one with a status takes a place in the order of these.
    func takeNumbers(withStatus: Bool) -> Numbers {
        window.open(ISCSILimits.commands - commands)
        defer { if withStatus { statSN &+= 1 } }
        return Numbers(statSN: statSN, expCmdSN: window.expCmdSN, maxCmdSN: window.maxCmdSN)
    }

    // MARK: Silence

    func heard() { wasHeard = true }

    /// Asks an initiator that is silent whether it is there, and hangs up if it does not answer.
    private func watchInitiator() {
        watch = context.schedule(afterMs: ISCSILimits.silenceMs) { [weak self] in self?.lookAtSilence() }
    }

    private func lookAtSilence() {
        if wasHeard {
            ping = nil
        } else if ping != nil {
            return close()
        } else {
            let tag = takeTransferTag()
            ping = tag
            context.spawn { [self] in
                var question = NopInPDU()
                question.transferTag = tag
                await send(question, withStatus: false)
            }
        }
        wasHeard = false
        watchInitiator()
    }

    /// Asks the initiator to log out, and ends the session if it does not.
    func askForLogout() {
        guard !isLeaving, phase == .fullFeature else { return close() }
        isLeaving = true
        context.spawn { [self] in
            var message = AsyncMessagePDU(event: 1)
            message.parameter3 = UInt16(ISCSILimits.logoutMs / 1000)
            await send(message)
        }
        _ = context.schedule(afterMs: ISCSILimits.logoutMs) { [weak self] in self?.close() }
    }

    func takeTransferTag() -> UInt32 {
        nextTransferTag = nextTransferTag == PDUHeader.noTag - 1 ? 0 : nextTransferTag + 1
        return nextTransferTag
    }
}

/// A command that came before its turn, with what it carried.
struct EarlyCommand {
    var header: PDUHeader
    var ahs: [UInt8]
    var data: [UInt8]
}

extension SCSINexus {
    /// The initiator port's name (RFC 7143 4.2.7.2: the initiator's with its ISID) and TransportID (SPC-4 7.6.4.6).
    convenience init(_ wish: LoginNegotiation.Wish) {
        let digits = String(wish.isid >> 16, radix: 16)
        let isid = "0x" + String(repeating: "0", count: 12 - digits.count) + digits
        let port = "\(wish.initiator),i,\(isid)"
        var text = Array(port.utf8) + [0]
        text += [UInt8](repeating: 0, count: max(padding(text.count), 20 - text.count))
        // Format 01b, with ISID; protocol 5, iSCSI.
        let head: [UInt8] = [0x45, 0, UInt8(text.count >> 8), UInt8(text.count & 0xFF)]
        self.init(initiatorPort: port, transportID: head + text)
    }
}
