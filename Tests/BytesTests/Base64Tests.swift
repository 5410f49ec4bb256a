import Bytes
import Testing

@Suite("Base64")
struct Base64Tests {
    @Test(
        "the vectors of RFC 4648, section 10",
        arguments: [
            ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ])
    func vectors(text: String, plain: String) {
        #expect(Base64.decode(Array(text.utf8)) == Array(plain.utf8))
    }

    @Test(
        "what is not base64 is nothing",
        arguments: ["Z", "Zg", "Zm8", "Zg=", "Zg===", "Zm9v=", "Z m8=", "Zm=8", "=", "Zm9v\n"])
    func refused(text: String) { #expect(Base64.decode(Array(text.utf8)) == nil) }

    @Test("where the padding is optional it may be left out, and is nothing else")
    func optionalPadding() {
        #expect(Base64.decode(Array("Zm8".utf8), paddingOptional: true) == Array("fo".utf8))
        #expect(Base64.decode(Array("Zg==".utf8), paddingOptional: true) == Array("f".utf8))
        #expect(Base64.decode(Array("Z".utf8), paddingOptional: true) == nil)
        #expect(Base64.decode(Array("Zg=a".utf8), paddingOptional: true) == nil)
    }
}
