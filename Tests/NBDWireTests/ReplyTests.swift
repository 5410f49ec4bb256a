import Bytes
import NBDWire
import Testing

@Suite("NBD replies")
struct ReplyTests {
    static let cookie: UInt64 = 0x0102_0304_0506_0708
    static let cookieBytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]

    @Test("a simple reply is 16 bytes: magic, error, cookie; nothing beside them is touched")
    func simple() {
        var bytes = [UInt8](repeating: 0xEE, count: 24)
        bytes.withMutableBytes { NBDReply.storeSimple(&$0, at: 4, error: 28, cookie: Self.cookie) }
        let beside = [UInt8](repeating: 0xEE, count: 4)
        #expect(bytes == beside + [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28] + Self.cookieBytes + beside)
        #expect(NBDReply.simpleByteCount == 16)
    }

    @Test("a chunk's head is 20 bytes: magic, flags, type, cookie, length", arguments: [false, true])
    func chunk(isLast: Bool) {
        var bytes = [UInt8](repeating: 0xEE, count: 28)
        bytes.withMutableBytes {
            NBDReply.storeChunk(
                &$0, at: 4, type: NBDChunk.offsetHole, isLast: isLast, cookie: Self.cookie, length: 0xA0B0_C0D0)
        }
        let beside = [UInt8](repeating: 0xEE, count: 4)
        let head: [UInt8] = [0x66, 0x8E, 0x33, 0xEF, 0, isLast ? 1 : 0, 0, 2]
        #expect(bytes == beside + head + Self.cookieBytes + [0xA0, 0xB0, 0xC0, 0xD0] + beside)
        #expect(NBDReply.chunkByteCount == 20)
    }

    @Test("an error chunk ends its reply, and holds the error, the message's length and the message")
    func errorChunk() {
        let bytes = NBDReply.errorChunk(.noSpace, cookie: Self.cookie, message: "full")
        let head: [UInt8] = [0x66, 0x8E, 0x33, 0xEF, 0, 1, 0x80, 1]
        #expect(bytes == head + Self.cookieBytes + [0, 0, 0, 10, 0, 0, 0, 28, 0, 4] + Array("full".utf8))
        let silent = NBDReply.errorChunk(.io, cookie: Self.cookie, message: "")
        #expect(silent == head + Self.cookieBytes + [0, 0, 0, 6, 0, 0, 0, 5, 0, 0])
    }

    @Test("R34: an error's message is cut to 4096 bytes, and stays whole text", arguments: [4095, 4096, 4097, 70_000])
    func longMessage(count: Int) {
        for text in [String(repeating: "x", count: count), "x" + String(repeating: "é", count: count)] {
            let bytes = NBDReply.errorChunk(.io, cookie: 1, message: text)
            let length = Int(bytes.byteSpan.bigEndian(UInt16.self, at: 24))
            #expect(length <= 4096)
            #expect(length >= min(4093, text.utf8.count))
            #expect(bytes.count == 26 + length)
            #expect(Int(bytes.byteSpan.bigEndian(UInt32.self, at: 16)) == 6 + length)
            #expect(String(validating: bytes.dropFirst(26), as: UTF8.self) != nil)
        }
    }

    @Test("a block status chunk holds the context and each extent's length and flags", arguments: [false, true])
    func blockStatus(isLast: Bool) {
        let bytes = NBDReply.blockStatusChunk(
            context: 7, extents: [(length: 65536, flags: 3), (length: .max, flags: 0)], isLast: isLast,
            cookie: Self.cookie)
        let head: [UInt8] = [0x66, 0x8E, 0x33, 0xEF, 0, isLast ? 1 : 0, 0, 5]
        #expect(
            bytes == head + Self.cookieBytes
                + [0, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])
    }

    @Test("the longest block status fits its chunk, and stays below the specification's 2^20 extents")
    func longStatus() {
        #expect(NBDLimits.extents <= 1 << 20)
        let extents = [(length: UInt32, flags: UInt32)](repeating: (512, 1), count: NBDLimits.extents)
        let bytes = NBDReply.blockStatusChunk(context: 0, extents: extents, isLast: true, cookie: 0)
        #expect(bytes.count == 24 + 8 * NBDLimits.extents)
        #expect(Int(bytes.byteSpan.bigEndian(UInt32.self, at: 16)) == bytes.count - 20)
    }
}
