import Block
import BlockTestKit
import Bytes
import SCSI

@testable import ISCSI

/// What a strict initiator found that the protocol forbids.
struct Violation: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The target ended the connection where an answer was due.
struct Ended: Error {}

/// One PDU as it came.
struct Received {
    var header: PDUHeader
    var data: [UInt8]
    var opcode: TargetOpcode? { TargetOpcode(rawValue: header.opcode) }

    /// The PDU as the kind that it is to be.
    func expect<P: PDU>(_ kind: TargetOpcode, as type: P.Type = P.self) throws -> P {
        guard opcode == kind else { throw Violation("\(kind) is due, and came \(header)") }
        return P(header)
    }
}

/// How a command ended.
struct Answer {
    var status: UInt8
    var sense: [UInt8] = []
    var data: [UInt8] = []
    var residual = Residual.none

    var isGood: Bool { status == 0 }
    /// Sense key, additional code and qualifier.
    var code: [UInt8] { sense.count > 13 ? [sense[2] & 15, sense[12], sense[13]] : [] }
}

/// A small initiator that holds the target to the order of numbers.
final class Initiator {
    let stream: SimulatedStream
    let context: SimulatedContext
    var framing = PDUFraming()
    var name = "iqn.2026-11.org.nacre:initiator"
    var isid: UInt64 = 1 << 16
    var tsih: UInt16 = 0
    var cmdSN: UInt32 = 0xFFFF_FFFE
    var nextTag: UInt32 = 0x100
    /// Of all PDUs so far.
    private(set) var numbers = Numbers()
    private var statSN: UInt32?
    private var input: [UInt8] = []
    /// The most data that one PDU to the target may have.
    var segment = 8192

    init(_ stream: SimulatedStream, _ context: SimulatedContext) {
        self.stream = stream
        self.context = context
    }

    // MARK: Bytes

    func send(raw bytes: [UInt8]) async throws { try await stream.send(bytes.rawBytes) }

    func encoded(_ header: PDUHeader, _ data: [UInt8] = [], ahs: [UInt8] = []) -> [UInt8] {
        var header = header
        header.dataCount = data.count
        header.ahsCount = ahs.count
        var bytes = header.encoded + ahs
        if framing.hasHeaderDigest { bytes += digest(bytes) }
        guard !data.isEmpty else { return bytes }
        let padded = data + [UInt8](repeating: 0, count: padding(data.count))
        return bytes + padded + (framing.hasDataDigest ? digest(padded) : [])
    }

