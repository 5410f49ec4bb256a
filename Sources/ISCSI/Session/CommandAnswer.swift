import Bytes
import SCSI

/// How a command is answered: its data in PDUs of the size that the initiator takes, and its status in the last of them,
/// or in a response of its own where there is no data or sense to be told (RFC 7143 11.4 and 11.7).
struct CommandAnswer {
    /// One Data-In PDU.
    struct Part: Equatable {
        var range: Range<Int>
        var number: UInt32
        /// Ends a burst.
        var isFinal: Bool
        var isLast: Bool
    }

    let tag: UInt32
    let outcome: SCSIOutcome
    let residual: Residual
    let count: Int
    /// R2Ts that went before.
    let requests: UInt32
    let segment: Int
    let burst: Int

    init(_ task: ISCSITask, _ outcome: SCSIOutcome, count: Int, _ parameters: SessionParameters) {
        tag = task.tag
        self.outcome = outcome
        // What the initiator expects of the other direction leaves no room in this one.
        let expected = task.isDirected ? UInt64(task.expectedLength) : 0
        residual = Residual(wanted: outcome.wanted, expected: expected)
        self.count = count
        requests = task.requests
        segment = parameters.sentData
        burst = parameters.maxBurst
    }

    /// Whether the last PDU of data carries the status.
    var isCollapsed: Bool { count > 0 && outcome.sense.isEmpty && outcome.status == .good }

    /// The sense segment: a length, and the sense (11.4.7).
    var sense: [UInt8] {
        guard !outcome.sense.isEmpty else { return [] }
        let bytes = outcome.sense.prefix(252)
        return [0, UInt8(bytes.count)] + bytes
    }

    /// The PDUs of the data, in order.
    var parts: some Sequence<Part> {
        sequence(state: (position: 0, number: UInt32(0))) { state in
            guard state.position < count else { return nil }
            let start = state.position
            let burstEnd = min(count, (start / burst + 1) * burst)
            let end = min(start + segment, burstEnd)
            defer { state = (end, state.number + 1) }
            return Part(range: start..<end, number: state.number, isFinal: end == burstEnd, isLast: end == count)
        }
    }

    /// No more bytes than this are needed for all of it.
    func byteCount(_ framing: PDUFraming) -> Int {
        guard count > segment || count > burst else {
            let data = framing.byteCount(data: count)
            return isCollapsed ? data : framing.byteCount(data: sense.count) + (count > 0 ? data : 0)
        }
        return parts.reduce(framing.byteCount(data: sense.count)) { $0 + framing.byteCount(data: $1.range.count) }
    }

    func dataHeader(_ part: Part, _ numbers: Numbers) -> PDUHeader {
        var pdu = DataInPDU(tag: tag)
        pdu.dataCount = part.range.count
        pdu.isFinal = part.isFinal
        pdu.dataSN = part.number
        pdu.bufferOffset = UInt32(part.range.lowerBound)
        pdu.numbers = numbers
        if part.isLast, isCollapsed {
            pdu.status = outcome.status.rawValue
            pdu.residual = residual
        } else {
            pdu.numbers.statSN = 0
        }
        return pdu.header
    }

    func responseHeader(_ numbers: Numbers) -> PDUHeader {
        var pdu = SCSIResponsePDU(tag: tag)
        pdu.status = outcome.status.rawValue
        pdu.dataCount = sense.count
        pdu.residual = residual
        pdu.numbers = numbers
        pdu.expDataSN = requests + parts.reduce(0) { count, _ in count + 1 }
        return pdu.header
    }

    /// Writes all of it at `position`; answers where it ends.
    func store(
        _ session: ISCSISession, _ data: RawSpan, into bytes: inout MutableRawSpan, at position: Int
    ) -> Int {
        let framing = session.framing
        let numbers = session.takeNumbers(withStatus: true)
        var end = position
        if count > 0, count <= segment, count <= burst {
            let part = Part(range: 0..<count, number: 0, isFinal: true, isLast: true)
            end = framing.store(dataHeader(part, numbers), data, into: &bytes, at: end)
        } else {
            for part in parts {
                end = framing.store(dataHeader(part, numbers), data.extracting(part.range), into: &bytes, at: end)
            }
        }
        if !isCollapsed { end = framing.store(responseHeader(numbers), sense.byteSpan, into: &bytes, at: end) }
        return end
    }
}
