import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

@Suite("Files as storage")
struct FileTests {
    @Test("what was written is read back; gaps and what lies past the end are zeros", arguments: Way.all)
    func roundTrip(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            #expect(file.length == 0)
            try await file.write(repeated(5, 4096), at: 8192)
            #expect(file.length == 12288)
            #expect(file.highestWrite == 12288)
            #expect(try await file.bytes(at: 0, count: 8192) == repeated(0, 8192))
            #expect(try await file.bytes(at: 8192, count: 8192) == repeated(5, 4096) + repeated(0, 4096))
            #expect(try await file.bytes(at: 1 << 40, count: 4096) == repeated(0, 4096))
            try await file.write(repeated(6, 4096), at: 4096, flags: .fua)
            try await file.flush()
            #expect(try await file.bytes(at: 4096, count: 8192) == repeated(6, 4096) + repeated(5, 4096))
            #expect(hostStatus(path).st_size == 12288)
        }
    }

    @Test("an end that is no multiple of the alignment is read up to it, then as zeros", arguments: Way.all)
    func oddEnd(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(9, 5000))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            #expect(file.length == 5000)
            let found = try await file.bytes(at: 0, count: 12288)
            #expect(found == repeated(9, 5000) + repeated(0, 7288))
            #expect(hostStatus(path).st_size == 5000)
        }
    }

    @Test(
        "R71: zeroing keeps the space or gives it back, as asked, and grows the file past its end", arguments: Way.all)
    func zero(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(9, 65536))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            let blocks = hostStatus(path).st_blocks
            try await file.zero(ByteRange(at: 4096, count: 8192), flags: [])
            #expect(
                try await file.bytes(at: 0, count: 16384) == repeated(9, 4096) + repeated(0, 8192) + repeated(9, 4096))
            #expect(hostStatus(path).st_blocks >= blocks)
            try await file.zero(ByteRange(at: 16384, count: 32768), flags: [.mayUnmap, .fua, .fastOnly])
            #expect(try await file.bytes(at: 16384, count: 32768) == repeated(0, 32768))
            #expect(hostStatus(path).st_blocks <= blocks - 64)
            for flags in [ZeroFlags(), .mayUnmap] {
                let end = file.length
                try await file.zero(ByteRange(at: end - 4096, count: 12288), flags: flags)
                #expect(file.length == end + 8192)
                #expect(UInt64(hostStatus(path).st_size) == end + 8192)
                #expect(try await file.bytes(at: end - 4096, count: 12288) == repeated(0, 12288))
            }
        }
    }

    @Test(
        "where the file system cannot zero, that is said and not tried again, and nothing is written",
        arguments: engines)
    func zeroRefused(engine: IOThread.EngineChoice) async throws {
        let folder = Folder(in: "/dev/shm")
        let path = folder.make("a", repeated(9, 65536))
        try await onThread(engine) { thread in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            // tmpfs punches holes, and knows no other zeros.
            try await file.zero(ByteRange(at: 4096, count: 4096), flags: [.mayUnmap, .fastOnly])
            for flags in [ZeroFlags(), .fastOnly] {
                #expect(
                    await failure { try await file.zero(ByteRange(at: 0, count: 4096), flags: flags) } == .unsupported)
            }
            #expect(try await file.bytes(at: 0, count: 8192) == repeated(9, 4096) + repeated(0, 4096))
            let walker = BlockIO(context: thread, driver: .storage(file))
            try await walker.zero(ByteRange(at: 100, count: 3000), flags: [])
            #expect(try await walker.bytes(at: 99, count: 3002) == [9] + repeated(0, 3000) + [9])
        }
    }

    @Test("R71: a discard gives space back inside the file and never changes its length", arguments: Way.all)
    func discard(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(9, 65536))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            #expect(file.limits.discards)
            let blocks = hostStatus(path).st_blocks
            try await file.discard(ByteRange(at: 32768, count: 1 << 30))
            #expect(hostStatus(path).st_size == 65536)
            #expect(hostStatus(path).st_blocks <= blocks - 64)
            #expect(try await file.bytes(at: 28672, count: 8192) == repeated(9, 4096) + repeated(0, 4096))
            try await file.discard(ByteRange(at: 1 << 40, count: 4096))
            #expect(hostStatus(path).st_size == 65536)
        }
    }

    @Test("discard=unmap reaches the host, discard=ignore succeeds without a trace", arguments: Way.cached)
    func discardOption(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(9, 65536))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            let range = ByteRange(at: 0, count: 65536)
            let blocks = hostStatus(path).st_blocks
            let ignoring = BlockIO(context: thread, driver: .storage(file), options: .init(honoursDiscard: false))
            try await ignoring.discard(range)
            #expect(hostStatus(path).st_blocks == blocks)
            #expect(try await file.bytes(at: 0, count: 65536) == repeated(9, 65536))
            let unmapping = BlockIO(context: thread, driver: .storage(file), options: .init(honoursDiscard: true))
            try await unmapping.discard(range)
            #expect(hostStatus(path).st_blocks < blocks)
            #expect(hostStatus(path).st_size == 65536)
        }
    }

    @Test("the status tells data from holes, and zeros past the end", arguments: Way.all)
    func status(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            try await file.resize(to: 1 << 20)
            try await file.write(repeated(1, 65536), at: 65536)
            func told(_ at: UInt64, _ count: UInt64) async throws -> (UInt64, BlockStatus.Flags, UInt64?) {
                let status = try await file.status(of: ByteRange(at: at, count: count))
                return (status.count, status.flags, status.offset)
            }
            #expect(try await told(4096, 1 << 20) == (61440, [.zero, .allocated], 4096))
            #expect(try await told(69632, 1 << 20) == (61440, [.data, .allocated], 69632))
            #expect(try await told(65536, 512) == (512, [.data, .allocated], 65536))
            #expect(try await told(131_072, 1 << 19) == (1 << 19, [.zero, .allocated], 131_072))
            // Past the end there is nothing whose place could be told.
            #expect(try await told(1 << 30, 4096) == (4096, [.zero, .allocated], nil))
            #expect(file.allocatedBytes == UInt64(hostStatus(path).st_blocks) * 512)
        }
    }

    @Test("resizing grows with zeros, shrinks, and is refused past what a file can be", arguments: Way.all)
    func resize(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(3, 8192))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            try await file.resize(to: 16384)
            #expect(try await file.bytes(at: 0, count: 16384) == repeated(3, 8192) + repeated(0, 8192))
            try await file.resize(to: 4096)
            #expect(file.length == 4096)
            #expect(hostStatus(path).st_size == 4096)
            try await file.resize(to: 8192)
            #expect(try await file.bytes(at: 0, count: 8192) == repeated(3, 4096) + repeated(0, 4096))
            #expect(await failure { try await file.resize(to: 1 << 63) } == .outOfRange)
            #expect(await failure { try await file.resize(to: 1 << 60) } == .system(EFBIG))
            #expect(file.length == 8192)
        }
    }

    @Test("what is read-only takes no change of any kind, and is flushed without an error", arguments: Way.all)
    func readOnly(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(3, 8192))
        try await onThread(way.engine) { thread in
            var options = way.options(path)
            options.isReadOnly = true
            let file = try FileStorage(options, on: thread)
            let range = ByteRange(at: 0, count: 4096)
            #expect(file.isReadOnly)
            #expect(await failure { try await file.write(repeated(1, 4096), at: 0) } == .readOnly)
            #expect(await failure { try await file.zero(range, flags: []) } == .readOnly)
            #expect(await failure { try await file.discard(range) } == .readOnly)
            #expect(await failure { try await file.resize(to: 0) } == .readOnly)
            try await file.flush()
            #expect(try await file.bytes(at: 4096, count: 8192) == repeated(3, 4096) + repeated(0, 4096))
        }
    }

    @Test("a write too far for the file system is its error, and the length stays", arguments: Way.all)
    func tooFar(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            try await file.write(repeated(1, 4096), at: 0)
            #expect(await failure { try await file.write(repeated(1, 4096), at: 1 << 60) } == .system(EFBIG))
            #expect(file.length == 4096)
            #expect(file.highestWrite == 4096)
        }
    }

    @Test("direct files tell the alignment they need, cached ones need none")
    func alignment() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(1, 65536))
        try await onThread(.automatic) { thread in
            let direct = try FileStorage(FileOptions(filename: path, direct: true), on: thread)
            #expect([512, 4096].contains(direct.limits.requestAlignment))
            let walker = BlockIO(context: thread, driver: .storage(direct))
            try await walker.write([7], at: 4097)
            try await walker.write(repeated(8, 5000), at: 60_001)
            #expect(try await walker.bytes(at: 4096, count: 3) == [1, 7, 1])
            let cached = try FileStorage(FileOptions(filename: path), on: thread)
            #expect(cached.limits.requestAlignment == 1)
            #expect(cached.limits.memoryAlignment == 1)
            #expect(cached.fileIdentity == direct.fileIdentity)
            #expect(try await cached.bytes(at: 60_000, count: 5002) == [1] + repeated(8, 5000) + [1])
            let oDirect: Int32 = 0o40000
            #expect(descriptors(of: path).filter { fcntl($0, F_GETFL) & oDirect != 0 }.count == 1)
        }
    }
}
