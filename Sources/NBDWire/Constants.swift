// The numbers of the NBD protocol, named as its specification names them
// (doc/proto.md of the NBD project, "Values").

/// The magic numbers that begin each kind of message.
public enum NBDMagic {
    /// "NBDMAGIC"
    public static let greeting: UInt64 = 0x4E42_444D_4147_4943
    /// "IHAVEOPT"
    public static let option: UInt64 = 0x4948_4156_454F_5054
    /// What an oldstyle server says instead of `option`.
    public static let oldstyle: UInt64 = 0x0000_4202_8186_1253
    public static let optionReply: UInt64 = 0x0003_E889_0455_65A9
    public static let request: UInt32 = 0x2560_9513
    public static let simpleReply: UInt32 = 0x6744_6698
    public static let structuredReply: UInt32 = 0x668E_33EF
}

/// What both sides can do, told in the greeting and in the client's answer.
public struct NBDHandshakeFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let fixedNewstyle = NBDHandshakeFlags(rawValue: 1)
    public static let noZeroes = NBDHandshakeFlags(rawValue: 2)
}

/// What an export can do.
public struct NBDTransmissionFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let hasFlags = NBDTransmissionFlags(rawValue: 1 << 0)
    public static let readOnly = NBDTransmissionFlags(rawValue: 1 << 1)
    public static let sendFlush = NBDTransmissionFlags(rawValue: 1 << 2)
    public static let sendFUA = NBDTransmissionFlags(rawValue: 1 << 3)
    public static let rotational = NBDTransmissionFlags(rawValue: 1 << 4)
    public static let sendTrim = NBDTransmissionFlags(rawValue: 1 << 5)
    public static let sendWriteZeroes = NBDTransmissionFlags(rawValue: 1 << 6)
    public static let sendDF = NBDTransmissionFlags(rawValue: 1 << 7)
    public static let canMultiConn = NBDTransmissionFlags(rawValue: 1 << 8)
    public static let sendCache = NBDTransmissionFlags(rawValue: 1 << 10)
    public static let sendFastZero = NBDTransmissionFlags(rawValue: 1 << 11)
}

/// What a client asks for while it negotiates.
public enum NBDOption: UInt32, Sendable, CaseIterable {
    case exportName = 1
    case abort = 2
    case list = 3
    case startTLS = 5
    case info = 6
    case go = 7
    case structuredReply = 8
    case listMetaContext = 9
    case setMetaContext = 10
}

/// What the server answers to an option. Errors have the top bit set.
public enum NBDOptionReply {
    public static let ack: UInt32 = 1
    public static let server: UInt32 = 2
    public static let info: UInt32 = 3
    public static let metaContext: UInt32 = 4
    public static let unsupported: UInt32 = 1 << 31 | 1
    public static let policy: UInt32 = 1 << 31 | 2
    public static let invalid: UInt32 = 1 << 31 | 3
    public static let platform: UInt32 = 1 << 31 | 4
    public static let tlsRequired: UInt32 = 1 << 31 | 5
    public static let unknown: UInt32 = 1 << 31 | 6
    public static let shutdown: UInt32 = 1 << 31 | 7
    public static let blockSizeRequired: UInt32 = 1 << 31 | 8
    public static let tooBig: UInt32 = 1 << 31 | 9
}

/// The kinds of information on an export.
public enum NBDInfo {
    public static let export: UInt16 = 0
    public static let name: UInt16 = 1
    public static let description: UInt16 = 2
    public static let blockSize: UInt16 = 3
}

public enum NBDCommand: UInt16, Sendable {
    case read = 0
    case write = 1
    case disconnect = 2
    case flush = 3
    case trim = 4
    case cache = 5
    case writeZeroes = 6
    case blockStatus = 7
}

public struct NBDCommandFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let fua = NBDCommandFlags(rawValue: 1 << 0)
    public static let noHole = NBDCommandFlags(rawValue: 1 << 1)
    public static let dontFragment = NBDCommandFlags(rawValue: 1 << 2)
    public static let reqOne = NBDCommandFlags(rawValue: 1 << 3)
    public static let fastZero = NBDCommandFlags(rawValue: 1 << 4)
}

/// The kinds of chunk of a structured reply.
public enum NBDChunk {
    public static let none: UInt16 = 0
    public static let offsetData: UInt16 = 1
    public static let offsetHole: UInt16 = 2
    public static let blockStatus: UInt16 = 5
    public static let error: UInt16 = 1 << 15 | 1
    public static let errorOffset: UInt16 = 1 << 15 | 2
    /// Set on the last chunk of a reply.
    public static let done: UInt16 = 1
}

/// Errors of requests, as errno numbers that the protocol fixes.
public enum NBDError: UInt32, Sendable {
    case permission = 1
    case io = 5
    case noMemory = 12
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case unsupported = 95
    case shutdown = 108
}

/// Limits on what a peer may make us hold or read, in bytes unless said otherwise (docs/reliability.md).
public enum NBDLimits {
    /// An option's data; a longer one ends the connection.
    public static let optionLength = 64 << 10
    /// Any string of the protocol, by the specification.
    public static let stringLength = 4096
    /// The payload of one request.
    public static let payload = 32 << 20
    /// Meta context queries in one option.
    public static let queries = 256
    /// Descriptors in one block status reply.
    public static let extents = 128 << 10
    /// The smallest request of an export may not be larger, by the specification.
    public static let minimumBlock: UInt32 = 64 << 10
    /// What a server may tell of its exports in one handshake, names and descriptions: a list of thousands.
    public static let listedBytes = 4 << 20
    /// Replies to one option, besides those that `listedBytes` bounds.
    public static let optionReplies = 256
    /// Parts of a read that lie apart while their reply arrives in any order.
    public static let fragments = 1024
}
