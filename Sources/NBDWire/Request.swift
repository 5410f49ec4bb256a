public import Bytes

/// A request of the transmission phase, without its payload.
public struct NBDRequest: Equatable, Sendable {
    /// Bytes of a request's header.
    public static let byteCount = 28

    public var flags: NBDCommandFlags
    /// The command's number, which may be one that we do not know.
    public var type: UInt16
    /// The client's name for the request, given back in the reply.
    public var cookie: UInt64
    public var offset: UInt64
    public var length: UInt32

    public var command: NBDCommand? { NBDCommand(rawValue: type) }

    public init(flags: NBDCommandFlags, type: UInt16, cookie: UInt64, offset: UInt64, length: UInt32) {
        self.flags = flags
        self.type = type
        self.cookie = cookie
        self.offset = offset
        self.length = length
    }

    /// Decodes the header at `position`; nil where the magic is wrong. Precondition: 28 bytes are there.
    @inlinable
    public init?(_ bytes: RawSpan, at position: Int = 0) {
        guard bytes.bigEndian(UInt32.self, at: position) == NBDMagic.request else { return nil }
        flags = NBDCommandFlags(rawValue: bytes.bigEndian(at: position + 4))
        type = bytes.bigEndian(at: position + 6)
        cookie = bytes.bigEndian(at: position + 8)
        offset = bytes.bigEndian(at: position + 16)
        length = bytes.bigEndian(at: position + 24)
    }

    /// The header as the client sends it: 28 bytes at `position`.
    @inlinable
    public func store(_ output: inout MutableRawSpan, at position: Int) {
        output.storeBigEndian(NBDMagic.request, at: position)
        output.storeBigEndian(flags.rawValue, at: position + 4)
        output.storeBigEndian(type, at: position + 6)
        output.storeBigEndian(cookie, at: position + 8)
        output.storeBigEndian(offset, at: position + 16)
        output.storeBigEndian(length, at: position + 24)
    }

    /// Likewise, by itself.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(NBDMagic.request)
        bytes.appendBigEndian(flags.rawValue)
        bytes.appendBigEndian(type)
        bytes.appendBigEndian(cookie)
        bytes.appendBigEndian(offset)
        bytes.appendBigEndian(length)
        return bytes
    }
}

extension Array where Element == UInt8 {
    /// Adds an integer's bytes, most significant first.
    public mutating func appendBigEndian<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
        var shift = T.bitWidth
        while shift > 0 {
            shift -= 8
            append(UInt8(truncatingIfNeeded: value >> T(shift)))
        }
    }
}
