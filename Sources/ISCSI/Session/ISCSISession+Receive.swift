import Block
import Bytes
import SCSI
import Streams

extension ISCSISession {
    /// What a PDU carries behind its header: still in the window, or kept from before its turn.
    enum Body {
        case here(PDUFraming.Frame)
        case kept(EarlyCommand)
    }

    func receivePDUs() async {
        do {
            while !isClosing, logout == nil {
                let (framing, limit) = (framing, parameters.receivedData)
                switch input.show({ framing.next($0, limit: limit) }) {
                case .incomplete:
                    if try await !input.receive(from: stream) { return }
                    heard()
                case .damaged: return
                case .tooLong(let header): return await reject(header, .protocolError)
                case .whole(let frame):
                    await take(frame)
                    input.consume(frame.byteCount)
                }
            }
        } catch {
            // The connection is gone; nobody is left to be told.
        }
    }

    func show<R>(_ body: Body, _ look: (_ ahs: RawSpan, _ data: RawSpan) -> R) -> R {
        switch body {
        case .here(let frame): input.show { look($0.extracting(frame.ahs), $0.extracting(frame.data)) }
        case .kept(let early): look(early.ahs.byteSpan, early.data.byteSpan)
        }
    }

    private func take(_ frame: PDUFraming.Frame) async {
        let header = frame.header
        switch InitiatorOpcode(rawValue: header.opcode) {
        case .dataOut where target != nil: await takeData(DataOutPDU(header), frame)
        case .scsiCommand where target != nil, .taskManagement where target != nil, .nopOut, .text, .logout:
            guard frame.isDataIntact else { return await reject(header, .dataDigest) }
            await takeNumbered(header, frame)
        case .snack: await reject(header, .snack)
        case .login, .dataOut, .scsiCommand, .taskManagement: await reject(header, .protocolError)
        case nil: await reject(header, .commandUnsupported)
        }
    }

    /// Takes what has a command number, in the order of these.
    private func takeNumbered(_ header: PDUHeader, _ frame: PDUFraming.Frame) async {
        if header.isImmediate { return await carryOut(header, .here(frame)) }
        let number = header.word24
        switch window.arrive(number) {
        case .outside: return
        case .early:
            // Paid for until its turn comes; whoever keeps more waiting than there is memory for goes.
            guard account.charge(frame.ahs.count + frame.data.count) else { return close() }
            early[number] = input.show {
                EarlyCommand(header: header, ahs: $0.extracting(frame.ahs).array, data: $0.extracting(frame.data).array)
            }
        case .next:
            await carryOut(header, .here(frame))
            while let number = window.takeNext() {
                guard let command = forget(early: number) else { continue }
                await carryOut(command.header, .kept(command))
            }
        }
    }

    /// Takes out one that came before its turn.
    @discardableResult
    func forget(early number: UInt32) -> EarlyCommand? {
        guard let command = early.removeValue(forKey: number) else { return nil }
        account.refund(command.ahs.count + command.data.count)
        return command
    }

    private func carryOut(_ header: PDUHeader, _ body: Body) async {
        switch InitiatorOpcode(rawValue: header.opcode) {
        case .scsiCommand: await takeCommand(SCSICommandPDU(header), body)
        case .taskManagement: await manage(TaskManagementPDU(header))
        case .nopOut: await answer(NopOutPDU(header), body)
        case .text: await answer(TextRequestPDU(header), body)
        case .logout: await leave(LogoutRequestPDU(header))
        default: await reject(header, .commandUnsupported)
        }
    }

    // MARK: Everything but commands

    private func answer(_ request: NopOutPDU, _ body: Body) async {
        guard request.tag != PDUHeader.noTag else {
            if request.transferTag == ping { ping = nil }
            return
        }
        guard request.transferTag == PDUHeader.noTag else { return await reject(request.header, .invalidField) }
        var answer = NopInPDU()
        answer.tag = request.tag
        answer.lun = request.lun
        let limit = parameters.sentData
        await send(answer, show(body) { $1.extracting(0..<min($1.byteCount, limit)).array })
    }

    private func answer(_ request: TextRequestPDU, _ body: Body) async {
        let data = show(body) { $1.array }
        // The answers change what holds, so they may not be made while the exchange is being changed.
        var exchange = text
        let limit = parameters.sentData
        let step = exchange.receive(request, data, limit: limit) { answers(to: $0) }
        text = exchange
        switch step {
        case .reply(let response, let text): await send(response, text)
        case .reject(let reason): await reject(request.header, reason)
        }
    }

    private func leave(_ request: LogoutRequestPDU) async {
        if request.reason == 1, request.connection != wish?.connection {
            var response = LogoutResponsePDU(tag: request.tag)
            response.response = 1
            return await send(response)
        }
        guard request.reason <= 1 else {
            // There is no connection left over to be recovered.
            var response = LogoutResponsePDU(tag: request.tag)
            response.response = 2
            return await send(response)
        }
        logout = request
    }

    func sendLogoutResponse(_ request: LogoutRequestPDU) async {
        await send(LogoutResponsePDU(tag: request.tag))
    }
}
