import Block
import BlockTestKit
import Bytes
import NBDWire
import Testing

@testable import NBDClient

/// A server that keeps what it is told, and forgets what it was not asked to make durable where it falls over.
private final class ForgetfulDisk {
    var durable = [UInt8](repeating: 0, count: 1 << 20)
    var cached = [UInt8](repeating: 0, count: 1 << 20)
    /// So many requests it answers before it falls over; then it starts anew.
    var lives: [Int]
    private(set) var writes = 0

    init(lives: [Int]) { self.lives = lives }

    /// With `lingering`, what it has answered arrives before it falls over.
    func serve(_ server: ScriptedServer, lingering: SimulatedContext? = nil) async throws {
        cached = durable
        var left = lives.isEmpty ? Int.max : lives.removeFirst()
        while left > 0 {
            let (request, payload) = try await server.request()
            left -= 1
            let range = Int(request.offset)..<Int(request.offset) + Int(request.length)
            switch request.command {
            case .write:
                writes += 1
                cached.replaceSubrange(range, with: payload)
            case .writeZeroes: cached.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
            case .flush: durable = cached
            case .read:
                try await server.data(request, at: request.offset, Array(cached[range]))
                continue
            default: return
            }
            if request.flags.contains(.fua) { durable.replaceSubrange(range, with: cached[range]) }
            try await server.simple(request)
        }
        await lingering?.sleep(ms: 1)
    }
}

@Suite("NBD client: lost connections")
struct ReconnectTests {
    private func write(_ remote: NBDRemote, _ value: UInt8, at offset: UInt64, _ flags: WriteFlags = [])
        async throws(BlockError)
    {
        try await remote.write(at: offset, from: [UInt8](repeating: value, count: 512).byteSpan, flags: flags)
    }

    @Test("a request that is under way when the connection is lost is sent again", arguments: 0..<6)
    func sentAgain(life: Int) throws {
        let disk = ForgetfulDisk(lives: [life, 1, 3])
        let play = Play(Play.export) { try await disk.serve($0) }
        try play.run(.patient(60)) { remote in
            for index in 0..<8 as Range<UInt8> { try await write(remote, index + 1, at: UInt64(index) * 512) }
            for index in 0..<8 as Range<UInt8> {
                do {
                    let found = try await remote.bytes(UInt64(index) * 512, 512)
                    #expect(found.allSatisfy { $0 == index + 1 })
                }
            }
        }
        #expect(play.dialed >= 3)
    }

