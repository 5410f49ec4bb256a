import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

/// A loop device over a file of its own.
private final class LoopDevice: Sendable {
    let folder = Folder()
    let path: String

    /// Nil where the host does not let us have one.
    init?(bytes: Int) {
        let file = folder.make("disk")
        // Proof: the path is lent as a C string for the call.
        guard unsafe truncate(file, bytes) == 0 else { return nil }
        let made = program("losetup", "--find", "--show", file)
        guard made.status == 0, let line = made.output.split(separator: "\n").last else { return nil }
        path = String(line)
    }

    deinit { program("losetup", "-d", path) }

    static let isPermitted = LoopDevice(bytes: 1 << 20) != nil
}

extension Trait where Self == ConditionTrait {
    fileprivate static var needsMount: ConditionTrait {
        .enabled(
            if: FileSystem(.tmpfs, kibibytes: 64) != nil, "skipped: the host does not let us mount a file system")
    }
    fileprivate static var needsLoop: ConditionTrait {
        .enabled(if: LoopDevice.isPermitted, "skipped: the host does not let us have a loop device")
    }
}

@Suite("Full and read-only file systems, and block devices", .serialized)
struct MountTests {
    @Test(
        "a full file system is `noSpace` to writes and zeros, keeps what is there, and is written on once there is room",
        .needsMount, arguments: Way.cached)
    func full(way: Way) async throws {
        let small = try #require(FileSystem(.tmpfs, kibibytes: 1024))
        let path = small.folder.make("a")
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            try await file.write(repeated(5, 512 << 10), at: 0)
            // The kernel takes a part of it, and the rest of the request fails.
            #expect(await failure { try await file.write(repeated(6, 1 << 20), at: 512 << 10) } == .noSpace)
            #expect(await failure { try await file.write(repeated(6, 8192), at: 1 << 20, flags: .fua) } == .noSpace)
            #expect(file.length == 512 << 10)
            try await file.flush()
            #expect(try await file.bytes(at: 0, count: 512 << 10) == repeated(5, 512 << 10))
            try await file.discard(ByteRange(at: 0, count: 256 << 10))
            try await file.resize(to: 512 << 10)
            try await file.write(repeated(7, 64 << 10), at: 512 << 10, flags: .fua)
            try await file.flush()
            #expect(try await file.bytes(at: 512 << 10, count: 64 << 10) == repeated(7, 64 << 10))
        }
    }

    @Test(
        "where writing is not permitted, auto-read-only opens to read, and without it the open is refused",
        .needsMount, arguments: engines)
    func autoReadOnly(engine: IOThread.EngineChoice) async throws {
        let small = try #require(FileSystem(.tmpfs, kibibytes: 1024))
        let path = small.folder.make("a", repeated(4, 4096))
        #expect(program("mount", "-o", "remount,ro", small.folder.path).status == 0)
        try await onThread(engine) { thread in
            let text = "Could not open '\(path)': Read-only file system"
            #expect(await refusal { _ = try FileStorage(FileOptions(filename: path), on: thread) } == text)
            let file = try FileStorage(FileOptions(filename: path, autoReadOnly: true), on: thread)
            #expect(file.isReadOnly)
            #expect(try await file.bytes(at: 0, count: 4096) == repeated(4, 4096))
            #expect(await failure { try await file.write([1], at: 0) } == .readOnly)
            #expect(await refusal { _ = try file.prepareReopen(FileOptions(filename: path)) } == text)
            let missing = FileOptions(filename: path + "x", autoReadOnly: true)
            #expect(
                await refusal { _ = try FileStorage(missing, on: thread) }
                    == "Could not open '\(path)x': No such file or directory")
            #expect(program("mount", "-o", "remount,rw", small.folder.path).status == 0)
            let writable = FileOptions(filename: path, autoReadOnly: true)
            #expect(try !FileStorage(writable, on: thread).isReadOnly)
        }
    }

    @Test("R71: a block device keeps its length through every kind of request", .needsLoop, arguments: Way.all)
    func device(way: Way) async throws {
        let loop = try #require(LoopDevice(bytes: 4 << 20))
        try await onThread(way.engine) { thread in
            var options = way.options(loop.path)
            options.isDevice = true
            #expect(
                await refusal { _ = try FileStorage(way.options(loop.path), on: thread) }
                    == "'file' driver requires '\(loop.path)' to be a regular file")
            #expect(FileStorage.isDevice(loop.path))
            let device = try FileStorage(options, on: thread)
            #expect(device.length == 4 << 20)
            #expect(!device.limits.growable)
            #expect(device.limits.discards)
            try await device.write(repeated(8, 1 << 20), at: 0)
            try await device.zero(ByteRange(at: 4096, count: 4096), flags: [])
            try await device.zero(ByteRange(at: 16384, count: 4096), flags: [.mayUnmap])
            try await device.discard(ByteRange(at: 524_288, count: 65536))
            try await device.flush()
            #expect(
                try await device.bytes(at: 0, count: 12288) == repeated(8, 4096) + repeated(0, 4096) + repeated(8, 4096)
            )
            #expect(try await device.bytes(at: 16384, count: 4096) == repeated(0, 4096))
            #expect(try await device.bytes(at: 524_288, count: 65536) == repeated(0, 65536))
            let status = try await device.status(of: ByteRange(at: 0, count: 1 << 20))
            #expect(status.count == 1 << 20)
            #expect(status.flags == [.data, .allocated])
            #expect(await failure { try await device.resize(to: 8 << 20) } == .unsupported)
            try await device.resize(to: 1 << 20)
            #expect(device.length == 4 << 20)
            device.closeFile()
            let back = try FileStorage(options, on: thread)
            #expect(try await back.bytes(at: 0, count: 4096) == repeated(8, 4096))
        }
    }

    @Test("a request past the end of a block device is refused and changes nothing", .needsLoop, arguments: Way.all)
    func deviceEnd(way: Way) async throws {
        let loop = try #require(LoopDevice(bytes: 1 << 20))
        try await onThread(way.engine) { thread in
            var options = way.options(loop.path)
            options.isDevice = true
            let device = try FileStorage(options, on: thread)
            let across = ByteRange(at: (1 << 20) - 4096, count: 8192)
            let refused: Set<BlockError?> = [.outOfRange, .invalid]
            #expect(refused.contains(await failure { _ = try await device.bytes(at: 1 << 20, count: 4096) }))
            #expect(refused.contains(await failure { _ = try await device.bytes(at: across.start, count: 8192) }))
            #expect(refused.contains(await failure { try await device.write(repeated(1, 8192), at: across.start) }))
            #expect(refused.contains(await failure { try await device.zero(across, flags: []) }))
            #expect(refused.contains(await failure { _ = try await device.status(of: across) }))
            #expect(device.length == 1 << 20)
            #expect(try await device.bytes(at: across.start, count: 4096) == repeated(0, 4096))
        }
    }

    @Test("a character device without an end is no disk: nothing can be read of it", arguments: engines)
    func characterDevice(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let device = try FileStorage(FileOptions(filename: "/dev/null", isDevice: true), on: thread)
            #expect(device.length == 0)
            #expect(!device.limits.growable)
            #expect(device.allocatedBytes == 0)
            #expect(await failure { _ = try await device.bytes(at: 0, count: 512) } == .outOfRange)
            let nothing = try await device.bytes(at: 0, count: 0)
            #expect(nothing.isEmpty)
        }
    }
}
