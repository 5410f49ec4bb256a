import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@testable import NBDClient

@Suite("NBD client")
struct RemoteTests {
    static let address = NBDRemoteOptions(server: .unix(path: "/s"))

    /// A remote on our own server, which keeps a disk in memory.
    private func withServer(
        seed: UInt64 = 1, _ storage: MemoryStorage, isWritable: Bool = true, isMultiConn: Bool = true,
        _ options: NBDRemoteOptions = RemoteTests.address,
        _ body: @escaping (NBDRemote, NBDServer, SimulatedContext) async throws -> Void
    ) throws {
        let context = SimulatedContext(seed: seed)
        let server = NBDServer(context: context)
        let disk = BlockIO(context: context, driver: .storage(storage))
        server.add(NBDExport(id: "e", name: "", storage: disk, isWritable: isWritable, isMultiConn: isMultiConn))
        var connections: UInt64 = 0
        try context.complete {
            let remote = try await NBDRemote.open(
                options, in: context,
                dial: { _ in
                    connections += 1
                    let (near, far) = SimulatedStream.pair(context, .init(seed: seed &+ connections))
                    context.spawn { await server.serve(far) }
                    return near
                })
            do { try await body(remote, server, context) } catch {
                await remote.close()
                throw error
            }
            await remote.close()
            await server.stop()
        }
    }

    @Test("a remote export keeps what every storage must keep", arguments: 0..<4 as Range<UInt64>)
    func conformance(seed: UInt64) throws {
        let storage = MemoryStorage(
            SparseBytes(length: 1 << 20), limits: StorageLimits(zeroesFast: true, discards: true))
        try withServer(seed: seed, storage) { remote, _, context in
            var bare = Conformance(of: remote, in: context, seed: seed, .fixedLength)
            try await bare.run()
            var walked = Conformance(
                of: BlockIO(context: context, driver: .storage(remote)), in: context, seed: seed, .fixedLength)
            try await walked.run()
        }
    }

    @Test("a disk whose server takes whole blocks only is written in any size")
    func alignment() throws {
        let storage = MemoryStorage(
            SparseBytes(length: 1 << 20),
            limits: StorageLimits(requestAlignment: 4096, memoryAlignment: 1, maxTransfer: 1 << 18))
        let context = SimulatedContext()
        let server = NBDServer(context: context)
        server.add(NBDExport(id: "e", name: "", storage: storage, isWritable: true))
        try context.complete {
            let remote = try await NBDRemote.open(
                Self.address, in: context,
                dial: { _ in
                    let (near, far) = SimulatedStream.pair(context)
                    context.spawn { await server.serve(far) }
                    return near
                })
            #expect(remote.limits.requestAlignment == 4096)
            let walker = BlockIO(context: context, driver: .storage(remote))
            try await walker.write(at: 1000, from: [UInt8](repeating: 7, count: 9000).byteSpan, flags: [])
            let found = try await walker.bytes(0, 12288)
            let expected =
                [UInt8](repeating: 0, count: 1000) + [UInt8](repeating: 7, count: 9000)
                + [UInt8](repeating: 0, count: 2288)
            #expect(found == expected)
            await remote.close()
            await server.stop()
        }
    }

    @Test("a read-only export refuses changes, and flushes it without asking")
    func readOnly() throws {
        try withServer(MemoryStorage(length: 4096), isWritable: false) { remote, _, _ in
            #expect(remote.isReadOnly)
            let refused = await failure { () async throws(BlockError) in
                try await remote.write(at: 0, from: [UInt8](repeating: 0, count: 512).byteSpan, flags: [])
            }
            #expect(refused == .readOnly)
            try await remote.flush()
        }
    }

