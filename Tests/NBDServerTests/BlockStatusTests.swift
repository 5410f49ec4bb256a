import Block
import BlockTestKit
import Bytes
import DirtyMap
import NBDServer
import NBDWire
import Testing

@Suite("NBD block status")
struct BlockStatusTests {
    static let both = [NBDExport.allocationContext, NBDExport.depthContext]
    static let extents: [ExtentStorage.Extent] = [
        .init(count: 65536, flags: [.data, .allocated]),
        .init(count: 65536, flags: [.data, .allocated], depth: 1),
        .init(count: 65536, flags: [.zero, .allocated], depth: 1),
        .init(count: 65536, flags: [.zero]),
        .init(count: 65536, flags: [.data, .zero, .allocated]),
        .init(count: 1000, flags: [.data, .allocated, .encoded], depth: 2),
    ]

    /// What a client with these contexts is told of a range.
    static func ask(
        _ storage: any Storage, _ contexts: [String], at offset: UInt64, _ length: Int, _ flags: NBDCommandFlags = []
    ) throws -> [String: [Answer.Extent]] {
        let bench = Bench()
        bench.export(storage, isWritable: false, offersDepth: true)
        return try bench.run {
            let client = try await bench.client(contexts: contexts)
            let answer = try await client.call(.blockStatus, at: offset, length, flags)
            #expect(answer.error == 0)
            return client.contexts.compactMapValues { answer.status[$0] }
        }
    }

    @Test("base:allocation tells holes and zeros; neighbours that are told alike are one extent")
    func allocation() throws {
        let told = try Self.ask(ExtentStorage(Self.extents), [Self.both[0]], at: 0, 328_680)
        #expect(told == [Self.both[0]: [.init(131_072, 0), .init(131_072, 3), .init(65536, 2), .init(1000, 0)]])
    }

