import Bytes
import NBDWire
import Testing

/// Where TLS is needed nothing is told before it has begun, and nothing that was said before counts (R37).
@Suite("STARTTLS")
struct STARTTLSTests {
    typealias Code = NBDOptionReply

    @Test("R37: before TLS every option is refused but STARTTLS and ABORT, and none leaves a trace")
    func before() {
        for kind in NBDOption.allCases where ![.startTLS, .abort, .exportName].contains(kind) {
            var handshake = Handshake(needsTLS: true)
            let data = kind == .go || kind == .info ? infoData("disk") : []
            let replies = handshake.ask(kind, data)
            #expect(replies.map(\.code) == [Code.tlsRequired])
            #expect(replies.first?.text == "Option 0x\(String(kind.rawValue, radix: 16)) not permitted before TLS")
            #expect(handshake.negotiation.state == .options)
            #expect(!handshake.negotiation.hasStructuredReplies && handshake.negotiation.contexts.isEmpty)
        }
        var handshake = Handshake(needsTLS: true)
        #expect(handshake.send(option(.exportName, Array("disk".utf8))).isEmpty)
        #expect(handshake.negotiation.state == .ended)
    }

    @Test("STARTTLS is acknowledged, and the options go on when TLS has begun")
    func begins() {
        var handshake = Handshake(needsTLS: true)
        #expect(handshake.ask(.startTLS) == [OptionReply(option: 5, code: Code.ack, data: [])])
        #expect(handshake.negotiation.state == .securing)
        // What stands behind it is not looked at.
        #expect(handshake.send(option(.structuredReply)).isEmpty)
        #expect(!handshake.negotiation.hasStructuredReplies)
        handshake.negotiation.secured()
        #expect(handshake.negotiation.state == .options)
    }

    @Test("STARTTLS is refused with data, a second time, and where there is no TLS")
    func refused() {
        var handshake = Handshake(needsTLS: true)
        #expect(handshake.ask(.startTLS, [1]).map(\.code) == [Code.invalid])
        _ = handshake.ask(.startTLS)
        handshake.negotiation.secured()
        #expect(handshake.ask(.startTLS).map(\.code) == [Code.invalid])
        var plain = Handshake()
        #expect(plain.ask(.startTLS).map(\.code) == [Code.policy])
    }

    private static func reply(_ option: NBDOption, _ code: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(NBDMagic.optionReply)
        bytes.appendBigEndian(option.rawValue)
        bytes.appendBigEndian(code)
        bytes.appendBigEndian(0 as UInt32)
        return bytes
    }

    @Test("R37: a client that wants TLS asks for it first, and for nothing of a server that has none")
    func client() {
        var negotiation = NBDClientNegotiation(.export("disk", context: ""), wantsTLS: true)
        let greeted = negotiation.receive(NBDNegotiation.greeting.byteSpan).reply
        #expect(Array(greeted.dropFirst(4)) == option(.startTLS))
        var willing = negotiation
        #expect(willing.receive(Self.reply(.startTLS, Code.ack).byteSpan).reply.isEmpty)
        #expect(willing.state == .securing)
        #expect(willing.secured() == option(.structuredReply))
        for code in [Code.policy, Code.unsupported, Code.invalid] {
            var refused = negotiation
            #expect(refused.receive(Self.reply(.startTLS, code).byteSpan).reply.isEmpty)
            guard case .failed = refused.state else {
                Issue.record("it goes on in the clear")
                continue
            }
        }
        // Servers that know no options have no TLS either.
        for flags in [0, 2] as [UInt8] {
            var old = NBDClientNegotiation(.list, wantsTLS: true)
            var bytes = NBDNegotiation.greeting
            bytes[bytes.count - 1] = flags
            _ = old.receive(bytes.byteSpan)
            guard case .failed(let failure) = old.state else {
                Issue.record("it goes on in the clear")
                continue
            }
            #expect(failure.message == "Server does not support STARTTLS" && !failure.isViolation)
        }
    }
}
