// What the initiator sends: RFC 7143 11.3, 11.5, 11.7, 11.10, 11.12, 11.14 and 11.18.

import SCSI

/// A SCSI command (11.3).
struct SCSICommandPDU: PDU {
    var isImmediate = false
    /// No unsolicited Data-Out follows.
    var isFinal = true
    var reads = false
    var writes = false
    /// Three bits.
    var attribute: UInt8 = 0
    var ahsCount = 0
    var dataCount = 0
    var lun: UInt64 = 0
    var tag: UInt32
    var expectedLength: UInt32 = 0
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0
    var cdb: CDB = []

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isImmediate = header.isImmediate
        isFinal = header.has(0x80)
        reads = header.has(0x40)
        writes = header.has(0x20)
        attribute = header.flags & 7
        ahsCount = header.ahsCount
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        expectedLength = header.word20
        cmdSN = header.word24
        expStatSN = header.word28
        cdb = CDB(
            head: UInt64(header.word32) << 32 | UInt64(header.word36),
            tail: UInt64(header.word40) << 32 | UInt64(header.word44))
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.scsiCommand.rawValue)
        header.isImmediate = isImmediate
        header.flags = (isFinal ? 0x80 : 0) | (reads ? 0x40 : 0) | (writes ? 0x20 : 0) | attribute
        header.ahsCount = ahsCount
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = expectedLength
        header.word24 = cmdSN
        header.word28 = expStatSN
        header.word32 = UInt32(truncatingIfNeeded: cdb.head >> 32)
        header.word36 = UInt32(truncatingIfNeeded: cdb.head)
        header.word40 = UInt32(truncatingIfNeeded: cdb.tail >> 32)
        header.word44 = UInt32(truncatingIfNeeded: cdb.tail)
        return header
    }
}

/// Data for a command that writes (11.7).
struct DataOutPDU: PDU {
    var isFinal = true
    var dataCount = 0
    var lun: UInt64 = 0
    var tag: UInt32
    /// `noTag`: unsolicited.
    var transferTag = PDUHeader.noTag
    var expStatSN: UInt32 = 0
    var dataSN: UInt32 = 0
    var bufferOffset: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isFinal = header.has(0x80)
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        expStatSN = header.word28
        dataSN = header.word36
        bufferOffset = header.word40
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.dataOut.rawValue)
        header.flags = isFinal ? 0x80 : 0
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        header.word28 = expStatSN
        header.word36 = dataSN
        header.word40 = bufferOffset
        return header
    }
}

/// A task management request (11.5).
struct TaskManagementPDU: PDU {
    enum Function: UInt8, CaseIterable {
        case abortTask = 1, abortTaskSet = 2, clearACA = 3, clearTaskSet = 4, logicalUnitReset = 5
        case targetWarmReset = 6, targetColdReset = 7, taskReassign = 8
    }

    var isImmediate = true
    /// Seven bits; may be one that we do not know.
    var function: UInt8
    var lun: UInt64 = 0
    var tag: UInt32
    var referencedTag = PDUHeader.noTag
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0
    var refCmdSN: UInt32 = 0
    var expDataSN: UInt32 = 0

    init(_ function: Function, tag: UInt32) {
        self.function = function.rawValue
        self.tag = tag
    }

    init(_ header: PDUHeader) {
        isImmediate = header.isImmediate
        function = header.flags & 0x7F
        lun = header.lun
        tag = header.tag
        referencedTag = header.word20
        cmdSN = header.word24
        expStatSN = header.word28
        refCmdSN = header.word32
        expDataSN = header.word36
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.taskManagement.rawValue)
        header.isImmediate = isImmediate
        header.flags = 0x80 | function
        header.lun = lun
        header.tag = tag
        header.word20 = referencedTag
        header.word24 = cmdSN
        header.word28 = expStatSN
        header.word32 = refCmdSN
        header.word36 = expDataSN
        return header
    }
}

