import BlockTestKit
import JSON
import Monitor
import QMPTypes
import Testing

@Suite("Monitor sessions")
struct SessionTests {
    private static let negotiate = #"{"execute": "qmp_capabilities"}"#
    private static let negotiateOOB = #"{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}"#
    private static let event =
        #"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "BLOCK_EXPORT_DELETED", "data": {"id": "e"}}"#

    private func command(_ name: String, _ id: Int) -> String { "{\"execute\": \"\(name)\", \"id\": \(id)}" }

    @Test("an event goes to every session that finished its negotiation, and to no other")
    func events() throws {
        let conversation = Conversation()
        let (ready, fresh) = (conversation.connect(), conversation.connect())
        try conversation.send(Self.negotiate, from: ready)
        _ = (ready.take(), fresh.take())
        conversation.monitor.broadcast(.blockExportDeleted(BlockExportDeletedEvent(id: "e")), timeUs: 1_000_002)
        try conversation.settle()
        #expect(ready.takeLines() == [Self.event])
        #expect(fresh.takeLines() == [])
    }

    @Test("an event that a command raises comes before its reply", arguments: 0..<4 as Range<UInt64>)
    func eventBeforeReply(seed: UInt64) throws {
        let lines = try Conversation.lines(Self.negotiate + command("raise", 1), seed: seed)
        #expect(lines == [#"{"return": {}}"#, Self.event, #"{"return": {}, "id": 1}"#])
    }

    @Test("without out-of-band nothing is read while a command runs")
    func oneAhead() throws {
        let conversation = Conversation()
        let client = conversation.connect()
        try conversation.send(Self.negotiate + command("wait", 1) + command("echo", 2) + "@", from: client)
        _ = client.takeLines()
        #expect(conversation.handler.begun == ["wait"])
        // Not even a parse error or an out-of-band request is looked at.
        try conversation.send("\n" + #"{"exec-oob": "echo", "id": 3}"#, from: client)
        #expect(client.takeLines() == [])
        conversation.handler.open()
        try conversation.settle()
        #expect(
            client.takeLines() == [
                #"{"return": {}, "id": 1}"#, #"{"return": {}, "id": 2}"#,
                #"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '@'"}}"#,
                #"{"id": 3, "error": {"class": "GenericError", "desc": "QMP input member 'exec-oob' is unexpected"}}"#,
            ])
    }

    @Test("with out-of-band eight requests wait in order, and an out-of-band one overtakes them")
    func queue() throws {
        let conversation = Conversation()
        let client = conversation.connect()
        try conversation.send(Self.negotiateOOB + command("wait", 0), from: client)
        _ = client.takeLines()
        let oob = #"{"exec-oob": "echo", "id": "now"}"#
        let refused =
            #"{"id": "now", "error": {"class": "GenericError", "desc": "The command echo does not support OOB"}}"#
        for id in 1...7 { try conversation.send(command("echo", id), from: client) }
        try conversation.send(oob, from: client)
        #expect(client.takeLines() == [refused])
        // The eighth fills the queue: what comes now waits in the connection.
        try conversation.send(command("echo", 8) + oob + command("echo", 9), from: client)
        #expect(client.takeLines() == [])
        #expect(conversation.handler.begun == ["wait"])
        conversation.handler.open()
        try conversation.settle()
        let lines = client.takeLines()
        #expect(lines.filter { $0 != refused } == (0...9).map { "{\"return\": {}, \"id\": \($0)}" })
        #expect(lines.filter { $0 == refused }.count == 1)
    }

    @Test("commands may be sent before the greeting is read, in pieces of any size", arguments: 0..<8 as Range<UInt64>)
    func pipelining(seed: UInt64) throws {
        let commands = (1...40).map { command("echo", $0) }.joined()
        let lines = try Conversation.lines(Self.negotiate + commands, seed: seed)
        #expect(lines.dropFirst() == ArraySlice((1...40).map { "{\"return\": {}, \"id\": \($0)}" }))
    }

    @Test("a client that goes away ends its session only, and a command that runs ends first")
    func leaving() throws {
        let conversation = Conversation()
        let (leaver, stayer) = (conversation.connect(), conversation.connect())
        try conversation.send(Self.negotiate, from: stayer)
        try conversation.send(Self.negotiate + command("wait", 1) + command("echo", 2), from: leaver)
        leaver.stream.close()
        try conversation.settle()
        #expect(!leaver.isServed)
        conversation.handler.open()
        try conversation.settle()
        #expect(leaver.isServed)
        _ = stayer.take()
        try conversation.send(command("echo", 3), from: stayer)
        #expect(stayer.takeLines() == [#"{"return": {}, "id": 3}"#])
    }

