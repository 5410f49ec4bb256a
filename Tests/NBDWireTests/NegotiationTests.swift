import Bytes
import NBDWire
import Testing

/// The answers to each option, byte for byte where a client looks at bytes.
@Suite("NBD negotiation")
struct NegotiationTests {
    typealias Code = NBDOptionReply

    @Test("a client that speaks fixed newstyle goes on; one that does not, or says more, is left", arguments: 0..<8)
    func clientFlags(flags: UInt32) {
        let handshake = Handshake(flags: flags)
        #expect(handshake.negotiation.state == (flags == 1 || flags == 3 ? .options : .ended))
        for bit in 2..<32 as Range<UInt32> {
            #expect(Handshake(flags: 3 | 1 << bit).negotiation.state == .ended)
        }
    }

    @Test("EXPORT_NAME is answered with size and flags, and 124 zero bytes unless NO_ZEROES", arguments: [1, 3])
    func exportName(flags: UInt32) {
        var handshake = Handshake(flags: flags)
        let answer = handshake.send(option(.exportName, Array("disk".utf8)))
        let padding = [UInt8](repeating: 0, count: flags == 1 ? 124 : 0)
        #expect(answer == [0, 0, 0, 0, 0, 0xA0, 0, 0, 0, 5] + padding)
        #expect(handshake.negotiation.state == .transmission(export: "disk"))
    }

    @Test("EXPORT_NAME without a name is the export whose name is empty")
    func defaultExport() {
        var handshake = Handshake()
        #expect(handshake.send(option(.exportName)) == [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 3])
        #expect(handshake.negotiation.state == .transmission(export: ""))
    }

    @Test("EXPORT_NAME of an export that is not there ends the connection without a word")
    func unknownExportName() {
        for name in [Array("other".utf8), Array("disk\0".utf8), [0xFF, 0xFE], [UInt8](repeating: 65, count: 5000)] {
            var handshake = Handshake()
            #expect(handshake.send(option(.exportName, name)).isEmpty)
            #expect(handshake.negotiation.state == .ended)
        }
    }

    @Test("ABORT is acknowledged and ends the connection, whatever data came with it")
    func abort() {
        for data in [[], [1, 2, 3]] as [[UInt8]] {
            var handshake = Handshake()
            #expect(handshake.ask(.abort, data) == [OptionReply(option: 2, code: Code.ack, data: [])])
            #expect(handshake.negotiation.state == .ended)
        }
    }

    @Test("LIST names every export with its description, then acknowledges")
    func list() {
        var handshake = Handshake()
        let expected = [
            OptionReply(option: 3, code: Code.server, data: counted("disk") + Array("the first".utf8)),
            OptionReply(option: 3, code: Code.server, data: counted("")),
            OptionReply(option: 3, code: Code.ack, data: []),
        ]
        #expect(handshake.ask(.list) == expected)
        handshake.exports = []
        #expect(handshake.ask(.list) == [expected[2]])
        #expect(handshake.ask(.list, [0]).map(\.code) == [Code.invalid])
        #expect(handshake.negotiation.state == .options)
    }

