import BlockTestKit
import Bytes
import NBDWire
import Testing

/// Whatever a peer sends: no trap, no more bytes taken than came, an answer that a client can read.
@Suite("NBD negotiation with a hostile peer")
struct HostileNegotiationTests {
    typealias Code = NBDOptionReply

    /// Every option once, well formed.
    static let conversation: [[UInt8]] = [
        option(.structuredReply), option(.list), option(.info, infoData("disk", [1, 2, 3])),
        option(.listMetaContext, contextData("disk", ["base:", "qemu:"])),
        option(.setMetaContext, contextData("disk", ["base:allocation", "qemu:allocation-depth"])),
        option(.startTLS), option(77, [1, 2, 3]), option(.go, infoData("disk", [3, 0])),
    ]

    @Test("a message cut at any byte takes nothing and answers nothing until the rest is there")
    func truncation() {
        for message in Self.conversation + [option(.exportName, Array("disk".utf8)), option(.abort)] {
            for cut in 0..<message.count {
                var handshake = Handshake()
                #expect(handshake.send(Array(message[..<cut])).isEmpty)
                #expect(handshake.waiting.count == cut)
                #expect(!handshake.send(Array(message[cut...])).isEmpty)
                #expect(handshake.waiting.isEmpty)
            }
        }
        for cut in 0..<4 {
            var handshake = Handshake(flags: nil)
            #expect(handshake.send(Array([0, 0, 0, 3][..<cut])).isEmpty)
            #expect(handshake.negotiation.state == .clientFlags)
        }
    }

    @Test("a conversation that arrives byte by byte is answered as one that arrives at once")
    func byteByByte() {
        let bytes = [0, 0, 0, 3] + Self.conversation.flatMap(\.self)
        var whole = Handshake(flags: nil)
        let expected = whole.send(bytes)
        var pieces = Handshake(flags: nil)
        var answer: [UInt8] = []
        for byte in bytes { answer += pieces.send([byte]) }
        #expect(answer == expected)
        #expect(pieces.negotiation.state == .transmission(export: "disk"))
    }

    @Test(
        "an option whose data ends early, at any byte, or goes on behind its end is refused, and the next one is heard",
        arguments: [NBDOption.info, .go, .listMetaContext, .setMetaContext])
    func truncatedData(kind: NBDOption) {
        let isInfo = kind == .info || kind == .go
        let data = isInfo ? infoData("disk", [1, 3]) : contextData("disk", ["base:allocation", "qemu:"])
        for count in Array(0..<data.count) + [data.count + 1, data.count + 1000] {
            var handshake = Handshake()
            _ = handshake.ask(.structuredReply)
            let cut = Array((data + [UInt8](repeating: 0, count: 1000)).prefix(count))
            #expect(handshake.ask(kind, cut).map(\.code) == [Code.invalid], "\(count) bytes")
            #expect(handshake.negotiation.state == .options)
            #expect(handshake.ask(.list).last?.code == Code.ack)
        }
    }

    @Test(
        "R36: a length or a count inside an option that its data does not hold is refused",
        arguments: 0..<32 as Range<UInt32>)
    func hostileLengths(bit: UInt32) {
        for value in [UInt32(1) << bit, ~(UInt32(1) << bit), (UInt32(1) << bit) - 1] where value > 4 {
            var number: [UInt8] = []
            number.appendBigEndian(value)
            for kind in [NBDOption.info, .go, .listMetaContext, .setMetaContext] {
                var handshake = Handshake()
                _ = handshake.ask(.structuredReply)
                #expect(handshake.ask(kind, number + Array("disk".utf8)).map(\.code) == [Code.invalid])
            }
            for kind in [NBDOption.listMetaContext, .setMetaContext] {
                var handshake = Handshake()
                _ = handshake.ask(.structuredReply)
                let count = handshake.ask(kind, counted("disk") + number + counted("base:allocation"))
                #expect(count.first?.isError == true && count.count == 1)
                let query = handshake.ask(kind, counted("disk") + [0, 0, 0, 1] + number + Array("base:".utf8))
                #expect(query.map(\.code) == [Code.invalid])
            }
        }
    }

    @Test("R33: an option longer than 64 KiB ends the connection before its data is waited for")
    func longOptions() {
        for kind in [1, 2, 3, 5, 6, 7, 8, 9, 10, 99] as [UInt32] {
            for length in [65537, 1 << 20, 1 << 31, .max] as [UInt32] {
                var handshake = Handshake()
                #expect(handshake.send(option(kind, claiming: length)).isEmpty)
                #expect(handshake.negotiation.state == .ended)
            }
            var handshake = Handshake()
            let answer = handshake.send(option(kind, [UInt8](repeating: 0xFF, count: 65536)))
            #expect(kind == 1 ? handshake.negotiation.state == .ended : OptionReply.all(answer)?.count == 1)
        }
    }

    @Test("a wrong byte in an option's magic ends the connection")
    func wrongMagic() {
        for index in 0..<8 {
            var message = option(.list)
            message[index] ^= 0x20
            var handshake = Handshake()
            #expect(handshake.send(message).isEmpty)
            #expect(handshake.negotiation.state == .ended)
            #expect(handshake.send(option(.list)).isEmpty, "nothing is heard after the end")
        }
    }

