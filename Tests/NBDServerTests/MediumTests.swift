import Block
import BlockTestKit
import NBDServer
import NBDWire
import Testing

@Suite("NBD exports of drives")
struct MediumTests {
    @Test("without a medium an export can be neither chosen nor seen")
    func empty() throws {
        let bench = Bench()
        let export = bench.export(MemoryStorage(length: 4096))
        bench.export(MemoryStorage(length: 4096), as: "other")
        export.access = { .none }
        try bench.run {
            let client = bench.connect()
            try await client.begin()
            #expect(try await client.ask(.go, infoData("disk")).map(\.code) == [NBDOptionReply.unknown])
            #expect(try await client.ask(.info, infoData("disk")).map(\.code) == [NBDOptionReply.unknown])
            #expect(try await client.ask(.list).map(\.code) == [NBDOptionReply.server, NBDOptionReply.ack])
            export.access = { .read }
            #expect(try await client.ask(.list).count == 3)
        }
    }

    @Test("a change of medium ends the sessions of its export, and only those")
    func change() throws {
        let bench = Bench()
        let export = bench.export(MemoryStorage(length: 4096))
        bench.export(MemoryStorage(length: 4096), as: "other")
        try bench.run {
            let client = try await bench.client()
            let other = try await bench.client("other")
            bench.server.mediumChanged(export)
            #expect(await client.hasEnded())
            #expect(try await other.read(at: 0, 512).error == 0)
            let next = try await bench.client()
            #expect(try await next.read(at: 0, 512).error == 0)
        }
    }

    @Test("whoever was told of one medium is not let in to the next", arguments: 0..<16 as Range<UInt64>)
    func changeWhileNegotiating(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        let export = bench.export(MemoryStorage(length: 4096))
        try bench.run {
            // The reply is under way, byte by byte, while the medium changes.
            let client = bench.connect(capacity: 1)
            try await client.begin()
            bench.context.spawn { try? await client.go("disk") }
            await bench.sleep(ns: seed * 20)
            bench.server.mediumChanged(export)
            await bench.settle()
            // In before the change and ended by it, or turned away.
            #expect(bench.server.clients(of: export) == 0 || bench.server.connections == 1)
        }
    }

    @Test("what clients may do follows the medium")
    func protection() throws {
        let bench = Bench()
        let export = bench.export(MemoryStorage(length: 4096))
        try bench.run {
            let client = try await bench.client()
            export.access = { .read }
            #expect(try await client.call(.trim, at: 0, 512).failure == .permission)
            #expect(export.info.flags.contains(.readOnly))
            export.access = { .write }
            #expect(try await client.call(.trim, at: 0, 512).failure == nil)
        }
    }
}