    @Test("more than sixteen requests at once get more connections, at most four, and only where the server allows it")
    func connections() throws {
        for isMultiConn in [true, false] {
            try withServer(MemoryStorage(length: 1 << 20), isMultiConn: isMultiConn) { remote, server, context in
                for round in 0..<6 {
                    var left = 100
                    let done = WaitQueue()
                    for index in 0..<100 as Range<UInt64> {
                        context.spawn {
                            let bytes = [UInt8](repeating: UInt8(round + 1), count: 512)
                            try? await remote.write(at: index * 512, from: bytes.byteSpan, flags: [])
                            left -= 1
                            if left == 0 { done.wakeAll() }
                        }
                    }
                    while left > 0 { await done.wait() }
                    let all = try await remote.bytes(0, 100 * 512)
                    #expect(all == [UInt8](repeating: UInt8(round + 1), count: 100 * 512))
                }
                #expect(server.connections == (isMultiConn ? NBDRemote.mostConnections : 1))
            }
        }
    }

    @Test("a server's refusals come back as the errors that they are, simple or structured")
    func errors() throws {
        let errors: [(UInt32, BlockError)] = [
            (1, .permission), (5, .io), (12, .limit), (22, .invalid), (28, .noSpace), (75, .system(75)),
            (95, .unsupported), (108, .closed), (4711, .invalid),
        ]
        let play = Play(Play.export) { server in
            for (number, _) in errors {
                try await server.simple(try await server.request().request, error: number)
                let read = try await server.request().request
                try await server.data(read, at: 0, [1, 2, 3], isLast: false)
                try await server.chunk(
                    NBDChunk.errorOffset, read.cookie, isLast: true,
                    big(number) + big(2 as UInt16) + [0x6E, 0x6F]
                        + big(3 as UInt64))
            }
            _ = try? await server.receive(1 << 20)
        }
        try play.run { remote in
            for (_, error) in errors {
                let written = await failure { () async throws(BlockError) in
                    try await remote.write(at: 0, from: [UInt8](repeating: 0, count: 512).byteSpan, flags: [])
                }
                let read = await failure { () async throws(BlockError) in _ = try await remote.bytes(0, 512) }
                #expect(written == error)
                #expect(read == error)
            }
        }
    }

    @Test("the chunks of a read may come in any order, holes among them")
    func chunks() throws {
        let play = Play(Play.export) { server in
            let request = try await server.request().request
            try await server.data(request, at: 3072, [UInt8](repeating: 3, count: 1024), isLast: false)
            try await server.data(request, at: 0, [UInt8](repeating: 1, count: 1024), isLast: false)
            try await server.hole(request, at: 1024, 2048, isLast: false)
            try await server.chunk(NBDChunk.none, request.cookie, isLast: true, [])
            _ = try? await server.receive(1 << 20)
        }
        try play.run { remote in
            let expected =
                [UInt8](repeating: 1, count: 1024) + [UInt8](repeating: 0, count: 2048)
                + [UInt8](repeating: 3, count: 1024)
            do {
                let found = try await remote.bytes(0, 4096)
                #expect(found == expected)
            }
        }
    }

    @Test(
        "a server without GO is asked for its list, then by EXPORT_NAME; one without structured replies sends simple ones"
    )
    func olderServers() throws {
        let play = Play([
            { server in
                try await server.send(NBDNegotiation.greeting)
                _ = try await server.receive(4 + 16)
                try await server.optionReply(8, NBDOptionReply.unsupported)
                // GO "disk" with one request for information.
                _ = try await server.receive(16 + 4 + 4 + 2 + 2)
                try await server.optionReply(7, NBDOptionReply.unsupported)
                _ = try await server.receive(16)
                try await server.optionReply(3, NBDOptionReply.server, big(4 as UInt32) + Array("disk".utf8))
                try await server.optionReply(3, NBDOptionReply.ack)
                #expect(try await server.receive(16 + 4).suffix(4) == Array("disk".utf8))
                try await server.send(big(4096 as UInt64) + big(1 as UInt16))
                let request = try await server.request().request
                try await server.simple(request, [UInt8](repeating: 9, count: 512))
                _ = try? await server.receive(1 << 20)
            }
        ])
        try play.run(NBDRemoteOptions(server: .unix(path: "/s"), export: "disk")) { remote in
            #expect(remote.length == 4096)
            #expect(remote.limits.requestAlignment == 512)
            do {
                let found = try await remote.bytes(512, 512)
                #expect(found == [UInt8](repeating: 9, count: 512))
            }
            let status = try await remote.status(of: ByteRange(at: 0, count: 4096))
            #expect(status.flags == [.data, .allocated])
        }
    }

