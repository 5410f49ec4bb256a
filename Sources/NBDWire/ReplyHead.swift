import Bytes

/// The head of a reply, as a client takes it.
public enum NBDReplyHead: Equatable, Sendable {
    case simple(error: UInt32, cookie: UInt64)
    /// `length` bytes of payload lie behind the head.
    case chunk(type: UInt16, isLast: Bool, cookie: UInt64, length: UInt32)
    /// More bytes are needed.
    case incomplete
    /// What is there is no reply.
    case malformed

    /// Decodes the head at the front of `bytes`.
    public init(_ bytes: RawSpan) {
        guard bytes.byteCount >= 4 else {
            self = .incomplete
            return
        }
        switch bytes.bigEndian(UInt32.self, at: 0) {
        case NBDMagic.simpleReply:
            guard bytes.byteCount >= NBDReply.simpleByteCount else {
                self = .incomplete
                return
            }
            self = .simple(error: bytes.bigEndian(at: 4), cookie: bytes.bigEndian(at: 8))
        case NBDMagic.structuredReply:
            guard bytes.byteCount >= NBDReply.chunkByteCount else {
                self = .incomplete
                return
            }
            self = .chunk(
                type: bytes.bigEndian(at: 6), isLast: bytes.bigEndian(UInt16.self, at: 4) & NBDChunk.done != 0,
                cookie: bytes.bigEndian(at: 8), length: bytes.bigEndian(at: 16))
        default: self = .malformed
        }
    }

    /// Bytes of the head.
    public var byteCount: Int {
        switch self {
        case .simple: NBDReply.simpleByteCount
        case .chunk: NBDReply.chunkByteCount
        case .incomplete, .malformed: 0
        }
    }
}
