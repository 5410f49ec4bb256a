import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire
import Testing

@Suite("NBD errors")
struct ErrorTests {
    static let errors: [(BlockError, NBDError)] = [
        (.io, .io), (.noSpace, .noSpace), (.readOnly, .permission), (.permission, .permission), (.invalid, .invalid),
        (.unsupported, .unsupported), (.corrupt, .io), (.fenced, .io), (.noMedium, .io), (.busy, .io),
        (.closed, .shutdown), (.limit, .noMemory), (.system(61), .io),
    ]

    @Test(
        "each failure of the storage has its number on the wire, and the connection goes on", arguments: [false, true])
    func mapping(structured: Bool) throws {
        for (error, expected) in Self.errors {
            let bench = Bench()
            let storage = FaultyStorage(MemoryStorage(length: 1 << 20))
            bench.export(storage)
            try bench.run {
                let client = try await bench.client(structured: structured)
                storage.plan.add(Fault([.read, .write, .zero, .discard, .flush], forever: true, error: error))
                #expect(try await client.read(at: 0, 512).failure == expected)
                #expect(try await client.write([1], at: 0).failure == expected)
                #expect(try await client.write([1], at: 0, .fua).failure == expected)
                #expect(try await client.call(.writeZeroes, at: 0, 512).failure == expected)
                #expect(try await client.call(.trim, at: 0, 512).failure == expected)
                #expect(try await client.call(.flush).failure == expected)
                storage.plan.clear()
                #expect(try await client.read(at: 0, 512).error == 0)
            }
        }
    }

    @Test("commands that are not known are invalid, and the connection stays in step", arguments: [false, true])
    func unknownCommands(structured: Bool) throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1 << 20))
        try bench.run {
            let client = try await bench.client(structured: structured)
            for type in [8, 9, 100, 0x7FFF, 0x8000, 0xFFFF] as [UInt16] {
                for length in [0, 512, Int(UInt32.max)] {
                    let cookie = try await client.start(type: type, at: 0, length)
                    #expect(try await client.answer(to: cookie).failure == .invalid)
                }
            }
            #expect(try await client.read(at: 0, 512).error == 0)
        }
    }

    @Test("a flag is accepted with the commands that it belongs to, and invalid with all others")
    func flags() throws {
        let bench = Bench()
        let storage = MemoryStorage(length: 1 << 20)
        bench.export(storage)
        let allowed: [NBDCommand: NBDCommandFlags] = [
            .read: [.fua, .dontFragment], .write: .fua, .flush: .fua, .trim: .fua, .cache: .fua,
            .writeZeroes: [.fua, .noHole, .fastZero], .blockStatus: [.fua, .reqOne],
        ]
        try bench.run {
            let client = try await bench.client(contexts: ["base:allocation"])
            for (command, flags) in allowed {
                for bit in 0..<16 {
                    let flag = NBDCommandFlags(rawValue: 1 << bit)
                    let payload = [UInt8](repeating: 1, count: command == .write ? 512 : 0)
                    let cookie = try await client.start(command, at: 0, 512, flag, payload: payload)
                    let expected: NBDError? = flags.contains(flag) ? nil : .invalid
                    #expect(try await client.answer(to: cookie).failure == expected, "\(command) \(bit)")
                }
            }
        }
    }

    @Test("a flush has no range: whatever its offset and length hold, it flushes")
    func flushRange() throws {
        let bench = Bench()
        let storage = ExtentStorage([.init(count: 4096, flags: [.zero])])
        bench.export(storage)
        try bench.run {
            let client = try await bench.client()
            for (offset, length) in [(0, 1), (4096, 1), (.max, 1), (.max, 4096), (1 << 63, 1 << 31)] as [(UInt64, Int)]
            {
                #expect(try await client.call(.flush, at: offset, length).error == 0)
                #expect(try await client.call(.flush, at: offset, length, .fua).error == 0)
            }
        }
        #expect(storage.changes == [String](repeating: "flush", count: 10))
    }

    @Test("a write that is refused is still read to its end, so that the next request is understood")
    func refusedPayload() throws {
        let bench = Bench()
        bench.export(MemoryStorage(length: 1 << 20))
        try bench.run {
            let client = try await bench.client()
            for length in [1, 28, 512, 300_000] {
                let payload = NBDRequest(flags: [], type: 1, cookie: 1, offset: 0, length: 512).encoded
                let bytes = Array([[UInt8]](repeating: payload, count: length / 28 + 1).joined().prefix(length))
                #expect(try await client.write(bytes, at: 1 << 20, []).failure == .noSpace)
                #expect(try await client.write(bytes, at: 0, .noHole).failure == .invalid)
            }
            #expect(try await client.read(at: 0, 512).data == [UInt8](repeating: 0, count: 512))
        }
    }

    @Test("a full disk gives ENOSPC to the writer, leaves what is there readable, and takes writes once there is room")
    func fullDisk() throws {
        let bench = Bench()
        let disk = FaultyStorage(stripedDisk(bench.context, stripes: 1))
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            let before = try await client.read(at: 0, 4096).data
            disk.plan.add(Fault([.write], forever: true, error: .noSpace))
            #expect(try await client.write([1, 2, 3], at: 0).failure == .noSpace)
            #expect(try await client.read(at: 0, 4096).data == before)
            disk.plan.clear()
            #expect(try await client.write([1, 2, 3], at: 0).error == 0)
            #expect(try await client.read(at: 0, 3).data == [1, 2, 3])
        }
    }

    @Test("failures of the storage are reported, what the client asked wrongly is not")
    func reports() throws {
        let bench = Bench()
        let storage = FaultyStorage(MemoryStorage(length: 1 << 20))
        let export = bench.export(storage)
        var reports: [String] = []
        export.onFailure = { isWrite, error in reports.append("\(isWrite ? "write" : "read") \(error)") }
        try bench.run {
            let client = try await bench.client()
            _ = try await client.read(at: 1 << 20, 512)
            _ = try await client.write([1], at: 1 << 20)
            _ = try await client.read(at: 0, 512, .noHole)
            // Not to be fast is no failure.
            storage.plan.add(Fault([.zero], error: .unsupported))
            _ = try await client.call(.writeZeroes, at: 0, 512, .fastZero)
            #expect(reports.isEmpty)
            storage.plan.add(Fault([.read]))
            _ = try await client.read(at: 0, 512)
            storage.plan.add(Fault([.write], error: .noSpace))
            _ = try await client.write([1], at: 0)
        }
        #expect(reports == ["read io", "write noSpace"])
    }

    @Test("a storage that asks for aligned requests refuses others with EINVAL, and harms nothing")
    func alignment() throws {
        let bench = Bench()
        let disk = SimDisk(
            bench.context, contents: SparseBytes(length: 1 << 20),
            SimDisk.Options(limits: StorageLimits(requestAlignment: 512, memoryAlignment: 512)))
        bench.export(disk)
        try bench.run {
            let client = try await bench.client()
            #expect(client.infos[NBDInfo.blockSize]?.prefix(4) == [0, 0, 2, 0])
            #expect(try await client.read(at: 1, 512).failure == .invalid)
            #expect(try await client.write([1], at: 0).failure == .invalid)
            #expect(try await client.write([UInt8](repeating: 1, count: 512), at: 512).error == 0)
            #expect(try await client.read(at: 512, 512).data == [UInt8](repeating: 1, count: 512))
        }
    }
}
