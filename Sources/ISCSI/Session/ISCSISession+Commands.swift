import Block
import Bytes
import SCSI
import Streams

/// SCSI commands and the data that comes for them.
extension ISCSISession {
    func takeCommand(_ pdu: SCSICommandPDU, _ body: Body) async {
        guard let target, let nexus else { return }
        guard pdu.tag != PDUHeader.noTag else { return await reject(pdu.header, .invalidField) }
        guard tasks[pdu.tag] == nil else { return await reject(pdu.header, .taskInProgress) }
        // No command of these devices moves data both ways.
        guard !(pdu.reads && pdu.writes) else { return await reject(pdu.header, .commandUnsupported) }
        guard !pdu.isImmediate || immediateCommands < ISCSILimits.immediateCommands else {
            return await reject(pdu.header, .tooManyImmediate)
        }
        guard pdu.ahsCount == 0 || show(body, { ahs, _ in Self.isWellFormed(ahs) }) else {
            return await reject(pdu.header, .invalidField)
        }
        let task = takeSlot()
        task.begin(pdu, nexus, target.scsi)
        tasks[pdu.tag] = task
        if pdu.isImmediate { immediateCommands += 1 } else { commands += 1 }
        begin(task, pdu, body)
        await advance(task)
    }

    /// Whether additional header segments (RFC 7143 11.2.2) have the lengths they say, and are extended CDBs, of which
    /// there may be one. No command that is longer than 16 bytes is carried out; it is refused by its operation code.
    static func isWellFormed(_ ahs: RawSpan) -> Bool {
        guard ahs.byteCount >= 4 else { return false }
        // The length counts from behind the kind; the first byte that it counts is reserved.
        let length = Int(ahs.bigEndian(UInt16.self, at: 0))
        return ahs.byte(at: 2) == 1 && length > 1 && 3 + length + padding(3 + length) == ahs.byteCount
    }

    private func takeSlot() -> ISCSITask {
        busy += 1
        if let task = idle.popLast() { return task }
        let task = ISCSITask(self)
        slots.append(task)
        context.spawn { await task.run() }
        return task
    }

    /// Finds room, and takes the immediate data.
    private func begin(_ task: ISCSITask, _ pdu: SCSICommandPDU, _ body: Body) {
        let limit = parameters.unsolicited
        if admits(task) {
            admit(task)
        } else {
            waiting.append(task)
            reserve(task, min(task.wanted, limit))
        }
        if pdu.writes, !pdu.isFinal {
            if parameters.initialR2T { task.failure = .unexpected } else { task.awaitsUnsolicited = true }
        }
        guard pdu.dataCount > 0 else { return }
        guard pdu.writes, parameters.immediateData, pdu.dataCount <= min(limit, Int(pdu.expectedLength)) else {
            task.failure = .unexpected
            return
        }
        task.unsolicited = pdu.dataCount
        guard task.failure == nil else { return }
        task.received = min(pdu.dataCount, task.wanted)
        show(body) { task.buffer.store($1.extracting(0..<task.received), at: 0) }
    }

    // MARK: Room

    private func admits(_ task: ISCSITask) -> Bool {
        waiting.isEmpty && (bytes == 0 || bytes + task.weight <= ISCSILimits.bytes)
    }

    private func admit(_ task: ISCSITask) {
        task.isAdmitted = true
        bytes += task.weight
        reserve(task, task.weight)
    }

    /// Makes a command's buffer long enough; where memory is short, with what idle slots have kept.
    private func reserve(_ task: ISCSITask, _ length: Int) {
        if task.buffer.reserve(length, keeping: task.received) { return }
        for other in idle { other.buffer.shrink() }
        if !task.buffer.reserve(length, keeping: task.received) { task.failure = .noMemory }
    }

    /// A command has been answered, or nobody waits for an answer: its tag and its place in the window are free.
    func complete(_ task: ISCSITask) {
        guard tasks[task.tag] === task else { return }
        tasks[task.tag] = nil
        if task.isImmediate { immediateCommands -= 1 } else { commands -= 1 }
    }

