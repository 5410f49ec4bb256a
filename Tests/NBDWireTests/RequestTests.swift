import BlockTestKit
import Bytes
import NBDWire
import Testing

@Suite("NBD requests")
struct RequestTests {
    static let request = NBDRequest(
        flags: [.fua, .noHole], type: 6, cookie: 0x0102_0304_0506_0708, offset: 0x1112_1314_1516_1718,
        length: 0x2122_2324)
    static let bytes: [UInt8] = [
        0x25, 0x60, 0x95, 0x13, 0x00, 0x03, 0x00, 0x06, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x11, 0x12,
        0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
    ]

    @Test("a request is 28 bytes: magic, flags, type, cookie, offset, length, most significant byte first")
    func layout() {
        #expect(NBDRequest.byteCount == 28)
        #expect(Self.request.encoded == Self.bytes)
        #expect(NBDRequest(Self.bytes.byteSpan) == Self.request)
        #expect(Self.request.command == .writeZeroes)
    }

    @Test("what was encoded decodes to itself, wherever it lies", arguments: 0..<50 as Range<UInt64>)
    func roundTrip(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<100 {
            let request = NBDRequest(
                flags: NBDCommandFlags(rawValue: UInt16(truncatingIfNeeded: random.next())),
                type: UInt16(truncatingIfNeeded: random.next()), cookie: random.next(), offset: random.next(),
                length: UInt32(truncatingIfNeeded: random.next()))
            let position = random.below(20)
            let bytes = random.bytes(position) + request.encoded + random.bytes(random.below(20))
            #expect(NBDRequest(bytes.byteSpan, at: position) == request)
        }
    }

    @Test("a wrong byte of the magic is not a request; a wrong byte elsewhere is another request")
    func magic() {
        for index in Self.bytes.indices {
            for bit in 0..<8 {
                var bytes = Self.bytes
                bytes[index] ^= 1 << UInt8(bit)
                let decoded = NBDRequest(bytes.byteSpan)
                #expect((decoded == nil) == (index < 4))
                #expect(decoded != Self.request)
                #expect(decoded == nil || decoded?.encoded == bytes)
            }
        }
    }

    @Test("a command that is not known is kept by its number")
    func unknownCommand() {
        for type in [8, 9, 255, 0x8000, 0xFFFF] as [UInt16] {
            let request = NBDRequest(flags: [], type: type, cookie: 1, offset: 2, length: 3)
            let bytes = request.encoded
            let decoded = NBDRequest(bytes.byteSpan)
            #expect(decoded?.command == nil)
            #expect(decoded?.type == type)
        }
    }
}