    @Test(
        "D1: what a server forgot when it fell over is written again, and a flush says what is true", arguments: 1..<14)
    func written(life: Int) throws {
        let disk = ForgetfulDisk(lives: [life, life])
        let play = Play(
            seed: UInt64(life),
            [
                { server in
                    try await server.greet(Play.export); try await disk.serve(server)
                }
            ])
        try play.run(.patient(60)) { remote in
            try await write(remote, 1, at: 0)
            try await write(remote, 2, at: 512)
            try await remote.flush()
            try await write(remote, 3, at: 0)
            // Durable by itself, and over what is not.
            try await write(remote, 4, at: 0, .fua)
            try await write(remote, 5, at: 1024)
            try await remote.zero(ByteRange(at: 512, count: 512), flags: [])
            try await write(remote, 6, at: 1536)
            try await remote.flush()
            #expect(
                disk.durable.prefix(2048).map { $0 } == [4, 0, 5, 6].flatMap { [UInt8](repeating: $0, count: 512) })
        }
    }

    @Test("D7: without patience nothing is kept, and after a loss with changes that are not durable no flush succeeds")
    func notKept() throws {
        for flushes in [true, false] {
            let disk = ForgetfulDisk(lives: [flushes ? 2 : 1])
            let play = Play([nil])
            play.scripts = [
                { server in
                    try await server.greet(Play.export)
                    try await disk.serve(server, lingering: play.context)
                }
            ]
            try play.run { remote in
                try await write(remote, 1, at: 0)
                if flushes { try await remote.flush() }
                // The connection is lost; another comes.
                await play.context.sleep(ms: 3000)
                do {
                    let found = try await remote.bytes(0, 512)
                    #expect(found.first == (flushes ? 1 : 0))
                }
                try await write(remote, 2, at: 512)
                let found = await failure { () async throws(BlockError) in try await remote.flush() }
                #expect(found == (flushes ? nil : .io))
            }
        }
    }

    @Test("D7: after a flush that the server failed none succeeds")
    func failedFlush() throws {
        let play = Play(Play.export) { server in
            try await server.simple(try await server.request().request, error: 5)
            while true { try await server.simple(try await server.request().request) }
        }
        try play.run(.patient(1)) { remote in
            for _ in 0..<2 {
                #expect(await failure { () async throws(BlockError) in try await remote.flush() } == .io)
            }
            try await write(remote, 1, at: 0)
        }
    }

    @Test("requests wait for a lost server as long as they are told, then fail; once it is back, they succeed")
    func patience() throws {
        let disk = ForgetfulDisk(lives: [1])
        let play = Play([nil])
        let script = { (server: ScriptedServer) async throws -> Void in
            try await server.greet(Play.export)
            try await disk.serve(server, lingering: play.context)
        }
        play.scripts = [script, nil]
        try play.run(.patient(10)) { remote in
            try await write(remote, 1, at: 0)
            await play.context.sleep(ms: 100)
            let begun = play.context.nowNs
            #expect(await failure { () async throws(BlockError) in try await write(remote, 2, at: 512) } == .io)
            let waitedMs = (play.context.nowNs - begun) / 1_000_000
            #expect(waitedMs >= 9_900 && waitedMs <= 10_100)
            // The patience is over for this outage.
            let again = play.context.nowNs
            #expect(await failure { () async throws(BlockError) in try await write(remote, 2, at: 512) } == .io)
            #expect(play.context.nowNs == again)
            play.scripts = [script]
            await play.context.sleep(ms: 2 * NBDRemote.longestPauseMs)
            try await write(remote, 3, at: 512)
            try await remote.flush()
            #expect(disk.durable[0] == 1 && disk.durable[512] == 3)
        }
    }

    @Test("without patience requests fail at once, and succeed again when the server is back")
    func impatient() throws {
        let disk = ForgetfulDisk(lives: [0])
        let play = Play(Play.export) { try await disk.serve($0) }
        try play.run { remote in
            #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) } == .io)
            await play.context.sleep(ms: 2 * NBDRemote.firstPauseMs)
            do {
                let found = try await remote.bytes(0, 512)
                #expect(found == [UInt8](repeating: 0, count: 512))
            }
        }
    }

    @Test("an export that came back as another is not spoken to: of another size, read-only, or able to do less")
    func misfits() throws {
        var smaller = Play.export
        smaller.size = 4096
        var readOnly = Play.export
        readOnly.flags = [.hasFlags, .readOnly, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendFastZero]
        var poorer = Play.export
        poorer.flags = [.hasFlags, .sendFlush]
        for other in [smaller, readOnly, poorer] {
            var requests = 0
            let play = Play([
                { server in try await server.greet(Play.export) },
                { server in
                    try await server.greet(other)
                    if try await server.request().request.command != .disconnect { requests += 1 }
                },
            ])
            try play.run(.patient(20)) { remote in
                #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) } == .io)
            }
            #expect(requests == 0)
        }
    }

    @Test("what a server dies of each time is not sent for ever")
    func poison() throws {
        let disk = ForgetfulDisk(lives: [Int](repeating: 0, count: 100))
        let play = Play(Play.export) { server in
            _ = try await server.request()
            try await disk.serve(server)
        }
        try play.run(.patient(3600)) { remote in
            #expect(await failure { () async throws(BlockError) in try await write(remote, 1, at: 0) } == .io)
        }
        #expect(play.dialed <= NBDRemote.attempts + 1)
    }

    @Test("opening is tried again until its time is over")
    func openTimeout() throws {
        let disk = ForgetfulDisk(lives: [])
        let late = Play([
            nil, nil,
            { server in
                try await server.greet(Play.export); try await disk.serve(server)
            },
        ])
        var options = NBDRemoteOptions(server: .unix(path: "/s"), openTimeout: 10)
        try late.run(options) { remote in #expect(remote.length == 1 << 20) }
        #expect(late.dialed == 3)
        let never = Play([nil])
        #expect(throws: OpenError.self) { try never.run(options) { _ in } }
        #expect(never.context.nowNs <= 10_000_000_000)
        options.openTimeout = 0
        let once = Play([nil])
        #expect(throws: OpenError.self) { try once.run(options) { _ in } }
        #expect(once.dialed == 1)
    }

    @Test("closing waits neither for a server that has gone nor for one that does not read")
    func closing() throws {
        for script in [
            nil,
            { server in
                try await server.greet(Play.export); await WaitQueue().wait()
            },
        ]
            as [((ScriptedServer) async throws -> Void)?]
        {
            let play = Play([{ server in try await server.greet(Play.export) }, script])
            try play.run(.patient(3600)) { _ in await play.context.sleep(ms: 100) }
            #expect(play.context.nowNs < 2_000_000_000)
        }
    }

    @Test("at the end nobody waits for a lost server, and a silent one has its last time")
    func givingUp() throws {
        let play = Play([{ server in try await server.greet(Play.export) }, nil])
        try play.run(.patient(3600)) { remote in
            await play.context.sleep(ms: 100)
            remote.giveUp()
            #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) } == .io)
        }
        #expect(play.context.nowNs < 1_000_000_000)
        let silent = Play(Play.export) { server in _ = try? await server.receive(1 << 20) }
        try silent.run(.patient(3600)) { remote in
            silent.context.spawn {
                await silent.context.sleep(ms: 1000)
                remote.giveUp()
            }
            #expect(await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) } == .io)
        }
        #expect(silent.context.nowNs <= (NBDRemote.lastSilenceMs + 1100) * 1_000_000)
    }

    @Test("what is kept for a lost server stays within its bound: the server is asked to make it durable meanwhile")
    func bound() throws {
        var flushes = 0
        let play = Play(Play.export) { server in
            while true {
                let request = try await server.request().request
                if request.command == .flush { flushes += 1 }
                try await server.simple(request)
            }
        }
        try play.run(.patient(60)) { remote in
            let bytes = [UInt8](repeating: 1, count: 1 << 20)
            for _ in 0..<100 {
                try await remote.write(at: 0, from: bytes.byteSpan, flags: [])
                #expect(remote.unflushed.keptBytes <= UnflushedChanges.limit + bytes.count + 4096)
            }
        }
        #expect(flushes > 0)
    }
}