    /// A slot is idle again.
    func release(_ task: ISCSITask) async {
        complete(task)
        if task.isAdmitted { bytes -= task.weight } else { waiting.removeAll { $0 === task } }
        task.isAdmitted = false
        busy -= 1
        idle.append(task)
        ended.wakeAll()
        while let next = waiting.first, bytes == 0 || bytes + next.weight <= ISCSILimits.bytes {
            waiting.removeFirst()
            // One that was aborted while it waited works with the buffer that it has, and ends by itself.
            guard next.state == .collecting else { continue }
            admit(next)
            await advance(next)
        }
    }

    // MARK: Data

    /// Does what can be done next for a command whose data may be complete, missing or wrong.
    func advance(_ task: ISCSITask) async {
        guard task.state == .collecting, !task.awaitsUnsolicited else { return }
        if task.failure != nil {
            // Data that was asked for comes first, or it would meet no command.
            if task.bursts.isEmpty { task.start() }
            return
        }
        guard task.isAdmitted else { return }
        if task.received == task.wanted { return task.start() }
        task.requested = max(task.requested, task.received)
        while wantsRequest(task) { await sendRequest(task) }
    }

    /// Whether one more R2T is to go out.
    func wantsRequest(_ task: ISCSITask) -> Bool {
        task.state == .collecting && task.failure == nil && task.requested < task.wanted
            && task.bursts.count < parameters.outstandingR2T
    }

    func takeData(_ pdu: DataOutPDU, _ frame: PDUFraming.Frame) async {
        // Data of a command that has ended meanwhile, by an abortion or an early failure, meets none. That is no fault.
        guard let task = tasks[pdu.tag], task.state == .collecting else {
            if !frame.isDataIntact { await reject(frame.header, .dataDigest) }
            return
        }
        if !frame.isDataIntact {
            task.failure = task.failure ?? .damaged
            await reject(frame.header, .dataDigest)
            // The command may have been aborted, and its slot be another's.
            guard tasks[pdu.tag] === task, task.state == .collecting else { return }
        }
        if pdu.transferTag == PDUHeader.noTag {
            takeUnsolicited(task, pdu, frame)
        } else if let index = task.bursts.firstIndex(where: { $0.transferTag == pdu.transferTag }) {
            takeSolicited(task, at: index, pdu, frame)
        } else {
            return await reject(frame.header, .invalidField)
        }
        await advance(task)
    }

    private func takeUnsolicited(_ task: ISCSITask, _ pdu: DataOutPDU, _ frame: PDUFraming.Frame) {
        guard task.awaitsUnsolicited else {
            task.failure = task.failure ?? .unexpected
            return
        }
        let end = task.unsolicited + pdu.dataCount
        if end > min(parameters.unsolicited, Int(task.expectedLength)) {
            task.failure = task.failure ?? .unexpected
        } else if Int(pdu.bufferOffset) != task.unsolicited || pdu.dataSN != task.unsolicitedSN {
            task.failure = task.failure ?? .outOfOrder
        }
        if task.failure == nil {
            let kept = min(end, task.wanted) - task.received
            store(task, frame, kept)
            task.unsolicited = end
            task.unsolicitedSN &+= 1
        }
        if pdu.isFinal { task.awaitsUnsolicited = false }
    }

    private func takeSolicited(_ task: ISCSITask, at index: Int, _ pdu: DataOutPDU, _ frame: PDUFraming.Frame) {
        var burst = task.bursts[index]
        let end = burst.position + pdu.dataCount
        // Data comes in the order it was asked for, and the last PDU of a burst says so.
        let isInOrder =
            index == 0 && Int(pdu.bufferOffset) == burst.position && pdu.dataSN == burst.dataSN && end <= burst.end
            && pdu.isFinal == (end == burst.end)
        if !isInOrder { task.failure = task.failure ?? .outOfOrder }
        if task.failure == nil {
            store(task, frame, pdu.dataCount)
            burst.position = end
            burst.dataSN &+= 1
            task.bursts[index] = burst
        }
        if pdu.isFinal { task.bursts.remove(at: index) }
    }

    private func store(_ task: ISCSITask, _ frame: PDUFraming.Frame, _ count: Int) {
        input.show {
            let data = $0.extracting(frame.data)
            task.buffer.store(data.extracting(0..<count), at: task.received)
        }
        task.received += count
    }
}