    @Test("qemu:allocation-depth tells the layer, counted from 1, and 0 where there is none")
    func depth() throws {
        let told = try Self.ask(ExtentStorage(Self.extents), [Self.both[1]], at: 0, 328_680)
        #expect(
            told == [
                Self.both[1]: [.init(65536, 1), .init(131_072, 2), .init(65536, 0), .init(65536, 1), .init(1000, 3)]
            ])
    }

    @Test("both contexts are told in one answer, for exactly what was asked")
    func bothContexts() throws {
        let told = try Self.ask(ExtentStorage(Self.extents), Self.both, at: 65000, 70_000)
        #expect(
            told == [Self.both[0]: [.init(66072, 0), .init(3928, 3)], Self.both[1]: [.init(536, 1), .init(69464, 2)]])
    }

    @Test(
        "one extent is told where one was asked for, for each context its own", arguments: [1, 65536, 131_073, 328_680])
    func one(length: Int) throws {
        let told = try Self.ask(ExtentStorage(Self.extents), Self.both, at: 0, length, .reqOne)
        #expect(told[Self.both[0]]?.first?.flags == 0)
        #expect(told[Self.both[1]]?.first == .init(UInt32(min(length, 65536)), 1))
        #expect(told[Self.both[0]]!.allSatisfy { $0.length >= UInt32(min(length, 65536)) })
    }

    @Test(
        "R41: lengths up to the protocol's last are told without overflow",
        arguments: [512, 1 << 31, 1 << 32 - 512, 1 << 32 - 1])
    func borders(length: Int) throws {
        for flags in [[.data, .allocated], [.zero]] as [BlockStatus.Flags] {
            // One extent, and many that are joined to one.
            let one = ExtentStorage([.init(count: 1 << 62, flags: flags)])
            let many = ExtentStorage(
                [ExtentStorage.Extent](repeating: .init(count: 1 << 24, flags: flags), count: 1000))
            for storage in [one, many] {
                for offset in [0, 1, storage.length - UInt64(length)] {
                    let told = try Self.ask(storage, Self.both, at: offset, length)
                    #expect(told[Self.both[0]]?.map(\.length) == [UInt32(length)])
                    #expect(told[Self.both[1]]?.map(\.length) == [UInt32(length)])
                }
            }
        }
    }

    @Test("more extents than an answer holds are cut, and what is told is right")
    func manyExtents() throws {
        let pair: [ExtentStorage.Extent] = [
            .init(count: 512, flags: [.data, .allocated]), .init(count: 512, flags: [.zero, .allocated]),
        ]
        let storage = ExtentStorage((0..<70_000).flatMap { _ in pair })
        let told = try Self.ask(storage, [Self.both[0]], at: 0, Int(storage.length))
        #expect(told[Self.both[0]]?.count == NBDLimits.extents)
        #expect(told[Self.both[0]]?.prefix(2) == [.init(512, 0), .init(512, 3)])
    }

    @Test("a disk in many pieces that are told alike is told in part, and others get their turn meanwhile")
    func longWalk() throws {
        let pieces = NBDLimits.extents + 1000
        let storage = ExtentStorage(
            [ExtentStorage.Extent](repeating: .init(count: 512, flags: [.data, .allocated]), count: pieces))
        let bench = Bench()
        bench.export(storage, isWritable: false)
        try bench.run {
            let client = try await bench.client(contexts: [Self.both[0]])
            var (turns, isDone) = (0, false)
            bench.context.spawn {
                while !isDone {
                    turns += 1
                    await bench.context.sleep(ms: 0)
                }
            }
            let answer = try await client.call(.blockStatus, at: 0, Int(storage.length))
            isDone = true
            #expect(
                client.contexts.values.first.flatMap { answer.status[$0] }?.map(\.length) == [
                    UInt32(NBDLimits.extents) * 512
                ])
            #expect(turns >= NBDLimits.extents / 128)
        }
    }

    @Test("a bitmap in many pieces is told as far as one answer goes, and others get their turn meanwhile")
    func longBitmap() throws {
        let pieces = UInt64(NBDLimits.extents + 1000)
        let map = try #require(DirtyMap(length: pieces * 512, granularityBits: 9, memory: BitmapMemory()))
        for piece in stride(from: 0, to: pieces, by: 2) { map.set(ByteRange(at: piece * 512, count: 512)) }
        let bitmap = DirtyBitmap(
            name: "b", map: map, granularityBits: 9, isEnabled: false, isPersistent: false)
        let bench = Bench()
        bench.export(MemoryStorage(length: pieces * 512), isWritable: false, bitmaps: [bitmap])
        try bench.run {
            let name = NBDExport.bitmapContext + "b"
            let client = try await bench.client(contexts: [name])
            var (turns, isDone) = (0, false)
            bench.context.spawn {
                while !isDone {
                    turns += 1
                    await bench.context.sleep(ms: 0)
                }
            }
            let answer = try await client.call(.blockStatus, at: 0, Int(pieces * 512))
            isDone = true
            #expect(client.contexts[name].flatMap { answer.status[$0] }?.count == NBDLimits.extents)
            #expect(turns >= NBDLimits.extents / 128)
        }
    }

    @Test("a status of nothing, past the end or without a chosen context is invalid")
    func invalid() throws {
        let bench = Bench()
        bench.export(ExtentStorage(Self.extents), isWritable: false)
        try bench.run {
            let client = try await bench.client(contexts: [Self.both[0]])
            for (offset, length) in [(0, 0), (328_680, 1), (0, 328_681), (.max, 1), (1 << 63, 512)] as [(UInt64, Int)] {
                #expect(try await client.call(.blockStatus, at: offset, length).failure == .invalid)
            }
            let without = try await bench.client()
            #expect(try await without.call(.blockStatus, at: 0, 512).failure == .invalid)
            let simple = try await bench.client(structured: false)
            #expect(try await simple.call(.blockStatus, at: 0, 512).failure == .invalid)
        }
    }

    @Test("a failure of the storage is told as an error")
    func failure() throws {
        let bench = Bench()
        let disk = stripedDisk(bench.context, stripes: 2)
        disk.faults.add(Fault([.status], nth: 1))
        bench.export(disk)
        try bench.run {
            let client = try await bench.client(contexts: [Self.both[0]])
            #expect(try await client.call(.blockStatus, at: 0, 262_144).failure == .io)
            #expect(try await client.call(.blockStatus, at: 0, 262_144).error == 0)
        }
    }

    @Test("qemu:dirty-bitmap tells what a bitmap has marked, for exactly what was asked, beside the other contexts")
    func bitmaps() throws {
        let map = try #require(DirtyMap(length: 328_680, granularityBits: 16, memory: BitmapMemory()))
        map.set(ByteRange(at: 70_000, count: 1))
        map.set(ByteRange(at: 328_679, count: 1))
        let names = ["a:b", "a:"].map { NBDExport.bitmapContext + $0 }
        let bitmaps = ["a:b", "a:"].map {
            DirtyBitmap(name: $0, map: map, granularityBits: 16, isEnabled: false, isPersistent: false)
        }
        let bench = Bench()
        bench.export(ExtentStorage(Self.extents), isWritable: false, offersDepth: true, bitmaps: bitmaps)
        try bench.run {
            let client = try await bench.client(contexts: [names[1], Self.both[0]])
            #expect(Set(client.contexts.keys) == [names[1], Self.both[0]])
            func ask(_ offset: UInt64, _ length: Int, _ flags: NBDCommandFlags = []) async throws -> [Answer.Extent]? {
                let answer = try await client.call(.blockStatus, at: offset, length, flags)
                #expect(answer.error == 0)
                return client.contexts[names[1]].flatMap { answer.status[$0] }
            }
            #expect(
                try await ask(0, 328_680)
                    == [.init(65536, 0), .init(65536, 1), .init(196_608, 0), .init(1000, 1)])
            #expect(try await ask(65530, 10) == [.init(6, 0), .init(4, 1)])
            #expect(try await ask(65530, 10, .reqOne) == [.init(6, 0)])
        }
    }
}
