import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

/// What a file's requests ask of the kernel, and what they make of its answers.
@Suite("Calls on a file")
struct CallTests {
    /// Past the cached reads in place, which go around the engine.
    static let size = 100_000

    @Test("reads and writes that the kernel cuts short go on to their end")
    func shortCalls() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.longest = 777
            var random = SeededRandom(seed: 1)
            let bytes = random.bytes(Self.size)
            try await file.write(bytes, at: 3)
            #expect(try await file.bytes(at: 0, count: Self.size + 1000) == [0, 0, 0] + bytes + repeated(0, 997))
            let pieces = (Self.size + 776) / 777
            #expect(engine.calls.filter { $0 == .write }.count == pieces)
            // One more call finds the end of the file.
            #expect(engine.calls.filter { $0 == .read }.count == (Self.size + 3 + 776) / 777 + 1)
        }
    }

    @Test("a peer submits to an engine like its owner's; where the host has none for it there is no peer")
    func peer() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.refusal = BlockError(errno: EMFILE)
            #expect(
                await refusal { _ = try thread.takePeer() }
                    == "Failed to start an I/O thread: Too many open files")
            engine.refusal = nil
            let peer = try thread.takePeer()
            let got = Shared<[UInt8]>([])
            await thread.visit(peer.taskExecutor) {
                got.value = (try? await file.bytes(at: 0, count: Self.size)) ?? []
            }
            #expect(got.value == repeated(4, Self.size))
        }
    }

    @Test("calls that were interrupted or have to wait are made again", arguments: [EINTR, EAGAIN])
    func interrupted(code: Int32) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.read: [code, code], .write: [code], .sync: [code, code], .allocate: [code]]
            #expect(try await file.bytes(at: 0, count: Self.size) == repeated(4, Self.size))
            try await file.write(repeated(5, 10), at: 0)
            try await file.zero(ByteRange(at: 10, count: 10), flags: .mayUnmap)
            try await file.flush()
            let wanted: [ScriptedEngine.Kind] = [
                .read, .read, .read, .write, .write, .allocate, .allocate, .sync, .sync, .sync,
            ]
            #expect(engine.calls == wanted)
        }
    }

    @Test("an error amid a request is the request's, whatever went before it")
    func failures() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.longest = Self.size / 2
            for kind in [ScriptedEngine.Kind.read, .write, .allocate] {
                engine.failures = [kind: [EIO]]
                switch kind {
                case .read:
                    #expect(await failure { _ = try await file.bytes(at: 0, count: Self.size) } == .io)
                case .write:
                    #expect(await failure { try await file.write(repeated(1, 10), at: 200_000) } == .io)
                    #expect(file.length == UInt64(Self.size))
                default:
                    let far = ByteRange(at: 300_000, count: 10)
                    #expect(await failure { try await file.zero(far, flags: []) } == .io)
                    #expect(file.length == UInt64(Self.size))
                    let near = ByteRange(at: 0, count: 10)
                    engine.failures = [kind: [EIO]]
                    #expect(await failure { try await file.discard(near) } == .io)
                }
            }
            // None of it is remembered.
            try await file.zero(ByteRange(at: 0, count: 10), flags: [])
            try await file.flush()
        }
    }

    @Test("a flush is one fdatasync, a forced write is durable in its own call, and reads are no flushes")
    func oneSync() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            try await file.flush()
            #expect(engine.calls == [.sync])
            try await file.write(repeated(1, 10), at: 0, flags: .fua)
            #expect(engine.calls == [.sync, .durableWrite])
            _ = try await file.bytes(at: 0, count: Self.size)
            try await file.write(repeated(1, 10), at: 0)
            #expect(engine.calls == [.sync, .durableWrite, .read, .write])
            try await file.zero(ByteRange(at: 0, count: 10), flags: .fua)
            #expect(engine.calls == [.sync, .durableWrite, .read, .write, .allocate, .sync])
        }
    }

    @Test("cache.no-flush asks the kernel for no durability at all, and what is read-only needs none")
    func noFlush() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path, noFlush: true), on: thread)
            try await file.flush()
            try await file.write(repeated(1, 10), at: 0, flags: .fua)
            try await file.zero(ByteRange(at: 0, count: 10), flags: .fua)
            #expect(engine.calls == [.write, .allocate])
            let reading = try FileStorage(FileOptions(filename: path, isReadOnly: true), on: thread)
            try await reading.flush()
            #expect(engine.calls == [.write, .allocate])
        }
    }

    @Test(
        "R87, D7: after a failed flush no later one asks the kernel, and none succeeds until the file is opened again")
    func sticky() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, Self.size))
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.sync: [ENOSPC]]
            #expect(await failure { try await file.flush() } == .noSpace)
            #expect(await failure { try await file.flush() } == .noSpace)
            let zeros = ByteRange(at: 0, count: 10)
            #expect(await failure { try await file.zero(zeros, flags: .fua) } == .noSpace)
            #expect(await failure { try await file.write(repeated(1, 10), at: 0, flags: .fua) } == .noSpace)
            #expect(engine.calls.filter { $0 == .sync || $0 == .durableWrite } == [.sync])
            // Plain requests go on.
            try await file.write(repeated(1, 10), at: 0)
            #expect(try await file.bytes(at: 0, count: 10) == repeated(1, 10))
            file.commit(try file.prepareReopen(FileOptions(filename: path)))
            try await file.flush()
            try await file.write(repeated(1, 10), at: 0, flags: .fua)
        }
    }

    @Test("R87, D7: a flush that was under way when another failed does not succeed")
    func stickyUnderWay() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.sync: [EIO]]
            let ended = Shared<[BlockError?]>([])
            for _ in 0..<3 { thread.spawn { ended.value.append(await failure { try await file.flush() }) } }
            #expect(await thread.waits { ended.value.count == 3 })
            #expect(ended.value == [.io, .io, .io])
            #expect(engine.calls == [.sync, .sync, .sync])
        }
    }

    @Test("R87, D7: a durable write whose durability failed makes every later flush fail")
    func stickyWrite() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.durableWrite: [EIO]]
            #expect(await failure { try await file.write(repeated(1, 10), at: 0, flags: .fua) } == .io)
            #expect(await failure { try await file.flush() } == .io)
            #expect(!engine.calls.contains(.sync))
        }
    }

    @Test("a durable write that found no room fails alone: flushes go on, and so does writing once there is room")
    func fullDisk() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.durableWrite: [ENOSPC], .write: [ENOSPC]]
            #expect(await failure { try await file.write(repeated(1, 10), at: 0, flags: .fua) } == .noSpace)
            try await file.flush()
            try await file.write(repeated(2, 10), at: 0, flags: .fua)
            #expect(try await file.bytes(at: 0, count: 11) == repeated(2, 10) + [0])
        }
    }

    @Test("D7: a durable write that was under way when a flush failed does not succeed")
    func durableBesideFailure() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.failures = [.sync: [EIO]]
            let ended = Shared<[BlockError?]>([])
            thread.spawn { ended.value.append(await failure { try await file.flush() }) }
            thread.spawn {
                ended.value.append(await failure { try await file.write(repeated(1, 10), at: 0, flags: .fua) })
            }
            #expect(await thread.waits { ended.value.count == 2 })
            #expect(ended.value == [.io, .io])
        }
    }

    @Test("D7 on the real kernel: a flush that failed stays failed until the file is opened again", arguments: Way.all)
    func stickyForReal(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(1, 8192))
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            try await file.flush()
            // For a while the descriptor leads to what cannot be synced: a pipe.
            let number = try #require(descriptors(of: path).first)
            let copy = dup(number)
            var ends: [Int32] = [-1, -1]
            // Proof: room for the two numbers.
            #expect(unsafe pipe(&ends) == 0)
            dup2(ends[1], number)
            #expect(await failure { try await file.flush() } == .invalid)
            dup2(copy, number)
            for number in [copy, ends[0], ends[1]] { close(number) }
            #expect(await failure { try await file.flush() } == .invalid)
            #expect(await failure { try await file.write(repeated(2, 4096), at: 0, flags: .fua) } == .invalid)
            try await file.write(repeated(2, 4096), at: 0)
            file.commit(try file.prepareReopen(way.options(path)))
            try await file.flush()
            try await file.write(repeated(2, 4096), at: 0, flags: .fua)
        }
    }

    @Test(
        "a call under way stays with its file though that is reopened or closed, and with no other that is opened then",
        arguments: [false, true])
    func heldCall(closes: Bool) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(4, 4096))
        let others = (0..<8).map { folder.make("other\($0)", repeated(9, 4096)) }
        try await ScriptedEngine.use { thread, engine in
            let file = try FileStorage(FileOptions(filename: path), on: thread)
            engine.holds = true
            let end = End()
            for round in 0..<3 {
                thread.spawn {
                    end.failure =
                        await failure {
                            if round == 0 { try await file.write(repeated(5, 100), at: 0) }
                            if round == 1 { try await file.zero(ByteRange(at: 200, count: 100), flags: .mayUnmap) }
                            if round == 2 { try await file.flush() }
                        } ?? end.failure
                    end.count += 1
                }
            }
            #expect(await thread.waits { engine.calls.count == 3 })
            if closes { file.closeFile() } else { file.commit(try file.prepareReopen(FileOptions(filename: path))) }
            // These take the lowest numbers that are free.
            let opened = try others.map { try FileStorage(FileOptions(filename: $0), on: thread) }
            engine.letGo()
            #expect(await thread.waits { end.count == 3 })
            #expect(end.failure == nil)
            for other in opened { #expect(try await other.bytes(at: 0, count: 4096) == repeated(9, 4096)) }
            let again = try FileStorage(FileOptions(filename: path), on: thread)
            #expect(
                try await again.bytes(at: 0, count: 400)
                    == repeated(5, 100) + repeated(4, 100) + repeated(0, 100) + repeated(4, 100))
            // The old one's number is given back when its last call has ended.
            #expect(descriptors(of: path).count == (closes ? 1 : 2))
        }
    }

    private final class End {
        var count = 0
        var failure: BlockError?
    }
}
