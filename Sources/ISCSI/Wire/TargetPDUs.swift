// What the target sends: RFC 7143 11.4, 11.6 to 11.9, 11.11, 11.13, 11.15, 11.17 and 11.19.

/// The three numbers of every PDU of the target: its own place in the order of status, and the window for commands.
struct Numbers: Equatable, Sendable {
    var statSN: UInt32 = 0
    var expCmdSN: UInt32 = 0
    var maxCmdSN: UInt32 = 0

    init(statSN: UInt32 = 0, expCmdSN: UInt32 = 0, maxCmdSN: UInt32 = 0) {
        self.statSN = statSN
        self.expCmdSN = expCmdSN
        self.maxCmdSN = maxCmdSN
    }

    init(_ header: PDUHeader) { (statSN, expCmdSN, maxCmdSN) = (header.word24, header.word28, header.word32) }

    func put(into header: inout PDUHeader) {
        (header.word24, header.word28, header.word32) = (statSN, expCmdSN, maxCmdSN)
    }
}

/// A PDU of the target's, whose numbers it gets as it is sent.
protocol TargetPDU: PDU {
    var numbers: Numbers { get set }
    var dataCount: Int { get set }
}

/// A PDU of the target's that carries no data.
extension TargetPDU {
    var dataCount: Int {
        get { 0 }
        set { precondition(newValue == 0, "a PDU without data is given some") }
    }
}

/// What an initiator and a command disagree on (11.4.5): bytes wanted beyond the expected length, or fewer than it.
enum Residual: Equatable, Sendable {
    case none
    case overflow(UInt32)
    case underflow(UInt32)

    init(wanted: UInt64, expected: UInt64) {
        if wanted > expected {
            self = .overflow(UInt32(clamping: wanted - expected))
        } else if wanted < expected {
            self = .underflow(UInt32(clamping: expected - wanted))
        } else {
            self = .none
        }
    }

    init(flags: UInt8, count: UInt32) {
        self = flags & 4 != 0 ? .overflow(count) : flags & 2 != 0 ? .underflow(count) : .none
    }

    var flags: UInt8 {
        switch self {
        case .none: 0
        case .overflow: 4
        case .underflow: 2
        }
    }

    var count: UInt32 {
        switch self {
        case .none: 0
        case .overflow(let count), .underflow(let count): count
        }
    }
}

/// How a command ended (11.4).
struct SCSIResponsePDU: TargetPDU {
    /// 0: completed at the target; 1: target failure.
    var response: UInt8 = 0
    var status: UInt8 = 0
    /// Of the sense segment, its own length included.
    var dataCount = 0
    var tag: UInt32
    var numbers = Numbers()
    /// How many R2T and Data-In PDUs came before.
    var expDataSN: UInt32 = 0
    var residual = Residual.none

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        response = UInt8(header.specific >> 8)
        status = UInt8(truncatingIfNeeded: header.specific)
        dataCount = header.dataCount
        tag = header.tag
        numbers = Numbers(header)
        expDataSN = header.word36
        residual = Residual(flags: header.flags, count: header.word44)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.scsiResponse.rawValue)
        header.flags = 0x80 | residual.flags
        header.specific = UInt16(response) << 8 | UInt16(status)
        header.dataCount = dataCount
        header.tag = tag
        numbers.put(into: &header)
        header.word36 = expDataSN
        header.word44 = residual.count
        return header
    }
}

/// Data of a command that reads (11.7).
struct DataInPDU: TargetPDU {
    var isFinal = true
    /// The status that the command ended with, where this is its last PDU (the S bit).
    var status: UInt8?
    var residual = Residual.none
    var dataCount = 0
    var tag: UInt32
    /// `statSN` counts where there is a status.
    var numbers = Numbers()
    var dataSN: UInt32 = 0
    var bufferOffset: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isFinal = header.has(0x80)
        if header.has(1) {
            status = UInt8(truncatingIfNeeded: header.specific)
            residual = Residual(flags: header.flags, count: header.word44)
        }
        dataCount = header.dataCount
        tag = header.tag
        numbers = Numbers(header)
        dataSN = header.word36
        bufferOffset = header.word40
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.dataIn.rawValue)
        header.flags = isFinal ? 0x80 : 0
        if let status {
            header.flags |= 1 | residual.flags
            header.specific = UInt16(status)
            header.word44 = residual.count
        }
        header.dataCount = dataCount
        header.tag = tag
        header.word20 = PDUHeader.noTag
        numbers.put(into: &header)
        header.word36 = dataSN
        header.word40 = bufferOffset
        return header
    }
}

/// Asks for data of a command that writes (11.8).
struct ReadyToTransferPDU: TargetPDU {
    var lun: UInt64 = 0
    var tag: UInt32
    var transferTag: UInt32 = 0
    var numbers = Numbers()
    var sequence: UInt32 = 0
    var bufferOffset: UInt32 = 0
    var length: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        numbers = Numbers(header)
        sequence = header.word36
        bufferOffset = header.word40
        length = header.word44
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.readyToTransfer.rawValue)
        header.flags = 0x80
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        numbers.put(into: &header)
        header.word36 = sequence
        header.word40 = bufferOffset
        header.word44 = length
        return header
    }
}

/// What became of a task management request (11.6).
struct TaskManagementResponsePDU: TargetPDU {
    enum Response: UInt8, CaseIterable {
        case complete = 0, noSuchTask = 1, noSuchUnit = 2, stillAllegiant = 3, reassignUnsupported = 4
        case unsupported = 5, notAuthorized = 6, rejected = 255
    }

    var response: UInt8
    var tag: UInt32
    var numbers = Numbers()