    @Test("R32: names up to 4096 bytes are looked up, longer ones are refused", arguments: [4095, 4096, 4097, 30_000])
    func nameLengths(count: Int) {
        let name = String(repeating: "n", count: count)
        let exports = [NBDExportInfo(name: name, description: name, size: 1, flags: .hasFlags, contexts: [name])]
        let fits = count <= 4096
        var handshake = Handshake(exports)
        _ = handshake.ask(.structuredReply)
        #expect((handshake.ask(.info, infoData(name, [1, 2])).last?.code == Code.ack) == fits)
        #expect((handshake.ask(.setMetaContext, contextData(name, [name])).last?.code == Code.ack) == fits)
        for reply in handshake.ask(.list) { #expect(reply.data.count <= 4 + 2 * 4096) }
        #expect(handshake.ask(.go, infoData(String(repeating: "m", count: min(count, 4096)))).first?.isError == true)
        _ = handshake.send(option(.exportName, Array(name.utf8)))
        #expect(handshake.negotiation.state == (fits ? .transmission(export: name) : .ended))
    }

    @Test("R34: the message that names an unknown export is whole text and short, however long the name")
    func echoedNames() {
        let combining = "e" + String(repeating: "\u{301}", count: 2047)
        let names = [
            String(repeating: "n", count: 4096), String(repeating: "é", count: 2048), combining,
            String(repeating: "😀", count: 1024), "%s%n", "'",
        ]
        for name in names {
            var handshake = Handshake()
            for reply in handshake.ask(.info, infoData(name)) {
                #expect(reply.code == Code.unknown)
                #expect(reply.text != nil)
                #expect(reply.data.count <= 512)
            }
        }
    }

    @Test("names that are no text are refused")
    func notText() {
        for bytes in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], Array("disk\0".utf8), [0]] as [[UInt8]] {
            var handshake = Handshake()
            #expect(handshake.ask(.go, counted(bytes) + [0, 0]).map(\.code) == [Code.invalid])
            #expect(handshake.ask(.listMetaContext, counted(bytes) + [0, 0, 0, 0]).map(\.code) == [Code.invalid])
            let queries = counted("disk") + [0, 0, 0, 1] + counted(bytes)
            #expect(handshake.ask(.listMetaContext, queries).map(\.code) == [Code.invalid])
        }
    }

    @Test("256 queries are answered, more are refused", arguments: [255, 256, 257, 4000])
    func manyQueries(count: Int) {
        var handshake = Handshake()
        _ = handshake.ask(.structuredReply)
        for kind in [NBDOption.listMetaContext, .setMetaContext] {
            let data = contextData("disk", [String](repeating: "base:allocation", count: count))
            guard data.count <= NBDLimits.optionLength else { continue }
            let replies = handshake.ask(kind, data)
            #expect(replies.count == (count <= 256 ? 2 : 1))
            #expect(replies.last?.isError == (count > 256))
        }
    }

    @Test("an export of any size and any number of requests for information is told as it is")
    func extremes() {
        for size in [0, 1, 511, 1 << 32, 1 << 63, .max] as [UInt64] {
            let exports = [NBDExportInfo(name: "x", size: size, flags: .hasFlags)]
            var handshake = Handshake(exports)
            let requests = (0..<30_000).map { UInt16(truncatingIfNeeded: $0) }
            let replies = handshake.ask(.go, infoData("x", requests))
            let told = replies.first { $0.data.starts(with: [0, 0]) }
            #expect(told?.data.byteSpan.bigEndian(UInt64.self, at: 2) == size)
            #expect(replies.count <= 5)
        }
    }

    @Test("nonsense is taken in whole or left, and answered with whole replies", arguments: 0..<200 as Range<UInt64>)
    func nonsense(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bytes = [0, 0, 0, 3] + Self.conversation.shuffled(using: &random).flatMap(\.self)
        for _ in 0..<1 + random.below(6) {
            let index = random.chance(90) ? 4 + random.below(bytes.count - 4) : random.below(bytes.count)
            switch random.below(4) {
            case 0: bytes[index] = UInt8(truncatingIfNeeded: random.next())
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(contentsOf: random.bytes(random.below(9)), at: index)
            default: bytes[index] = random.pick([0, 1, 0x7F, 0x80, 0xFF])
            }
        }
        var handshake = Handshake(flags: nil)
        let answer = handshake.send(bytes)
        if handshake.negotiation.state == .options, handshake.waiting.count >= 16 {
            let claimed = handshake.waiting.byteSpan.bigEndian(UInt32.self, at: 12)
            #expect(claimed <= 65536 && handshake.waiting.count < 16 + Int(claimed), "only what is not whole may wait")
        }
        // EXPORT_NAME's answer has no head, and the export's name is all that could choose one.
        if let replies = OptionReply.all(answer) {
            #expect(replies.allSatisfy { $0.data.count <= 4 + 2 * 4096 && (!$0.isError || $0.text != nil) })
        } else {
            #expect(handshake.negotiation.state == .transmission(export: ""))
        }
    }
}
