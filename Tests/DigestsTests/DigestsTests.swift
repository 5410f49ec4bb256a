import Bytes
import Digests
import Testing

@Suite("Digests")
struct DigestsTests {
    /// The examples of RFC 7143 appendix A.4, bytes as they stand on the wire.
    static let examples: [([UInt8], [UInt8])] = [
        ([UInt8](repeating: 0, count: 32), [0xaa, 0x36, 0x91, 0x8a]),
        ([UInt8](repeating: 0xff, count: 32), [0x43, 0xab, 0xa8, 0x62]),
        (Array(0..<32), [0x4e, 0x79, 0xdd, 0x46]),
        (Array((0..<32).reversed()), [0x5c, 0xdb, 0x3f, 0x11]),
    ]

    @Test("CRC32C is what RFC 7143 says of its examples, in one piece and in many", arguments: examples)
    func crc(bytes: [UInt8], onTheWire: [UInt8]) {
        func wire(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
        #expect(wire(CRC32C(bytes.byteSpan).value) == onTheWire)
        for cut in 0...bytes.count {
            var crc = CRC32C()
            crc.add(bytes.byteSpan.extracting(0..<cut))
            crc.add(bytes.byteSpan.extracting(cut..<bytes.count))
            #expect(wire(crc.value) == onTheWire)
        }
    }

    @Test("a hash of parts is the hash of the whole")
    func hashes() {
        let known: [(Hash, String)] = [
            (.md5, "900150983cd24fb0d6963f7d28e17f72"),
            (.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ]
        for (hash, hex) in known {
            let digest = hash.digest(Array("a".utf8), [], Array("bc".utf8))
            #expect(digest?.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() == hex)
            #expect(digest?.count == hash.byteCount)
        }
    }

    @Test("secrets are equal when every byte is, and random bytes are not twice the same")
    func secrets() {
        #expect(isEqualSecret([], []))
        #expect(isEqualSecret([1, 2, 3], [1, 2, 3]))
        #expect(!isEqualSecret([1, 2, 3], [1, 2, 4]))
        #expect(!isEqualSecret([1, 2, 3], [1, 2]))
        let (first, second) = (randomBytes(32), randomBytes(32))
        #expect(first?.count == 32 && first != second)
    }
}
