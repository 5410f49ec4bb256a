import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostTestKit
import Testing

@Suite("Files on the I/O thread")
struct FileTests {
    /// Each engine of a thread with each way that a file can go on it.
    struct Way: Sendable, CustomTestStringConvertible {
        let engine: IOThread.EngineChoice
        let file: FileEngine
        var testDescription: String { "thread \(engine), file \(file)" }
    }

    static let ways = [
        Way(engine: .automatic, file: .ring), Way(engine: .automatic, file: .threads),
        Way(engine: .threads, file: .ring),
    ]

    /// Opens a file until the body ends.
    static func withFile(_ path: String, _ flags: Int32 = O_RDWR, _ body: (Int32) async throws -> Void) async throws {
        // Proof: the path is lent as a C string for the call.
        let descriptor = unsafe open(path, flags | O_CLOEXEC)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try await body(descriptor)
    }

    static func read(_ file: Int32, at offset: UInt64, _ count: Int, _ way: Way, _ thread: IOThread)
        async throws -> [UInt8]
    {
        var buffer = AlignedBuffer(byteCount: count)
        var room = buffer.mutableBytes
        room.fill(0xEE)
        try await thread.read(file, at: offset, into: &room, engine: way.file)
        return buffer.bytes.copied
    }

    @Test("what was written is read back, the gap before it and what lies past the end as zeros", arguments: ways)
    func roundTrip(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(way.engine) { thread in
            try await Self.withFile(path) { file in
                var random = SeededRandom(seed: 3)
                let bytes = random.bytes(10_000)
                try await thread.write(file, at: 500, from: bytes.rawBytes, dsync: false, engine: way.file)
                try await thread.fdatasync(file, engine: way.file)
                let found = try await Self.read(file, at: 0, 12_000, way, thread)
                #expect(found == [UInt8](repeating: 0, count: 500) + bytes + [UInt8](repeating: 0, count: 1500))
                #expect(try await Self.read(file, at: 1 << 40, 10, way, thread) == [UInt8](repeating: 0, count: 10))
                #expect(hostStatus(path).st_size == 10_500)
            }
        }
    }

    @Test("a thousand requests under way at once each get their own bytes", arguments: ways)
    func many(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(way.engine) { thread in
            try await Self.withFile(path) { file in
                let ended = Shared(0)
                let good = Shared(0)
                for index in 0..<1000 as Range<UInt64> {
                    thread.spawn {
                        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 512)
                        do {
                            try await thread.write(
                                file, at: index * 512, from: bytes.rawBytes, dsync: false, engine: way.file)
                            let found = try await Self.read(file, at: index * 512, 512, way, thread)
                            if found == bytes { good.value += 1 }
                        } catch {}
                        ended.value += 1
                    }
                }
                #expect(await thread.waits { ended.value == 1000 })
                #expect(good.value == 1000)
            }
        }
    }

    @Test("an error carries the kernel's errno", arguments: ways)
    func errors(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", [1, 2, 3])
        try await onThread(way.engine) { thread in
            let byte: [UInt8] = [1]
            try await Self.withFile(path, O_RDONLY) { file in
                #expect(
                    await failure {
                        try await thread.write(file, at: 0, from: byte.rawBytes, dsync: false, engine: way.file)
                    } == .system(EBADF))
            }
            try await Self.withFile("/dev/full") { file in
                #expect(
                    await failure {
                        try await thread.write(file, at: 0, from: byte.rawBytes, dsync: false, engine: way.file)
                    } == .noSpace)
                #expect(await failure { try await thread.fdatasync(file, engine: way.file) } == .invalid)
            }
            try await Self.withFile(folder.path, O_RDONLY) { file in
                #expect(
                    await failure { _ = try await Self.read(file, at: 0, 512, way, thread) } == .system(EISDIR))
            }
        }
    }

    @Test("holes are punched and space is allocated where it was asked for", arguments: ways)
    func allocate(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", [UInt8](repeating: 7, count: 65536))
        let punchHole: Int32 = 3
        try await onThread(way.engine) { thread in
            try await Self.withFile(path) { file in
                let blocks = hostStatus(path).st_blocks
                try await thread.fallocate(file, mode: punchHole, at: 8192, count: 16384, engine: way.file)
                #expect(hostStatus(path).st_blocks == blocks - 32)
                let found = try await Self.read(file, at: 8191, 16386, way, thread)
                #expect(found == [7] + [UInt8](repeating: 0, count: 16384) + [7])
                try await thread.fallocate(file, mode: 0, at: 65536, count: 65536, engine: way.file)
                #expect(hostStatus(path).st_size == 131072)
                #expect(
                    await failure {
                        try await thread.fallocate(file, mode: 0, at: 0, count: 0, engine: way.file)
                    } == .invalid)
            }
        }
    }

    @Test("a read in place answers only with all of what was asked", arguments: engines)
    func cached(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.make("a", [UInt8](repeating: 7, count: 1000))
        try await onThread(engine) { thread in
            try await Self.withFile(path) { file in
                var buffer = AlignedBuffer(byteCount: 500)
                var room = buffer.mutableBytes
                // Not every file system can tell what its cache holds.
                if thread.readCached(file, at: 500, into: &room) {
                    #expect(buffer.bytes.copied == [UInt8](repeating: 7, count: 500))
                }
                var rest = buffer.mutableBytes
                #expect(!thread.readCached(file, at: 501, into: &rest))
                #expect(!thread.readCached(file, at: 5000, into: &rest))
            }
        }
    }
}
