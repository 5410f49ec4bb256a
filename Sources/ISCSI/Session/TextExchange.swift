/// Text requests of the full feature phase (RFC 7143 11.10), one exchange at a time: text may come in several requests,
/// and its answer go out in several responses.
struct TextExchange: Sendable {
    enum Step: Equatable, Sendable {
        case reply(TextResponsePDU, [UInt8])
        case reject(RejectPDU.Reason)
    }

    private var text: [UInt8] = []
    private var requests = 0
    /// What is still to be sent.
    private var rest: ArraySlice<UInt8> = []
    /// Names the exchange while it goes on.
    private var transferTag: UInt32?
    private var nextTag: UInt32 = 1

    /// Takes one request. No response has more than `limit` bytes of text.
    mutating func receive(
        _ request: TextRequestPDU, _ data: [UInt8], limit: Int, answer: (TextKeys) -> TextKeys
    ) -> Step {
        if request.transferTag == PDUHeader.noTag {
            // The initiator begins anew.
            end()
        } else if request.transferTag != transferTag {
            return .reject(.invalidField)
        }
        guard !(request.continues && request.isFinal) else { return fail() }
        requests += 1
        if !rest.isEmpty {
            guard data.isEmpty, !request.continues else { return fail() }
            return reply(request, limit)
        }
        guard requests <= ISCSILimits.loginPDUs, text.count + data.count <= ISCSILimits.text else { return fail() }
        text += data
        if request.continues { return reply(request, limit) }
        guard let keys = TextKeys(text) else { return fail() }
        text = []
        let answers = answer(keys).encoded
        guard answers.count <= ISCSILimits.text else { return fail() }
        rest = answers[...]
        return reply(request, limit)
    }

    private mutating func reply(_ request: TextRequestPDU, _ limit: Int) -> Step {
        let part = Array(rest.prefix(limit))
        rest = rest.dropFirst(limit)
        var response = TextResponsePDU(tag: request.tag)
        response.lun = request.lun
        response.dataCount = part.count
        response.continues = !rest.isEmpty
        response.isFinal = request.isFinal && rest.isEmpty
        if response.isFinal { end() } else { response.transferTag = tag() }
        return .reply(response, part)
    }

    private mutating func tag() -> UInt32 {
        if let transferTag { return transferTag }
        nextTag = nextTag == PDUHeader.noTag - 1 ? 1 : nextTag + 1
        transferTag = nextTag
        return nextTag
    }

    private mutating func fail() -> Step {
        end()
        return .reject(.protocolError)
    }

    private mutating func end() {
        text = []
        rest = []
        requests = 0
        transferTag = nil
    }
}
