/// What one initiator may ask for. Each number bounds memory or time that somebody without a password could take.
enum ISCSILimits {
    /// Data of one PDU, in bytes: what we declare as MaxRecvDataSegmentLength. Larger ones gain nothing, and a session's
    /// window must hold a PDU whole.
    static let pduData = 256 << 10
    /// A header with the longest additional segments, its digest, the data and its digest.
    static let pdu = PDUHeader.byteCount + 1020 + 4 + pduData + 4
    /// The window of a session: the longest PDU and what came with it.
    static let window = 512 << 10
    /// Text of a login or of one text negotiation, in bytes; what initiators say takes less than one.
    static let text = 64 << 10
    /// PDUs of a login. The longest honest one, mutual CHAP, takes six.
    static let loginPDUs = 16
    /// Data of one PDU before login has told otherwise, in both directions (RFC 7143 13.12).
    static let unnegotiatedData = 8192
    /// Text of one answer while logging in, in bytes: one PDU. Only hostile requests have longer answers (a key that is
    /// not understood is answered with itself and 15 bytes more).
    static let loginReply = unnegotiatedData
    /// Time to log in. Ours answers at once, so all of it is the initiator's.
    static let loginMs: UInt64 = 15_000
    /// Sessions of all targets.
    static let sessions = 64
    /// Connections that have not logged in yet; the oldest makes room.
    static let logins = 64
    /// Commands of a session under way: the window that initiators are told.
    static let commands = 128
    /// Immediate commands beyond that, which no window holds back.
    static let immediateCommands = 16
    /// Task management functions of a session under way; each may wait for the commands it aborts.
    static let taskManagement = 8
    /// Bytes of a session's commands under way. What does not fit waits, with its unsolicited data alone.
    static let bytes = 64 << 20
    /// Data that may come before it is asked for, of one command: with `commands`, 32 MiB.
    static let firstBurst = 256 << 10
    /// Data of one R2T.
    static let maxBurst = 1 << 20
    /// R2Ts of one command under way.
    static let outstandingR2T = 4
    /// Silence after which an initiator is asked whether it is there, and again until it is taken for dead.
    static let silenceMs: UInt64 = 15_000
    /// How long an initiator that was asked to log out may take: its commands are answered meanwhile.
    static let logoutMs: UInt64 = 2000
    /// A key's name, in bytes (RFC 7143 6.1).
    static let keyName = 63
    /// A value, in bytes, but for binary ones (6.1).
    static let value = 255
    /// A binary value, decoded, in bytes (6.1), and as hexadecimal text.
    static let binary = 1024
    static let binaryText = 2 + 2 * binary
    /// An iSCSI name, in bytes (4.2.7.1).
    static let name = 223
}
