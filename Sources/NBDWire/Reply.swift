public import Bytes

/// The heads of replies, written straight into an output buffer. Sizes are those of the specification.
public enum NBDReply {
    /// Bytes of a simple reply's head.
    public static let simpleByteCount = 16
    /// Bytes of a structured chunk's head.
    public static let chunkByteCount = 20

    /// A simple reply: 16 bytes at `position`.
    @inlinable
    public static func storeSimple(
        _ output: inout MutableRawSpan, at position: Int, error: UInt32, cookie: UInt64
    ) {
        output.storeBigEndian(NBDMagic.simpleReply, at: position)
        output.storeBigEndian(error, at: position + 4)
        output.storeBigEndian(cookie, at: position + 8)
    }

    /// The head of a structured chunk with `length` bytes behind it: 20 bytes at `position`.
    @inlinable
    public static func storeChunk(
        _ output: inout MutableRawSpan, at position: Int, type: UInt16, isLast: Bool, cookie: UInt64, length: UInt32
    ) {
        output.storeBigEndian(NBDMagic.structuredReply, at: position)
        output.storeBigEndian(isLast ? NBDChunk.done : 0, at: position + 4)
        output.storeBigEndian(type, at: position + 6)
        output.storeBigEndian(cookie, at: position + 8)
        output.storeBigEndian(length, at: position + 16)
    }

    /// A chunk that ends a structured reply with an error and a message, whole.
    public static func errorChunk(_ error: NBDError, cookie: UInt64, message: String) -> [UInt8] {
        let text = message.wireText
        var bytes = chunkHead(NBDChunk.error, isLast: true, cookie: cookie, length: 6 + text.count)
        bytes.appendBigEndian(error.rawValue)
        bytes.appendBigEndian(UInt16(text.count))
        bytes.append(contentsOf: text)
        return bytes
    }

    /// A chunk of block status for one context, whole.
    public static func blockStatusChunk(
        context: UInt32, extents: [(length: UInt32, flags: UInt32)], isLast: Bool, cookie: UInt64
    ) -> [UInt8] {
        var bytes = chunkHead(NBDChunk.blockStatus, isLast: isLast, cookie: cookie, length: 4 + 8 * extents.count)
        bytes.appendBigEndian(context)
        for extent in extents {
            bytes.appendBigEndian(extent.length)
            bytes.appendBigEndian(extent.flags)
        }
        return bytes
    }

    private static func chunkHead(_ type: UInt16, isLast: Bool, cookie: UInt64, length: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(chunkByteCount + length)
        bytes.appendBigEndian(NBDMagic.structuredReply)
        bytes.appendBigEndian(isLast ? NBDChunk.done : 0)
        bytes.appendBigEndian(type)
        bytes.appendBigEndian(cookie)
        bytes.appendBigEndian(UInt32(clamping: length))
        return bytes
    }
}