    @Test(
        "INFO and GO tell size, flags and what was asked; only GO chooses the export", arguments: [NBDOption.info, .go])
    func infoAndGo(kind: NBDOption) {
        var handshake = Handshake()
        let replies = handshake.ask(
            kind, infoData("disk", [NBDInfo.name, NBDInfo.description, NBDInfo.blockSize, 77]))
        #expect(replies.allSatisfy { $0.option == kind.rawValue })
        #expect(replies.last == OptionReply(option: kind.rawValue, code: Code.ack, data: []))
        let infos = replies.dropLast()
        #expect(infos.allSatisfy { $0.code == Code.info })
        #expect(
            Set(infos.map(\.data)) == [
                [0, 1] + Array("disk".utf8), [0, 2] + Array("the first".utf8),
                [0, 3, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0xA0, 0, 0, 0, 5],
            ])
        #expect(infos.count == 4)
        #expect(handshake.negotiation.state == (kind == .go ? .transmission(export: "disk") : .options))
    }

    @Test("a client that asks nothing is still told size and flags, and no block size it would break")
    func goWithoutRequests() {
        var handshake = Handshake()
        let replies = handshake.ask(.go, infoData("disk"))
        #expect(replies.contains { $0.data == [0, 0, 0, 0, 0, 0, 0, 0xA0, 0, 0, 0, 5] })
        #expect(replies.contains { $0.data.starts(with: [0, 3, 0, 0, 0, 1]) })
        #expect(!replies.contains { $0.data.starts(with: [0, 1]) || $0.data.starts(with: [0, 2]) })
    }

    @Test("a name or a description that is not there is left out")
    func goWithoutDescription() {
        var handshake = Handshake()
        let replies = handshake.ask(.go, infoData("", [NBDInfo.description, NBDInfo.name]))
        #expect(!replies.contains { $0.data.starts(with: [0, 2]) })
        #expect(replies.contains { $0.data == [0, 1] })
        #expect(handshake.negotiation.state == .transmission(export: ""))
    }

    @Test(
        "INFO and GO of an unknown export are refused, and the client may try another",
        arguments: [NBDOption.info, .go])
    func unknownExport(kind: NBDOption) {
        var handshake = Handshake()
        let replies = handshake.ask(kind, infoData("other"))
        #expect(replies.map(\.code) == [Code.unknown])
        #expect(replies.first?.text == "export 'other' not present")
        #expect(handshake.negotiation.state == .options)
        #expect(handshake.ask(.go, infoData("disk")).last?.code == Code.ack)
    }

    @Test("don't-fragment is offered only to a client that asked for structured replies")
    func dontFragment() {
        func flags(_ replies: [OptionReply]) -> NBDTransmissionFlags? {
            guard let export = replies.first(where: { $0.data.starts(with: [0, 0]) && $0.data.count == 12 }) else {
                return nil
            }
            return NBDTransmissionFlags(rawValue: UInt16(export.data[10]) << 8 | UInt16(export.data[11]))
        }
        var handshake = Handshake()
        #expect(flags(handshake.ask(.info, infoData("disk"))) == [.hasFlags, .sendFlush])
        #expect(handshake.ask(.structuredReply).map(\.code) == [Code.ack])
        #expect(flags(handshake.ask(.info, infoData("disk"))) == [.hasFlags, .sendFlush, .sendDF])
        #expect(handshake.send(option(.exportName, Array("disk".utf8))) == [0, 0, 0, 0, 0, 0xA0, 0, 0, 0, 0x85])
    }

    @Test("STRUCTURED_REPLY is acknowledged, and refused with data")
    func structuredReply() {
        var handshake = Handshake()
        #expect(handshake.ask(.structuredReply, [0]).map(\.code) == [Code.invalid])
        #expect(!handshake.negotiation.hasStructuredReplies)
        #expect(handshake.ask(.structuredReply).map(\.code) == [Code.ack])
        #expect(handshake.negotiation.hasStructuredReplies)
        #expect(handshake.ask(.structuredReply).map(\.code) == [Code.ack])
    }

    @Test("TLS is refused by policy; options that are not known are unsupported; both leave the client its turn")
    func refusedOptions() {
        var handshake = Handshake()
        #expect(handshake.ask(.startTLS).map(\.code) == [Code.policy])
        for number in [0, 4, 11, 12, 255, .max] as [UInt32] {
            let replies = OptionReply.all(handshake.send(option(number, [1, 2, 3])))
            #expect(replies?.map(\.code) == [Code.unsupported])
            #expect(replies?.map(\.option) == [number])
        }
        #expect(handshake.ask(.go, infoData("disk")).last?.code == Code.ack)
    }

    @Test("what follows the choice of an export is left to the transmission phase")
    func afterTheChoice() {
        var handshake = Handshake()
        _ = handshake.send(option(.go, infoData("disk")) + [1, 2, 3])
        #expect(handshake.waiting == [1, 2, 3])
        #expect(handshake.send(option(.list)).isEmpty)
    }

    @Test("options that came together are answered one after the other")
    func pipelined() {
        var handshake = Handshake(flags: nil)
        let answer = handshake.send(
            [0, 0, 0, 3] + option(.structuredReply) + option(.list) + option(99) + option(.go, infoData("disk")))
        #expect(OptionReply.all(answer)?.map(\.option) == [8, 3, 3, 3, 99, 7, 7, 7])
    }
}
