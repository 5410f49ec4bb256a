import Block
import BlockTestKit
import Bytes
import NBDWire
import Testing

@testable import NBDClient

/// A server that says what the protocol forbids costs its node an error: no trap, no hang, no memory.
@Suite("NBD client: hostile servers")
struct HostileServerTests {
    private typealias Answer = (ScriptedServer, NBDRequest) async throws -> Void

    /// What a read of 4 KiB at 4096 comes to whose answer is a lie. Whatever comes after it fails too.
    private func outcome(delay: UInt32, _ answer: @escaping Answer) throws -> BlockError? {
        let play = Play(Play.export) { server in
            try await answer(server, try await server.request().request)
            // It stays, so that only the lie can end the connection.
            _ = try? await server.receive(1 << 20)
        }
        var found: BlockError?
        try play.run(.patient(delay)) { remote in
            found = await failure { () async throws(BlockError) in _ = try await remote.bytes(4096, 4096) }
            let later = await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) }
            #expect(later == .io)
        }
        #expect(play.dialed == 1, "a liar is not asked again")
        return found
    }

    private static let block = [UInt8](repeating: 1, count: 4096)

    /// Replies to a read of 4 KiB at 4096 that cannot be.
    private static func lies(_ server: ScriptedServer, _ request: NBDRequest) -> [() async throws -> Void] {
        let cookie = request.cookie
        let other = NBDRequest(flags: [], type: 0, cookie: cookie ^ 1 << 40, offset: 0, length: 0)
        return [
            // Nobody's reply.
            { try await server.simple(other) },
            { try await server.chunk(NBDChunk.none, 77, isLast: true, []) },
            // The wrong kind.
            { try await server.simple(request, block) },
            { try await server.send([UInt8](repeating: 0xAA, count: 64)) },
            { try await server.chunk(9, cookie, isLast: true, []) },
            { try await server.chunk(NBDChunk.none, cookie, isLast: false, []) },
            // Data beside what was asked for.
            { try await server.data(request, at: 0, block) },
            { try await server.data(request, at: 4097, block) },
            { try await server.data(request, at: UInt64.max - 7, block) },
            { try await server.hole(request, at: 4096, 4097) },
            { try await server.hole(request, at: 4096, 0) },
            // The same twice, and a part missing.
            {
                try await server.data(request, at: 4096, [1, 2, 3], isLast: false)
                try await server.hole(request, at: 4098, 4094)
            },
            { try await server.data(request, at: 4096, [1, 2, 3]) },
            { try await server.chunk(NBDChunk.none, cookie, isLast: true, []) },
            // More, where all had been said, at once behind it.
            {
                var both = ScriptedServer.chunkBytes(0x8001, cookie, isLast: true, [0, 0, 0, 5, 0, 0])
                both += ScriptedServer.chunkBytes(
                    NBDChunk.offsetHole, cookie, isLast: false, [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 1])
                try await server.send(both)
            },
            // Payloads that cannot be.
            { try await server.chunk(NBDChunk.offsetData, cookie, isLast: true, [], length: .max) },
            { try await server.chunk(NBDChunk.error, cookie, isLast: true, big(0 as UInt32) + [0, 0]) },
        ]
    }

    @Test(
        "R40: a reply that breaks the protocol fails the read, and the server is not spoken to again", arguments: 0..<16
    )
    func replies(index: Int) throws {
        // With patience too: it is no loss that waiting would mend.
        for delay in [0, 5] as [UInt32] {
            let found = try outcome(delay: delay) { server, request in
                try await Self.lies(server, request)[index]()
            }
            #expect(found == .io)
        }
    }

    @Test("R40: parts of a read too scattered to be kept count of are a lie")
    func scattered() throws {
        let play = Play(Play.export) { server in
            let request = try await server.request().request
            for index in 0..<UInt64(NBDLimits.fragments + 1) {
                try await server.data(request, at: index * 2, [1], isLast: false)
            }
            _ = try? await server.receive(1 << 20)
        }
        try play.run { remote in
            #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 64 << 10) } == .io)
        }
    }

    @Test("R40: an export of 2^63 bytes or more is refused, as are block sizes that are none")
    func sizes() throws {
        var exports: [(NBDExportInfo, String)] = []
        for size in [1 << 63, UInt64.max, UInt64.max - 511] {
            exports.append((NBDExportInfo(name: "", size: size, flags: .hasFlags), "export length is too large"))
        }
        for (least, preferred, most, text) in [
            (0, 4096, 1 << 25, "server minimum block size 0 is not a power of two"),
            (3, 4096, 1 << 25, "server minimum block size 3 is not a power of two"),
            (1 << 17, 1 << 17, 1 << 25, "server minimum block size 131072 is too large"),
            (512, 3, 1 << 25, "server preferred block size 3 is not valid"),
            (512, 256, 1 << 25, "server preferred block size 256 is not valid"),
            (512, 512, 256, "server maximum block size 256 is not valid"),
            (4096, 4096, 1 << 25, "export size 4608 is not multiple of minimum block size 4096"),
        ] as [(UInt32, UInt32, UInt32, String)] {
            exports.append(
                (
                    NBDExportInfo(
                        name: "", size: 4608, flags: .hasFlags, minimumBlock: least, preferredBlock: preferred,
                        maximumBlock: most), text
                ))
        }
        for (export, text) in exports {
            let play = Play(export) { _ in }
            #expect(throws: OpenError(text, cause: .invalid)) { try play.run { _ in } }
        }
    }

    @Test("R40: a server that closes at any byte of the handshake leaves an error, and nobody waits")
    func vanishing() throws {
        var whole = NBDNegotiation.greeting
        for (option, code) in [(8, NBDOptionReply.ack), (10, NBDOptionReply.ack)] as [(UInt32, UInt32)] {
            whole += big(NBDMagic.optionReply) + big(option) + big(code) + big(0 as UInt32)
        }
        for count in 0..<whole.count {
            let play = Play([
                { server in
                    try await server.send(Array(whole.prefix(count)))
                }
            ])
            #expect(throws: OpenError.self) { try play.run { _ in } }
        }
    }

    @Test("R40: a server that says nothing in the handshake is given up in its time", arguments: [0, 2] as [UInt32])
    func silence(openTimeout: UInt32) throws {
        let play = Play([{ server in _ = try await server.receive(1 << 20) }])
        #expect(throws: OpenError.self) {
            try play.run(NBDRemoteOptions(server: .unix(path: "/s"), openTimeout: openTimeout)) { _ in }
        }
        let limitMs = openTimeout == 0 ? NBDRemote.handshakeMs : UInt64(openTimeout) * 1000
        #expect(play.context.nowNs / 1_000_000 <= limitMs + 10)
    }

    @Test("R40: a server that is silent with a request before it is lost after its time")
    func silentAmidRequests() throws {
        let play = Play(Play.export) { server in
            _ = try await server.request()
            _ = try? await server.receive(1 << 20)
        }
        try play.run { remote in
            #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) } == .io)
            #expect(play.context.nowNs / 1_000_000 <= NBDConnection.silenceMs + 10)
        }
    }

    @Test("R41: extents of no length, of another context or of no end are lies; long and short ones are cut")
    func extents() throws {
        for (context, length, isLie) in [
            (0, 0, true), (5, 4096, true), (0, UInt32.max, false), (0, 1 << 31, false), (0, 4096, false), (0, 1, false),
        ] as [(UInt32, UInt32, Bool)] {
            let play = Play(Play.export) { server in
                let request = try await server.request().request
                try await server.send(
                    NBDReply.blockStatusChunk(
                        context: context, extents: [(length, 3)], isLast: true, cookie: request.cookie))
                _ = try? await server.receive(1 << 20)
            }
            try play.run { remote in
                let asked = ByteRange(at: 4096, count: 8192)
                if isLie {
                    let found = await failure { () async throws(BlockError) in _ = try await remote.status(of: asked) }
                    #expect(found == .io)
                } else {
                    let status = try await remote.status(of: asked)
                    #expect(status.count == min(UInt64(length), 8192))
                    #expect(status.flags == [.zero, .allocated])
                }
            }
        }
    }

    @Test("R43: a list without end, and names longer than the protocol has, end in an error")
    func lists() throws {
        let name = [UInt8](repeating: 0x61, count: NBDLimits.stringLength)
        let entry = big(UInt32(name.count)) + name
        for script in [
            { try await $0.send(Self.listed(entry, count: 1100)) },
            { try await $0.optionReply(3, NBDOptionReply.server, big(UInt32(name.count + 1)) + name + [0x61]) },
            { try await $0.optionReply(3, NBDOptionReply.server, big(UInt32.max) + name) },
            {
                try await $0.send(
                    big(NBDMagic.optionReply) + big(3 as UInt32) + big(NBDOptionReply.server) + big(UInt32.max))
            },
            { try await $0.send(Self.listed(big(0 as UInt32), count: 80_000)) },
        ] as [(ScriptedServer) async throws -> Void] {
            let play = Play([
                { server in
                    try await server.send(NBDNegotiation.greeting)
                    _ = try await server.receive(4 + 16)
                    try await server.optionReply(8, NBDOptionReply.ack)
                    _ = try await server.receive(16)
                    try await script(server)
                    _ = try? await server.receive(1 << 20)
                }
            ])
            #expect(throws: OpenError.self) {
                try play.context.complete {
                    _ = try await NBDExportList.exports(over: try play.dial(), in: play.context)
                }
            }
            #expect(play.context.nowNs < NBDRemote.handshakeMs * 1_000_000, "it took the deadline to end")
        }
    }

    /// So many entries of a list, all alike, and no end of it.
    private static func listed(_ entry: [UInt8], count: Int) -> [UInt8] {
        let reply =
            big(NBDMagic.optionReply) + big(3 as UInt32) + big(NBDOptionReply.server) + big(UInt32(entry.count)) + entry
        return (0..<count).flatMap { _ in reply }
    }

    @Test("R43: a flood of information on an export ends in an error")
    func infos() throws {
        let play = Play([
            { server in
                try await server.send(NBDNegotiation.greeting)
                _ = try await server.receive(4 + 16)
                try await server.optionReply(8, NBDOptionReply.unsupported)
                while true { try await server.optionReply(7, NBDOptionReply.info, big(99 as UInt16)) }
            }
        ])
        #expect(throws: OpenError("too many replies to option 7", cause: .invalid)) { try play.run { _ in } }
    }
}

extension ScriptedServer {
    func optionReply(_ option: UInt32, _ code: UInt32, _ data: [UInt8] = []) async throws {
        try await send(big(NBDMagic.optionReply) + big(option) + big(code) + big(UInt32(data.count)) + data)
    }
}