    @Test("an oldstyle server is spoken to, where the default export is asked for")
    func oldstyle() throws {
        let script: (ScriptedServer) async throws -> Void = { server in
            try await server.send(
                big(NBDMagic.greeting) + big(NBDMagic.oldstyle) + big(8192 as UInt64) + big(3 as UInt32)
                    + [UInt8](repeating: 0, count: 124))
            _ = try? await server.receive(1 << 20)
        }
        try Play([script]).run { remote in
            #expect(remote.length == 8192)
            #expect(remote.isReadOnly)
        }
        #expect(throws: OpenError("Server does not support non-empty export names", cause: .io)) {
            try Play([script]).run(NBDRemoteOptions(server: .unix(path: "/s"), export: "x")) { _ in }
        }
    }

    @Test("block status that says data is remembered until holes may be there; zeros are asked for each time")
    func knownData() throws {
        var asked = 0
        let play = Play(Play.export) { server in
            while true {
                let request = try await server.request().request
                guard request.command == .blockStatus else {
                    try await server.simple(request)
                    continue
                }
                asked += 1
                #expect(request.flags == .reqOne)
                try await server.send(
                    NBDReply.blockStatusChunk(
                        context: 0, extents: [(65536, request.offset < 65536 ? 0 : 3)], isLast: true,
                        cookie: request.cookie))
            }
        }
        try play.run { remote in
            for offset in [0, 4096, 61440] as [UInt64] {
                let status = try await remote.status(of: ByteRange(at: offset, count: 65536))
                #expect(status.flags == [.data, .allocated])
                #expect(status.count == 65536 - offset)
            }
            #expect(asked == 1)
            for _ in 0..<2 { _ = try await remote.status(of: ByteRange(at: 65536, count: 4096)) }
            #expect(asked == 3)
            try await remote.discard(ByteRange(at: 8192, count: 4096))
            _ = try await remote.status(of: ByteRange(at: 0, count: 4096))
            #expect(asked == 4)
        }
    }

    @Test("zero requests say whether holes may be made and whether they must be fast; FUA goes along")
    func zeroFlags() throws {
        var seen: [NBDCommandFlags] = []
        let play = Play(Play.export) { server in
            while true {
                let request = try await server.request().request
                seen.append(request.flags)
                try await server.simple(request)
            }
        }
        try play.run { remote in
            for flags in [[], .mayUnmap, [.mayUnmap, .fastOnly], [.fua]] as [ZeroFlags] {
                try await remote.zero(ByteRange(at: 0, count: 4096), flags: flags)
            }
            #expect(seen == [.noHole, [], .fastZero, [.noHole, .fua]])
        }
    }

    @Test("a list tells of each export its size, its block sizes and its contexts")
    func list() throws {
        let context = SimulatedContext()
        let server = NBDServer(context: context)
        for (name, description) in [("", nil), ("disk", "the second")] as [(String, String?)] {
            server.add(
                NBDExport(
                    id: name, name: name, description: description, storage: MemoryStorage(length: 8192),
                    isWritable: false, offersDepth: true))
        }
        let found = try context.complete {
            let (near, far) = SimulatedStream.pair(context)
            context.spawn { await server.serve(far) }
            let found = try await NBDExportList.exports(over: near, in: context)
            await server.stop()
            return found
        }
        #expect(found.map(\.name) == ["", "disk"])
        #expect(found.map(\.description) == [nil, "the second"])
        for export in found {
            #expect(export.size == 8192)
            #expect(export.flags.isSuperset(of: [.hasFlags, .readOnly]))
            #expect(export.minimumBlock == 1 && export.maximumBlock == 32 << 20)
            #expect(export.contexts == ["base:allocation", "qemu:allocation-depth"])
        }
    }
}
