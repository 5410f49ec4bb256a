import BlockTestKit
import Testing

@testable import ISCSI

@Suite("iSCSI text")
struct TextTests {
    static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("pairs are read and written alike")
    func pairs() throws {
        let text = "InitiatorName=iqn.x\u{0}X-com.example#1=a=b\u{0}Empty=\u{0}"
        let keys = try #require(TextKeys(Self.bytes(text)))
        #expect(keys["InitiatorName"] == "iqn.x" && keys["X-com.example#1"] == "a=b" && keys["Empty"] == "")
        #expect(keys.encoded == Self.bytes(text))
        // The last zero may be missing, and more may be there.
        #expect(TextKeys(Self.bytes("a=1")) == TextKeys(Self.bytes("a=1\u{0}\u{0}")))
        #expect(TextKeys([])?.pairs.isEmpty == true)
    }

    @Test(
        "what is no pair is none",
        arguments: [
            "a", "=b", "a b=c", "a=b\u{0}a=c", "a=\u{1}", "a=b\nc", "ä=b", String(repeating: "k", count: 64) + "=v",
            "a=" + String(repeating: "v", count: 2051), "a\u{7F}=b",
        ])
    func malformed(_ text: String) { #expect(TextKeys(Self.bytes(text)) == nil) }

    @Test("keys and values of the longest lengths are pairs")
    func longest() {
        let text = String(repeating: "k", count: 63) + "=" + String(repeating: "v", count: 2050)
        #expect(TextKeys(Self.bytes(text))?.pairs.count == 1)
    }

    @Test("numbers are decimal or hexadecimal and nothing else")
    func numbers() {
        let good: [(String, UInt64)] = [("0", 0), ("8192", 8192), ("0x1F", 31), ("0Xff", 255)]
        for (text, value) in good { #expect(TextValue.number(text) == value) }
        for text in ["", "-1", "+1", "0x", "0x+1", "1 ", " 1", "0b11", "99999999999999999999", "1e3", "Yes"] {
            #expect(TextValue.number(text) == nil, "\(text)")
        }
    }

    @Test("R62: binary values are bounded, hexadecimal or base64, and anything else is refused")
    func binary() {
        #expect(TextValue.binary("0x0102ff") == [1, 2, 255] && TextValue.binary("0X102FF") == [1, 2, 255])
        #expect(TextValue.binary("0bAQL/") == [1, 2, 255] && TextValue.binary("0bAQI=") == [1, 2])
        #expect(TextValue.binary("0bAQ==") == [1] && TextValue.binary("0bAQ") == [1])
        for text in ["", "0", "0x", "0b", "00ff", "0xg0", "0bA", "0bAQ=A", "0bAQ===", "0b=", "0b*", "ff"] {
            #expect(TextValue.binary(text) == nil, "\(text)")
        }
        #expect(TextValue.binary("0x" + String(repeating: "00", count: 1024))?.count == 1024)
        #expect(TextValue.binary("0x" + String(repeating: "0", count: 2049)) == nil)
        #expect(TextValue.binary("0b" + String(repeating: "A", count: 1368)) == nil)
        var random = SeededRandom(seed: 3)
        for count in 1...64 {
            let bytes = random.bytes(count)
            #expect(TextValue.binary(TextValue.text(bytes)) == bytes)
        }
    }

    // MARK: Exchanges

    static func request(_ tag: UInt32 = PDUHeader.noTag, isFinal: Bool = true, continues: Bool = false)
        -> TextRequestPDU
    {
        var request = TextRequestPDU(tag: 1)
        request.transferTag = tag
        request.isFinal = isFinal
        request.continues = continues
        return request
    }

    static func echo(_ keys: TextKeys) -> TextKeys { keys }

    @Test("text in several requests is answered when it is whole, in as many responses as it takes")
    func exchange() throws {
        var exchange = TextExchange()
        let text = Self.bytes("Long=" + String(repeating: "x", count: 100))
        guard
            case .reply(let first, let none) = exchange.receive(
                Self.request(isFinal: false, continues: true), Array(text[..<50]), limit: 40, answer: Self.echo)
        else { throw Violation("refused") }
        #expect(none.isEmpty && !first.isFinal && first.transferTag != PDUHeader.noTag)
        var answer: [UInt8] = []
        var data = Array(text[50...])
        var responses = 0
        while true {
            guard
                case .reply(let response, let part) = exchange.receive(
                    Self.request(first.transferTag), data, limit: 40, answer: Self.echo)
            else { throw Violation("refused") }
            data = []
            answer += part
            responses += 1
            if response.isFinal {
                #expect(!response.continues && response.transferTag == PDUHeader.noTag)
                break
            }
            #expect(response.continues && response.transferTag == first.transferTag && part.count == 40)
        }
        #expect(answer == text + [0] && responses == 3)
    }

    @Test(
        "R63: a request without data, with C, with F or neither, at any time, is answered or rejected; with both, rejected"
    )
    func everyFlag() {
        let texts: [[UInt8]] = [[], [0], Self.bytes("a=b\u{0}"), Self.bytes("no pair")]
        for first in 0..<16 {
            for second in 0..<16 {
                var exchange = TextExchange()
                var tag = PDUHeader.noTag
                for step in [first, second] {
                    let request = Self.request(tag, isFinal: step & 1 != 0, continues: step & 2 != 0)
                    let result = exchange.receive(request, texts[step >> 2], limit: 2, answer: Self.echo)
                    switch result {
                    case .reply(let response, let text):
                        #expect(step & 3 != 3)
                        #expect(!(response.isFinal && response.continues) && text.count <= 2)
                        tag = response.transferTag
                    case .reject: tag = PDUHeader.noTag
                    }
                }
            }
        }
    }

    @Test("an exchange is bounded, names its own tag only, and begins anew without one")
    func bounds() throws {
        var exchange = TextExchange()
        let unknown = exchange.receive(Self.request(77), [], limit: 100, answer: Self.echo)
        #expect(unknown == .reject(.invalidField))
        var tag = PDUHeader.noTag
        var requests = 0
        while case .reply(let response, _) = exchange.receive(
            Self.request(tag, isFinal: false, continues: true), [UInt8](repeating: 65, count: 4097), limit: 100,
            answer: Self.echo)
        {
            tag = response.transferTag
            requests += 1
        }
        #expect(requests == 15)
        // R60: an answer has its budget as well.
        let large = exchange.receive(Self.request(), Self.bytes("a=b"), limit: 100) { _ in
            var keys = TextKeys()
            for _ in 0..<70_000 / 10 { keys.append("Key", "12345678") }
            return keys
        }
        #expect(large == .reject(.protocolError))
        guard case .reply = exchange.receive(Self.request(), Self.bytes("a=b"), limit: 100, answer: Self.echo) else {
            throw Violation("a new exchange is refused")
        }
    }
}
