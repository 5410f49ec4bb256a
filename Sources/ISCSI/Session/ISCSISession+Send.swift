import Block
import Bytes
import SCSI
import Streams

/// What goes out, numbered in the order in which it does.
extension ISCSISession {
    /// Sends one PDU with its data.
    func send(_ pdu: some TargetPDU, _ data: [UInt8] = [], withStatus: Bool = true) async {
        var pdu = pdu
        if !data.isEmpty { pdu.dataCount = data.count }
        guard data.count > StreamOutput.gatherLimit else {
            return await output.gather(framing.byteCount(data: data.count)) {
                pdu.numbers = takeNumbers(withStatus: withStatus)
                _ = framing.store(pdu.header, data.byteSpan, into: &$0, at: $1)
            }
        }
        await output.beginTrain { pdu.numbers = takeNumbers(withStatus: withStatus) }
        await output.sendPart(head(of: pdu.header).byteSpan, data.byteSpan)
        await output.sendPart(tail(of: data.byteSpan).byteSpan, RawSpan())
        output.endTrain()
    }

    /// A PDU that is not taken, and why (RFC 7143 11.17).
    func reject(_ header: PDUHeader, _ reason: RejectPDU.Reason) async {
        await send(RejectPDU(reason), header.encoded)
    }

    /// Asks for more data of a command, if that is still wanted when its turn to be sent comes.
    func sendRequest(_ task: ISCSITask) async {
        await output.gather(upTo: framing.headCount) { bytes, position in
            guard wantsRequest(task) else { return 0 }
            var pdu = ReadyToTransferPDU(tag: task.tag)
            let count = min(parameters.maxBurst, task.wanted - task.requested)
            pdu.lun = task.lun
            pdu.transferTag = takeTransferTag()
            pdu.numbers = takeNumbers(withStatus: false)
            pdu.sequence = task.requests
            pdu.bufferOffset = UInt32(task.requested)
            pdu.length = UInt32(count)
            task.bursts.append(
                ISCSITask.Burst(
                    transferTag: pdu.transferTag, position: task.requested, end: task.requested + count))
            task.requested += count
            task.requests += 1
            return framing.storeHead(pdu.header, into: &bytes, at: position) - position
        }
    }

    // MARK: How commands end

    /// Sends the data of a command and how it ended; nothing where nobody waits for it.
    func answer(_ task: ISCSITask, _ outcome: SCSIOutcome, _ memory: RawSpan) async {
        let count = task.reads ? min(outcome.dataInCount, Int(task.expectedLength), task.weight) : 0
        let answer = CommandAnswer(task, outcome, count: count, parameters)
        if count <= StreamOutput.gatherLimit {
            await output.gather(upTo: answer.byteCount(framing)) { bytes, position in
                guard begin(task) else { return 0 }
                return answer.store(self, memory.extracting(0..<count), into: &bytes, at: position) - position
            }
        } else {
            await sendLarge(task, answer, memory.extracting(0..<count))
        }
    }

    /// The answer's turn has come: its numbers tell that there is room for one more. False where it is not wanted.
    private func begin(_ task: ISCSITask) -> Bool {
        complete(task)
        return task.abortion != .silent
    }

    /// Sends data from where it lies, a PDU at a time.
    private func sendLarge(_ task: ISCSITask, _ answer: CommandAnswer, _ data: RawSpan) async {
        var last: (numbers: Numbers, isWanted: Bool) = (Numbers(), false)
        await output.beginTrain { [self] in
            let isWanted = begin(task)
            last = (isWanted ? takeNumbers(withStatus: true) : Numbers(), isWanted)
        }
        if last.isWanted {
            var before: [UInt8] = []
            for part in answer.parts {
                let payload = data.extracting(part.range)
                let header = answer.dataHeader(part, last.numbers)
                await output.sendPart((before + head(of: header)).byteSpan, payload)
                before = tail(of: payload)
            }
            if !answer.isCollapsed { before += whole(answer.responseHeader(last.numbers), answer.sense) }
            if !before.isEmpty { await output.sendPart(before.byteSpan, RawSpan()) }
        }
        output.endTrain()
    }

    private func head(of header: PDUHeader) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: framing.headCount)
        bytes.withMutableBytes { _ = framing.storeHead(header, into: &$0, at: 0) }
        return bytes
    }

    private func tail(of data: RawSpan) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: framing.tailCount(data.byteCount))
        bytes.withMutableBytes { _ = framing.storeTail(data, into: &$0, at: 0) }
        return bytes
    }

    private func whole(_ header: PDUHeader, _ data: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: framing.byteCount(data: data.count))
        bytes.withMutableBytes { _ = framing.store(header, data.byteSpan, into: &$0, at: 0) }
        return bytes
    }
}
