import Block
import BlockTestKit
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

@Suite("Image locks")
struct LockTests {
    static let hasQEMU = isInstalled("qemu-io") && isInstalled("qemu-img")
    static let writing: LockPermissions = [.consistentRead, .write, .resize]
    /// What a writer of a format lets others do.
    static let sharing: LockPermissions = [.consistentRead, .writeUnchanged]

    static func open(_ path: String, _ thread: IOThread, _ locking: FileOptions.Locking = .auto) throws(OpenError)
        -> FileStorage
    {
        try FileStorage(FileOptions(filename: path, locking: locking), on: thread)
    }

    @Test("R89: a second user is refused what the first does not share, in QEMU's words, until the first is closed")
    func refusals() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(1, 8192))
        try await onThread(.automatic) { thread in
            let first = try Self.open(path, thread)
            try first.acquirePermissions(used: [.consistentRead, .write], shared: [.consistentRead])
            let second = try Self.open(path, thread)
            let cases: [(used: LockPermissions, shared: LockPermissions, text: String)] = [
                (.write, .all, "Failed to get \"write\" lock"),
                (.resize, .all, "Failed to get \"resize\" lock"),
                (.writeUnchanged, .all, "Failed to get \"write unchanged\" lock"),
                (.consistentRead, Self.sharing, "Failed to get shared \"write\" lock"),
                ([], [.write, .resize], "Failed to get shared \"consistent read\" lock"),
            ]
            for (used, shared, text) in cases {
                #expect(await refusal { try second.acquirePermissions(used: used, shared: shared) } == text)
            }
            try second.acquirePermissions(used: [.consistentRead], shared: .all)
            first.closeFile()
            try second.acquirePermissions(used: .all, shared: [])
        }
    }

    @Test("a refused change leaves the locks as they were, and what is released is free at once")
    func phases() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let (first, second, third) = (
                try Self.open(path, thread), try Self.open(path, thread), try Self.open(path, thread)
            )
            try second.acquirePermissions(used: .write, shared: .all)
            #expect(await refusal { try first.acquirePermissions(used: .all, shared: .consistentRead) } != "")
            // The refused change had taken locks on the way: a third user meets none of them.
            try third.acquirePermissions(used: .all, shared: .all)
            third.releasePermissions(used: [], shared: .all)
            second.releasePermissions(used: [], shared: .all)
            try third.acquirePermissions(used: [], shared: [])
            third.releasePermissions(used: [], shared: .all)
            try first.acquirePermissions(used: .all, shared: [])
            // What was held before a refused change is held after it.
            try second.acquirePermissions(used: [], shared: .all)
            #expect(await refusal { try second.acquirePermissions(used: .write, shared: .all) } != "")
            #expect(await refusal { try third.acquirePermissions(used: .write, shared: .all) } != "")
            // Fewer permissions give up the rest only.
            first.releasePermissions(used: [.consistentRead], shared: [.consistentRead, .write])
            try third.acquirePermissions(used: .write, shared: .all)
            #expect(await refusal { try second.acquirePermissions(used: .resize, shared: .all) } != "")
        }
    }

    @Test("locking=off takes no locks and sees none")
    func off() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let first = try Self.open(path, thread, .off)
            try first.acquirePermissions(used: .all, shared: [])
            let second = try Self.open(path, thread, .on)
            try second.acquirePermissions(used: .all, shared: [])
            let third = try Self.open(path, thread, .off)
            try third.acquirePermissions(used: .all, shared: [])
        }
    }

    @Test("locks go over to a reopened file without a gap, and end with it")
    func reopen() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let first = try Self.open(path, thread)
            try first.acquirePermissions(used: Self.writing, shared: Self.sharing)
            let second = try Self.open(path, thread)
            func isHeld() async -> Bool {
                await refusal { try second.acquirePermissions(used: .write, shared: .all) }
                    == "Failed to get \"write\" lock"
            }
            let reopened = try first.prepareReopen(FileOptions(filename: path, aio: .threads))
            #expect(await isHeld())
            first.commit(reopened)
            #expect(await isHeld())
            _ = try first.prepareReopen(FileOptions(filename: path))
            #expect(await isHeld())
            first.closeFile()
            try second.acquirePermissions(used: .all, shared: [])
        }
    }

    @Test("a file closed while its requests end frees its locks at once", arguments: Way.all)
    func freedByClose(way: Way) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(1, 65536))
        try await onThread(way.engine) { thread in
            for _ in 0..<200 {
                let first = try FileStorage(way.options(path), on: thread)
                try first.acquirePermissions(used: Self.writing, shared: [])
                try await first.write(repeated(1, 4096), at: 0)
                try await first.flush()
                first.closeFile()
                let second = try Self.open(path, thread)
                try second.acquirePermissions(used: .all, shared: [])
                second.closeFile()
            }
        }
    }

    @Test(
        "R89: qemu-io is kept out while we write, let in to read, and let in to write once we are closed",
        .enabled(if: hasQEMU, "skipped: qemu-io is not installed"), arguments: engines)
    func keepsQEMUOut(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(1, 8192))
        try await onThread(engine) { thread in
            let file = try Self.open(path, thread)
            try file.acquirePermissions(used: Self.writing, shared: Self.sharing)
            let writer = program("qemu-io", "-f", "raw", "-c", "write 0 512", path)
            #expect(writer.status == 1)
            #expect(writer.output.contains("Failed to get \"write\" lock"))
            let reader = program("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 512", path)
            #expect(reader.status == 0)
            file.closeFile()
            #expect(program("qemu-io", "-f", "raw", "-c", "write -P 7 0 512", path).status == 0)
            let again = try Self.open(path, thread)
            #expect(try await again.bytes(at: 0, count: 513) == repeated(7, 512) + [1])
        }
    }

    @Test(
        "an image that qemu-io writes to is refused to us in QEMU's words, and ours once it has ended",
        .enabled(if: hasQEMU, "skipped: qemu-io is not installed"), arguments: engines)
    func keepsUsOut(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.file("disk")
        #expect(program("qemu-img", "create", "-q", "-f", "qcow2", path, "1M").status == 0)
        try await onThread(engine) { thread in
            // It holds the image until its input ends.
            let output = folder.file("output")
            // Proof: the stream belongs to this function, which closes it once.
            let holder = unsafe popen("exec qemu-io -f qcow2 '\(path)' >'\(output)' 2>&1", "w")
            try #require(unsafe holder != nil)
            unsafe fputs("write 0 512\n", holder)
            unsafe fflush(holder)
            #expect(await thread.waits { program("cat", output).output.contains("wrote 512/512") })
            let file = try Self.open(path, thread)
            #expect(
                await refusal { try file.acquirePermissions(used: Self.writing, shared: Self.sharing) }
                    == "Failed to get \"write\" lock")
            #expect(
                await refusal { try file.acquirePermissions(used: .consistentRead, shared: Self.sharing) }
                    == "Failed to get shared \"write\" lock")
            try file.acquirePermissions(used: .consistentRead, shared: .all)
            #expect(unsafe pclose(holder) == 0)
            try file.acquirePermissions(used: Self.writing, shared: Self.sharing)
        }
    }
}
