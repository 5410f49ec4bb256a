import Block
import Bytes
import SCSI
import Streams

/// One SCSI command under way, in a slot that is used again: its buffer, and a task that is parked between commands.
///
/// The session's receiver begins it and brings its data; once that is complete, the slot's own task carries it out and
/// answers it. What ends early (data that breaks the rules, an abortion) is answered, or not, by that task too.
final class ISCSITask {
    enum State { case idle, collecting, executing }
    /// What becomes of an aborted command: nobody waits for its answer, or somebody else's initiator aborted it.
    enum Abortion { case silent, told }
    /// Why its data was not taken: sense key, additional code and qualifier (RFC 7143 11.4.7.2).
    enum DataFailure: Equatable { case unexpected, outOfOrder, damaged }

    /// Data asked for with one R2T.
    struct Burst: Equatable {
        var transferTag: UInt32
        var position: Int
        var end: Int
        var dataSN: UInt32 = 0
    }

    private unowned let session: ISCSISession
    private let parking = Parking()
    private var isEnding = false

    private(set) var state = State.idle
    /// Counts the commands that the slot has carried, so that whoever waits for one does not wait for the next.
    private(set) var generation: UInt64 = 0
    private(set) var abortion: Abortion?
    var failure: DataFailure?

    private(set) var command: SCSICommand?
    private(set) var tag = PDUHeader.noTag
    private(set) var lun: UInt64 = 0
    private(set) var isImmediate = false
    private(set) var reads = false
    private(set) var writes = false
    private(set) var expectedLength: UInt32 = 0
    private(set) var plan = SCSIDataPlan.none

    var buffer = RequestBuffer()
    /// Whether the session's budget has room for it.
    var isAdmitted = false
    /// Bytes that the command is to get from the initiator.
    private(set) var wanted = 0
    /// How many of them are here.
    var received = 0
    /// Unsolicited data may still come; how much has, with what nobody wants.
    var awaitsUnsolicited = false
    var unsolicited = 0
    var unsolicitedSN: UInt32 = 0
    /// R2Ts whose data has not come whole, and up to where data was asked for.
    var bursts: [Burst] = []
    var requested = 0
    /// R2Ts sent.
    var requests: UInt32 = 0

    init(_ session: ISCSISession) { self.session = session }

    /// Bytes of memory that it needs.
    var weight: Int { if case .toInitiator(let count) = plan { count } else { wanted } }

    /// Whether data goes the way that the initiator expects, as far as the command moves any.
    var isDirected: Bool {
        switch plan {
        case .none: true
        case .toInitiator: reads
        case .fromInitiator: writes
        }
    }

    // MARK: Its life

    /// Takes a command over. Precondition: the slot is idle.
    func begin(_ pdu: SCSICommandPDU, _ nexus: SCSINexus, _ target: SCSITarget) {
        generation += 1
        state = .collecting
        (abortion, failure) = (nil, nil)
        (tag, lun, isImmediate) = (pdu.tag, pdu.lun, pdu.isImmediate)
        (reads, writes, expectedLength) = (pdu.reads, pdu.writes, pdu.expectedLength)
        let command = SCSICommand(
            nexus: nexus, lun: pdu.lun, cdb: pdu.cdb,
            attribute: SCSICommand.Attribute(rawValue: pdu.attribute) ?? .simple,
            expectedLength: UInt64(pdu.expectedLength))
        plan = target.plan(command)
        self.command = command
        wanted = 0
        if writes, case .fromInitiator(let count) = plan { wanted = min(count, Int(pdu.expectedLength)) }
        isAdmitted = false
        (received, awaitsUnsolicited, unsolicited, unsolicitedSN) = (0, false, 0, 0)
        bursts.removeAll(keepingCapacity: true)
        (requested, requests) = (0, 0)
    }

    /// Its data is complete, or will not come: the slot's task takes over.
    func start() {
        precondition(state == .collecting)
        state = .executing
        parking.wake()
    }

    func abort(_ how: Abortion) {
        guard state != .idle, abortion == nil else { return }
        abortion = how
        if state == .collecting { start() }
    }

    /// Ends the task. Precondition: the slot is idle.
    func end() {
        isEnding = true
        parking.wake()
    }

    func run() async {
        while true {
            while state != .executing {
                if isEnding { return }
                await parking.park()
            }
            await execute()
            state = .idle
            await session.release(self)
        }
    }

    private func execute() async {
        guard let command, let target = session.target, var memory = buffer.take() else { return }
        var outcome = SCSIOutcome()
        if abortion == .told {
            outcome.status = .taskAborted
        } else if let failure {
            outcome = failure.outcome
        } else if abortion == nil {
            var none = MutableRawSpan()
            if case .toInitiator(let count) = plan {
                var whole = memory.mutableBytes
                var room = whole._mutatingExtracting(0..<count)
                outcome = await target.scsi.execute(command, dataOut: RawSpan(), dataIn: &room)
            } else {
                outcome = await target.scsi.execute(
                    command, dataOut: memory.bytes.extracting(0..<received), dataIn: &none)
            }
            if abortion == .told { outcome = SCSIOutcome(status: .taskAborted) }
        }
        await session.answer(self, outcome, memory.bytes)
        buffer.giveBack(memory)
        buffer.trim()
    }
}

extension ISCSITask.DataFailure {
    /// ABORTED COMMAND: unexpected unsolicited data; data phase error; protocol service CRC error.
    var outcome: SCSIOutcome {
        let (code, qualifier): (UInt8, UInt8) =
            switch self {
            case .unexpected: (0x0C, 0x0C)
            case .outOfOrder: (0x4B, 0x00)
            case .damaged: (0x47, 0x05)
            }
        let sense: [UInt8] = [0x70, 0, 0x0B, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0]
        return SCSIOutcome(status: .checkCondition, sense: sense)
    }
}