    init(_ response: Response, tag: UInt32) {
        self.response = response.rawValue
        self.tag = tag
    }

    init(_ header: PDUHeader) {
        response = UInt8(header.specific >> 8)
        tag = header.tag
        numbers = Numbers(header)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.taskManagement.rawValue)
        header.flags = 0x80
        header.specific = UInt16(response) << 8
        header.tag = tag
        numbers.put(into: &header)
        return header
    }
}

/// Something the initiator did not ask for (11.9).
struct AsyncMessagePDU: TargetPDU {
    /// 1: the target asks for logout; 2: it will drop the connection; 3: it will drop all.
    var event: UInt8
    var numbers = Numbers()
    var parameter1: UInt16 = 0
    var parameter2: UInt16 = 0
    var parameter3: UInt16 = 0

    init(event: UInt8) { self.event = event }

    init(_ header: PDUHeader) {
        event = UInt8(header.word36 >> 24)
        parameter1 = UInt16(truncatingIfNeeded: header.word36)
        parameter2 = UInt16(header.word40 >> 16)
        parameter3 = UInt16(truncatingIfNeeded: header.word40)
        numbers = Numbers(header)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.async.rawValue)
        header.flags = 0x80
        numbers.put(into: &header)
        header.word36 = UInt32(event) << 24 | UInt32(parameter1)
        header.word40 = UInt32(parameter2) << 16 | UInt32(parameter3)
        return header
    }
}

/// The answer to a text request (11.11).
struct TextResponsePDU: TargetPDU {
    var isFinal = true
    var continues = false
    var dataCount = 0
    var lun: UInt64 = 0
    var tag: UInt32
    var transferTag = PDUHeader.noTag
    var numbers = Numbers()

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isFinal = header.has(0x80)
        continues = header.has(0x40)
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        numbers = Numbers(header)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.text.rawValue)
        header.flags = (isFinal ? 0x80 : 0) | (continues ? 0x40 : 0)
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        numbers.put(into: &header)
        return header
    }
}

/// The answer to a login request (11.13).
struct LoginResponsePDU: TargetPDU {
    var transits = false
    var continues = false
    var stage: UInt8 = 0
    var nextStage: UInt8 = 0
    var dataCount = 0
    var isid: UInt64 = 0
    var tsih: UInt16 = 0
    var tag: UInt32
    var numbers = Numbers()
    /// Class and detail; 0 is success.
    var status: UInt16 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        transits = header.has(0x80)
        continues = header.has(0x40)
        stage = header.flags >> 2 & 3
        nextStage = header.flags & 3
        dataCount = header.dataCount
        isid = header.lun & ~0xFFFF
        tsih = UInt16(truncatingIfNeeded: header.lun)
        tag = header.tag
        numbers = Numbers(header)
        status = UInt16(header.word36 >> 16)
    }

    /// Version-max and version-active are 0, the only version there is.
    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.login.rawValue)
        header.flags = (transits ? 0x80 : 0) | (continues ? 0x40 : 0) | stage << 2 | nextStage
        header.dataCount = dataCount
        header.lun = isid | UInt64(tsih)
        header.tag = tag
        numbers.put(into: &header)
        header.word36 = UInt32(status) << 16
        return header
    }
}

/// The answer to a logout request (11.15).
struct LogoutResponsePDU: TargetPDU {
    /// 0: closed; 1: no such connection; 2: recovery is not supported.
    var response: UInt8 = 0
    var tag: UInt32
    var numbers = Numbers()
    /// Seconds.
    var timeToWait: UInt16 = 0
    var timeToRetain: UInt16 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        response = UInt8(header.specific >> 8)
        tag = header.tag
        numbers = Numbers(header)
        timeToWait = UInt16(header.word40 >> 16)
        timeToRetain = UInt16(truncatingIfNeeded: header.word40)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.logout.rawValue)
        header.flags = 0x80
        header.specific = UInt16(response) << 8
        header.tag = tag
        numbers.put(into: &header)
        header.word40 = UInt32(timeToWait) << 16 | UInt32(timeToRetain)
        return header
    }
}

/// A PDU that was not taken, and why; its header is the data (11.17).
struct RejectPDU: TargetPDU {
    enum Reason: UInt8, CaseIterable {
        case dataDigest = 0x02, snack = 0x03, protocolError = 0x04, commandUnsupported = 0x05
        case tooManyImmediate = 0x06, taskInProgress = 0x07, invalidDataAck = 0x08, invalidField = 0x09
        case longOperation = 0x0A, waitingForLogout = 0x0C
    }

    var reason: UInt8
    var dataCount = PDUHeader.byteCount
    var numbers = Numbers()

    init(_ reason: Reason) { self.reason = reason.rawValue }

    init(_ header: PDUHeader) {
        reason = UInt8(header.specific >> 8)
        dataCount = header.dataCount
        numbers = Numbers(header)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.reject.rawValue)
        header.flags = 0x80
        header.specific = UInt16(reason) << 8
        header.dataCount = dataCount
        numbers.put(into: &header)
        return header
    }
}

/// A ping, or the answer to one (11.19).
struct NopInPDU: TargetPDU {
    var dataCount = 0
    var lun: UInt64 = 0
    /// Of the ping that this answers; `noTag` otherwise.
    var tag = PDUHeader.noTag
    /// `noTag`: nobody waits for an answer.
    var transferTag = PDUHeader.noTag
    var numbers = Numbers()

    init() {}

    init(_ header: PDUHeader) {
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        numbers = Numbers(header)
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: TargetOpcode.nopIn.rawValue)
        header.flags = 0x80
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        numbers.put(into: &header)
        return header
    }
}