    /// CRC32C bit by bit, least significant byte first.
    func digest(_ bytes: [UInt8]) -> [UInt8] {
        var crc = UInt32.max
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
        }
        return (0..<4).map { UInt8(truncatingIfNeeded: ~crc >> ($0 * 8)) }
    }

    func send(_ pdu: some PDU, _ data: [UInt8] = [], ahs: [UInt8] = []) async throws {
        try await send(raw: encoded(pdu.header, data, ahs: ahs))
    }

    private func receive(_ count: Int) async throws {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while input.count < count {
            var room = buffer.mutableBytes
            let got = try await stream.receive(into: &room)
            guard got > 0 else { throw Ended() }
            input.append(contentsOf: buffer.bytes.extracting(0..<got).copied)
        }
    }

    /// The next PDU; its numbers must be in order.
    func receive() async throws -> Received {
        var frame: PDUFraming.Frame?
        while frame == nil {
            switch framing.next(input.byteSpan, limit: 1 << 20) {
            case .incomplete: try await receive(input.count + 1)
            case .whole(let whole): frame = whole
            case .damaged, .tooLong: throw Violation("a PDU whose header is damaged")
            }
        }
        guard let frame else { throw Ended() }
        guard frame.isDataIntact else { throw Violation("a PDU whose data is damaged") }
        let result = Received(header: frame.header, data: Array(input[frame.data]))
        input.removeFirst(frame.byteCount)
        try check(result)
        return result
    }

    private func check(_ received: Received) throws {
        guard let kind = received.opcode else { throw Violation("opcode \(received.header.opcode)") }
        let now = Numbers(received.header)
        let counts =
            switch kind {
            case .readyToTransfer: false
            case .nopIn: received.header.tag != PDUHeader.noTag
            case .dataIn: received.header.flags & 1 == 1
            default: true
            }
        if counts {
            if let statSN, now.statSN != statSN { throw Violation("StatSN \(now.statSN), due \(statSN)") }
            statSN = now.statSN &+ 1
        }
        guard !SerialNumber.isBefore(now.maxCmdSN, now.expCmdSN &- 1) else { throw Violation("window \(now)") }
        if kind != .login, SerialNumber.isBefore(now.expCmdSN, numbers.expCmdSN) { throw Violation("ExpCmdSN \(now)") }
        numbers = now
    }

    /// Whether the target has ended the connection; false where it says something first.
    func hasEnded() async -> Bool {
        do { _ = try await receive() } catch { return true }
        return false
    }

    func takeTag() -> UInt32 {
        nextTag += 1
        return nextTag
    }

    func takeCmdSN() -> UInt32 {
        defer { cmdSN &+= 1 }
        return cmdSN
    }

    // MARK: Login

    static func text(_ keys: [String]) -> [UInt8] { keys.flatMap { Array($0.utf8) + [0] } }

    func loginRequest(_ stage: UInt8, to next: UInt8? = nil) -> LoginRequestPDU {
        var request = LoginRequestPDU(tag: 1)
        request.stage = stage
        request.transits = next != nil
        request.nextStage = next ?? 0
        request.isid = isid
        request.tsih = tsih
        request.cmdSN = cmdSN
        return request
    }

    /// Sends one login request and takes its response.
    func step(
        _ stage: UInt8, to next: UInt8? = nil, _ keys: [String] = [], change: (inout LoginRequestPDU) -> Void = { _ in }
    ) async throws -> (response: LoginResponsePDU, keys: [String: String]) {
        var request = loginRequest(stage, to: next)
        change(&request)
        try await send(request, Self.text(keys))
        let received = try await receive()
        let response: LoginResponsePDU = try received.expect(.login)
        let pairs = TextKeys(received.data)?.pairs ?? []
        return (response, Dictionary(pairs.map { ($0.key, $0.value) }) { first, _ in first })
    }

    var introduction: [String] {
        ["InitiatorName=\(name)", "TargetName=\(Bench.name)", "SessionType=Normal"]
    }

    /// A normal session without a proof, in one request.
    @discardableResult
    func logIn(_ keys: [String] = []) async throws -> [String: String] {
        let (response, answers) = try await step(1, to: 3, introduction + keys)
        guard response.status == 0, response.transits, response.nextStage == 3 else {
            throw Violation("login ended with \(response.status)")
        }
        tsih = response.tsih
        segment = Int(answers["MaxRecvDataSegmentLength"] ?? "") ?? 8192
        framing = PDUFraming(
            hasHeaderDigest: answers["HeaderDigest"] == "CRC32C", hasDataDigest: answers["DataDigest"] == "CRC32C")
        return answers
    }

    func discover() async throws {
        let (response, _) = try await step(1, to: 3, ["InitiatorName=\(name)", "SessionType=Discovery"])
        guard response.status == 0 else { throw Violation("login ended with \(response.status)") }
    }

    // MARK: Commands

    /// The PDU of a command, numbered.
    func commandPDU(
        _ cdb: [UInt8], reads: Int? = nil, writes: Int? = nil, isFinal: Bool = true, lun: UInt64 = 0
    ) -> SCSICommandPDU {
        var pdu = SCSICommandPDU(tag: takeTag())
        pdu.isFinal = isFinal
        pdu.reads = reads != nil
        pdu.writes = writes != nil
        pdu.attribute = 1
        pdu.lun = lun
        pdu.expectedLength = UInt32(reads ?? writes ?? 0)
        pdu.cmdSN = takeCmdSN()
        pdu.cdb = CDB(cdb)
        return pdu
    }

    /// Sends a command that needs no data from us, and takes its answer.
    func command(_ cdb: [UInt8], reads: Int? = nil, lun: UInt64 = 0) async throws -> Answer {
        let pdu = commandPDU(cdb, reads: reads, lun: lun)
        try await send(pdu)
        return try await answer(to: pdu)
    }

    /// Takes PDUs up to the end of a command: its data in order, and its status once.
    func answer(to command: SCSICommandPDU) async throws -> Answer {
        var data: [UInt8] = []
        var dataSN: UInt32 = 0
        while true {
            let received = try await receive()
            guard received.header.tag == command.tag else {
                throw Violation("an answer to another: \(received.header)")
            }
            switch received.opcode {
            case .dataIn:
                let pdu = DataInPDU(received.header)
                guard pdu.dataSN == dataSN, Int(pdu.bufferOffset) == data.count else { throw Violation("\(pdu)") }
                dataSN += 1
                data += received.data
                guard data.count <= Int(command.expectedLength) else { throw Violation("more data than is expected") }
                if let status = pdu.status { return Answer(status: status, data: data, residual: pdu.residual) }
            case .scsiResponse:
                let pdu = SCSIResponsePDU(received.header)
                guard pdu.response == 0 else { throw Violation("response \(pdu)") }
                return Answer(
                    status: pdu.status, sense: Array(received.data.dropFirst(2)), data: data, residual: pdu.residual)
            default: throw Violation("amid a command came \(received.header)")
            }
        }
    }

    static func read(_ block: Int, _ count: Int) -> [UInt8] { ten(0x28, block, count) }
    static func write(_ block: Int, _ count: Int) -> [UInt8] { ten(0x2A, block, count) }
    static func ten(_ code: UInt8, _ block: Int, _ count: Int) -> [UInt8] {
        [code, 0] + (0..<4).map { UInt8(truncatingIfNeeded: block >> (24 - $0 * 8)) }
            + [0, UInt8(count >> 8), UInt8(count & 0xFF), 0]
    }

    func read(_ block: Int, _ count: Int) async throws -> Answer {
        try await command(Self.read(block, count), reads: count * 512)
    }

    /// How a write's data goes out.
    struct Shape {
        var immediate = 0
        var unsolicited = 0
        var segment = 8192
    }

    /// Writes with so much immediate and unsolicited data, and the rest as it is asked for. Answers the lengths that were
    /// asked for, too.
    func write(_ block: Int, _ data: [UInt8], _ shape: Shape = Shape()) async throws -> (Answer, asked: [Int]) {
        let pdu = commandPDU(
            Self.write(block, data.count / 512), writes: data.count, isFinal: shape.unsolicited == 0)
        try await send(pdu, Array(data[..<shape.immediate]))
        if shape.unsolicited > 0 {
            let range = shape.immediate..<shape.immediate + shape.unsolicited
            try await sendData(pdu, data, range, PDUHeader.noTag, shape.segment)
        }
        var asked: [Int] = []
        while true {
            let received = try await receive()
            guard received.opcode == .readyToTransfer else {
                let response: SCSIResponsePDU = try received.expect(.scsiResponse)
                return (
                    Answer(
                        status: response.status, sense: Array(received.data.dropFirst(2)), residual: response.residual),
                    asked
                )
            }
            let request = ReadyToTransferPDU(received.header)
            guard request.tag == pdu.tag, Int(request.sequence) == asked.count else { throw Violation("\(request)") }
            asked.append(Int(request.length))
            let start = Int(request.bufferOffset)
            try await sendData(pdu, data, start..<start + Int(request.length), request.transferTag, shape.segment)
        }
    }

    /// Sends a run of Data-Out PDUs.
    func sendData(
        _ command: SCSICommandPDU, _ data: [UInt8], _ range: Range<Int>, _ transferTag: UInt32, _ segment: Int
    ) async throws {
        var start = range.lowerBound
        var dataSN: UInt32 = 0
        while start < range.upperBound {
            let end = min(start + segment, range.upperBound)
            var pdu = DataOutPDU(tag: command.tag)
            pdu.lun = command.lun
            pdu.transferTag = transferTag
            pdu.isFinal = end == range.upperBound
            pdu.dataSN = dataSN
            pdu.bufferOffset = UInt32(start)
            try await send(pdu, Array(data[start..<end]))
            start = end
            dataSN += 1
        }
    }

    /// A ping, and its answer: whatever came before has been taken.
    func ping(_ data: [UInt8] = []) async throws -> [UInt8] {
        var pdu = NopOutPDU(tag: takeTag())
        pdu.isImmediate = true
        pdu.cmdSN = cmdSN
        try await send(pdu, data)
        let received = try await receive()
        let answer: NopInPDU = try received.expect(.nopIn)
        guard answer.tag == pdu.tag else { throw Violation("a ping's answer to another") }
        return received.data
    }

    func manage(
        _ function: TaskManagementPDU.Function, lun: UInt64 = 0, _ referenced: UInt32 = PDUHeader.noTag
    ) async throws -> TaskManagementPDU {
        var pdu = TaskManagementPDU(function, tag: takeTag())
        pdu.lun = lun
        pdu.referencedTag = referenced
        pdu.cmdSN = cmdSN
        try await send(pdu)
        return pdu
    }
}