    @Test("a client that does not read gets no further commands done, and all its replies once it reads")
    func unread() throws {
        let conversation = Conversation()
        let client = conversation.connect(isReading: false)
        try conversation.send(
            Self.negotiate + (1...50).map { command("large", $0) }.joined(), from: client)
        #expect(conversation.handler.begun.count < 10)
        let reader = Conversation.Client(client.stream, served: client.served)
        conversation.resume(reader)
        try conversation.settle()
        #expect(conversation.handler.begun.count == 50)
        #expect(reader.takeLines().count == 52)
    }

    @Test("a client that does not read is cut off when events pile up")
    func unreadEvents() throws {
        let conversation = Conversation()
        let client = conversation.connect(isReading: false)
        try conversation.send(Self.negotiate, from: client)
        let event = QMPEvent.blockExportDeleted(BlockExportDeletedEvent(id: String(repeating: "x", count: 1 << 20)))
        for _ in 0..<24 { conversation.monitor.broadcast(event, timeUs: 0) }
        try conversation.settle()
        #expect(client.isServed)
    }

    @Test("sixteen sessions are served at once, and one more is closed")
    func sessionLimit() throws {
        let conversation = Conversation()
        let clients = (0..<17).map { _ in conversation.connect() }
        try conversation.settle()
        #expect(clients.filter { $0.takeLines() == [Conversation.greeting] }.count == 16)
        #expect(clients.filter(\.isServed).count == 1)
        clients[0].stream.close()
        try conversation.settle()
        let next = conversation.connect()
        try conversation.settle()
        #expect(next.takeLines().count == (clients[0].isServed ? 1 : 0))
    }

    @Test("stopping sends what waits and ends every session")
    func stop() throws {
        let conversation = Conversation()
        let client = conversation.connect()
        try conversation.send(Self.negotiate + command("echo", 1), from: client)
        try conversation.context.complete { [monitor = conversation.monitor] in await monitor.stop() }
        try conversation.settle()
        #expect(client.takeLines().last == #"{"return": {}, "id": 1}"#)
        #expect(client.isServed)
    }

    @Test("nonsense of any kind never ends a session", arguments: 0..<16 as Range<UInt64>)
    func nonsense(seed: UInt64) throws {
        let conversation = Conversation(seed: seed)
        let client = conversation.connect()
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        let alphabet = Array("{}[]:,'\"\\u0 1-.e\n\u{1}@executearguments".utf8) + [0, 0x80, 0xC3, 0xFE, 0xFF]
        var bytes: [UInt8] = []
        for _ in 0..<4000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            bytes.append(alphabet[Int(state >> 33) % alphabet.count])
        }
        try conversation.send(bytes + [0xFF, 0x0A] + Array(Self.negotiate.utf8), from: client)
        #expect(client.takeLines().last == #"{"return": {}}"#)
    }

    @Test("clients that do not read hold up the end for a second at most, all together")
    func stopDeaf() throws {
        let conversation = Conversation()
        let deaf = (0..<5).map { _ in conversation.connect(isReading: false) }
        for client in deaf { try conversation.send(Self.negotiate + command("large", 1), from: client) }
        let began = conversation.context.nowNs
        try conversation.context.complete { [monitor = conversation.monitor] in await monitor.stop() }
        #expect(conversation.context.nowNs - began < 1_100_000_000)
        try conversation.settle()
        for client in deaf { #expect(client.isServed) }
    }

    @Test("a command takes the descriptors that its own client passed, first come first")
    func descriptors() throws {
        let conversation = Conversation()
        let (one, two) = (conversation.connect(), conversation.connect())
        one.served.passed = [7, 8]
        two.served.passed = [9]
        for client in [one, two] { try conversation.send(Self.negotiate, from: client) }
        _ = (one.take(), two.take())
        try conversation.send(command("take", 1) + command("take", 2) + command("take", 3), from: one)
        try conversation.send(command("take", 1), from: two)
        #expect(
            one.takeLines() == [
                #"{"return": 7, "id": 1}"#, #"{"return": 8, "id": 2}"#, #"{"return": null, "id": 3}"#,
            ])
        #expect(two.takeLines() == [#"{"return": 9, "id": 1}"#])
    }

    @Test("the handler hears of clients that have negotiated, and of their end")
    func clients() throws {
        let conversation = Conversation()
        let (one, two) = (conversation.connect(), conversation.connect())
        try conversation.settle()
        #expect(conversation.handler.clients == 0)
        try conversation.send(Self.negotiate, from: one)
        #expect(conversation.handler.clients == 1)
        one.stream.close()
        two.stream.close()
        try conversation.settle()
        #expect(conversation.handler.clients == 0)
    }
}