/// A login request (11.12).
struct LoginRequestPDU: PDU {
    /// The T bit: the initiator is ready to go on to `nextStage`.
    var transits = false
    /// The C bit: the text goes on in the next request.
    var continues = false
    /// Two bits each.
    var stage: UInt8 = 0
    var nextStage: UInt8 = 0
    var versionMax: UInt8 = 0
    var versionMin: UInt8 = 0
    var dataCount = 0
    /// The ISID's six bytes, in the high ones.
    var isid: UInt64 = 0
    var tsih: UInt16 = 0
    var tag: UInt32
    var connection: UInt16 = 0
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        transits = header.has(0x80)
        continues = header.has(0x40)
        stage = header.flags >> 2 & 3
        nextStage = header.flags & 3
        versionMax = UInt8(header.specific >> 8)
        versionMin = UInt8(truncatingIfNeeded: header.specific)
        dataCount = header.dataCount
        isid = header.lun & ~0xFFFF
        tsih = UInt16(truncatingIfNeeded: header.lun)
        tag = header.tag
        connection = UInt16(header.word20 >> 16)
        cmdSN = header.word24
        expStatSN = header.word28
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.login.rawValue)
        header.isImmediate = true
        header.flags = (transits ? 0x80 : 0) | (continues ? 0x40 : 0) | stage << 2 | nextStage
        header.specific = UInt16(versionMax) << 8 | UInt16(versionMin)
        header.dataCount = dataCount
        header.lun = isid | UInt64(tsih)
        header.tag = tag
        header.word20 = UInt32(connection) << 16
        header.word24 = cmdSN
        header.word28 = expStatSN
        return header
    }
}

/// A text request (11.10).
struct TextRequestPDU: PDU {
    var isImmediate = false
    var isFinal = true
    var continues = false
    var dataCount = 0
    var lun: UInt64 = 0
    var tag: UInt32
    var transferTag = PDUHeader.noTag
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isImmediate = header.isImmediate
        isFinal = header.has(0x80)
        continues = header.has(0x40)
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        cmdSN = header.word24
        expStatSN = header.word28
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.text.rawValue)
        header.isImmediate = isImmediate
        header.flags = (isFinal ? 0x80 : 0) | (continues ? 0x40 : 0)
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        header.word24 = cmdSN
        header.word28 = expStatSN
        return header
    }
}

/// A logout request (11.14).
struct LogoutRequestPDU: PDU {
    var isImmediate = true
    /// Seven bits: 0 closes the session, 1 the connection, 2 removes a connection for recovery.
    var reason: UInt8 = 0
    var tag: UInt32
    var connection: UInt16 = 0
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isImmediate = header.isImmediate
        reason = header.flags & 0x7F
        tag = header.tag
        connection = UInt16(header.word20 >> 16)
        cmdSN = header.word24
        expStatSN = header.word28
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.logout.rawValue)
        header.isImmediate = isImmediate
        header.flags = 0x80 | reason
        header.tag = tag
        header.word20 = UInt32(connection) << 16
        header.word24 = cmdSN
        header.word28 = expStatSN
        return header
    }
}

/// A ping, or the answer to one of ours (11.18).
struct NopOutPDU: PDU {
    var isImmediate = false
    var dataCount = 0
    var lun: UInt64 = 0
    /// `noTag`: nobody waits for an answer.
    var tag: UInt32
    /// Of the ping that this answers; `noTag` otherwise.
    var transferTag = PDUHeader.noTag
    var cmdSN: UInt32 = 0
    var expStatSN: UInt32 = 0

    init(tag: UInt32) { self.tag = tag }

    init(_ header: PDUHeader) {
        isImmediate = header.isImmediate
        dataCount = header.dataCount
        lun = header.lun
        tag = header.tag
        transferTag = header.word20
        cmdSN = header.word24
        expStatSN = header.word28
    }

    var header: PDUHeader {
        var header = PDUHeader(opcode: InitiatorOpcode.nopOut.rawValue)
        header.isImmediate = isImmediate
        header.flags = 0x80
        header.dataCount = dataCount
        header.lun = lun
        header.tag = tag
        header.word20 = transferTag
        header.word24 = cmdSN
        header.word28 = expStatSN
        return header
    }
}
