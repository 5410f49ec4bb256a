import Bytes
import NBDWire
import Testing

@Suite("NBD meta contexts")
struct MetaContextTests {
    typealias Code = NBDOptionReply
    static let allocation = "base:allocation"
    static let depth = "qemu:allocation-depth"

    /// A handshake that has structured replies.
    static func structured() -> Handshake {
        var handshake = Handshake()
        _ = handshake.ask(.structuredReply)
        return handshake
    }

    /// The names that are answered, where the last reply is an acknowledgement.
    static func names(_ replies: [OptionReply]) -> [String]? {
        guard replies.last?.code == Code.ack, replies.dropLast().allSatisfy({ $0.code == Code.metaContext }) else {
            return nil
        }
        return replies.dropLast().map { String(decoding: $0.data.dropFirst(4), as: UTF8.self) }
    }

    @Test(
        "LIST answers the contexts that match: all without a query, a whole name space for its name and a colon",
        arguments: [
            ([], [allocation, depth]), ([allocation], [allocation]), ([depth], [depth]), (["base:"], [allocation]),
            (["qemu:"], [depth]), (["base:", "qemu:"], [allocation, depth]),
            ([depth, depth, "base:"], [allocation, depth]),
            (["base:other"], []), (["qemu:dirty-bitmap:x"], []), (["qemu:dirty-bitmap:"], []), (["x-unknown:"], []),
            ([""], []), ([":"], []), (["base"], []), (["x-unknown:leaf", allocation], [allocation]),
        ] as [([String], [String])])
    func list(queries: [String], expected: [String]) {
        var handshake = Self.structured()
        let replies = handshake.ask(.listMetaContext, contextData("disk", queries))
        #expect(Self.names(replies) == expected)
        // The id means nothing in a list, and is zero.
        #expect(replies.dropLast().allSatisfy { $0.data.starts(with: [0, 0, 0, 0]) })
        #expect(handshake.negotiation.contexts.isEmpty)
    }

    @Test(
        "SET chooses exactly the contexts that are named: none without a query, none for a wildcard",
        arguments: [
            ([], []), ([allocation], [0]), ([depth], [1]), ([depth, allocation, depth], [0, 1]), (["base:"], []),
            (["qemu:"], []), ([""], []), (["x-unknown:leaf", depth], [1]), (["base:allocation2", "base:alloc"], []),
        ] as [([String], [Int])])
    func set(queries: [String], expected: [Int]) {
        var handshake = Self.structured()
        let replies = handshake.ask(.setMetaContext, contextData("disk", queries))
        #expect(Self.names(replies) == expected.map { $0 == 0 ? Self.allocation : Self.depth })
        #expect(replies.dropLast().map { Int($0.data.byteSpan.bigEndian(UInt32.self, at: 0)) } == expected)
        #expect(handshake.negotiation.contexts == expected)
    }

    @Test("an export without depth has no such context")
    func withoutDepth() {
        var handshake = Self.structured()
        #expect(Self.names(handshake.ask(.listMetaContext, contextData("", []))) == [Self.allocation])
        #expect(Self.names(handshake.ask(.setMetaContext, contextData("", [Self.depth]))) == [])
    }

    @Test("the name space of bitmaps is asked for alone too; a bitmap's own name may have colons, which make none")
    func bitmaps() {
        let bitmaps = ["qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a:", "qemu:dirty-bitmap:a:b"]
        let exports = [NBDExportInfo(name: "d", size: 4096, flags: .hasFlags, contexts: [Self.allocation] + bitmaps)]
        for (queries, expected) in [
            (["qemu:dirty-bitmap:"], bitmaps), (["qemu:"], bitmaps), (["qemu:dirty-bitmap:a:"], [bitmaps[1]]),
            ([bitmaps[0], bitmaps[2]], [bitmaps[0], bitmaps[2]]),
        ] {
            var handshake = Handshake(exports)
            _ = handshake.ask(.structuredReply)
            #expect(Self.names(handshake.ask(.listMetaContext, contextData("d", queries))) == expected)
        }
    }

    @Test("SET before structured replies is refused")
    func order() {
        var handshake = Handshake()
        let replies = handshake.ask(.setMetaContext, contextData("disk", [Self.allocation]))
        #expect(replies.map(\.code) == [Code.invalid])
        #expect(handshake.negotiation.contexts.isEmpty)
    }

    @Test("an unknown export is refused", arguments: [NBDOption.listMetaContext, .setMetaContext])
    func unknownExport(kind: NBDOption) {
        var handshake = Self.structured()
        #expect(handshake.ask(kind, contextData("other", [Self.allocation])).map(\.code) == [Code.unknown])
    }

    @Test("each SET replaces what was chosen before, one that fails too")
    func replaces() {
        var handshake = Self.structured()
        _ = handshake.ask(.setMetaContext, contextData("disk", [Self.allocation, Self.depth]))
        _ = handshake.ask(.setMetaContext, contextData("disk", [Self.depth]))
        #expect(handshake.negotiation.contexts == [1])
        for failing in [contextData("other", []), contextData("disk", []) + [0], [1, 2, 3]] {
            _ = handshake.ask(.setMetaContext, contextData("disk", [Self.depth]))
            #expect(handshake.negotiation.contexts == [1])
            #expect(handshake.ask(.setMetaContext, failing).first?.isError == true)
            #expect(handshake.negotiation.contexts.isEmpty)
        }
        _ = handshake.ask(.setMetaContext, contextData("disk", [Self.depth]))
        #expect(handshake.ask(.listMetaContext, [1, 2, 3]).first?.isError == true)
        #expect(handshake.negotiation.contexts == [1], "a LIST changes nothing")
    }

    @Test("contexts chosen of one export do not count for another", arguments: [NBDOption.go, .exportName])
    func otherExport(kind: NBDOption) {
        for (name, expected) in [("disk", [0, 1]), ("", [])] {
            var handshake = Self.structured()
            _ = handshake.ask(.setMetaContext, contextData("disk", [Self.allocation, Self.depth]))
            _ = handshake.send(option(kind, kind == .go ? infoData(name) : Array(name.utf8)))
            #expect(handshake.negotiation.state == .transmission(export: name))
            #expect(handshake.negotiation.contexts == expected)
        }
    }

    @Test("contexts do not outlive an export that came back under its name with others")
    func exchangedExport() {
        var handshake = Self.structured()
        _ = handshake.ask(.setMetaContext, contextData("disk", [Self.allocation, Self.depth]))
        handshake.exports[0].contexts = [Self.allocation]
        #expect(handshake.ask(.go, infoData("disk")).last?.code == Code.ack)
        #expect(handshake.negotiation.contexts.isEmpty)
    }
}
