import Block
import BlockTestKit
import Bytes
import Graph
import Image
import Testing

/// What QEMU 7.2.22's `qemu-io` printed for the same lines.
@Suite("qemu-io's commands")
struct IOCommandTests {
    /// A storage as the target of commands, from which requests may outlive theirs.
    private final class Target: IOTarget {
        let storage: any Storage
        init(_ storage: any Storage) { self.storage = storage }
        var lasting: (any Storage)? { storage }
        func use(_ permissions: Permissions, _ body: (any Storage) async -> Bool) async throws(OpenError) -> Bool {
            await body(storage)
        }
    }

    /// What the lines print, and how each ends. Time stands still: a request takes a nanosecond.
    private func session(
        _ lines: [String], on storage: any Storage = MemoryStorage(length: 1 << 20), piece: Int = 4 << 20,
        change: @escaping (inout IOShell.Surroundings) -> Void = { _ in }
    ) throws -> (text: String, outcomes: [IOShell.Outcome]) {
        let context = SimulatedContext(order: .fifo)
        return try context.complete {
            var text = ""
            var around = IOShell.Surroundings(
                say: { text += $0 }, complain: { text += $0 }, report: { text += "qemu-io: \($0)\n" })
            around.piece = piece
            change(&around)
            let shell = IOShell(context, around, target: Target(storage))
            var outcomes: [IOShell.Outcome] = []
            for line in lines { outcomes.append(await shell.run(line)) }
            await shell.close()
            return (text, outcomes)
        }
    }

    private func run(_ lines: String..., on storage: any Storage = MemoryStorage(length: 1 << 20)) throws -> String {
        // The rate is the clock's, which stands still.
        try session(lines, on: storage).text.replacing(/ops; .*/, with: "ops")
    }

    @Test("a request is answered with its figures")
    func figures() throws {
        #expect(
            try session(["write 0 64k"]).text
                == "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.00 sec (59.605 TiB/sec and 1000000000.0000 ops/sec)\n"
        )
        #expect(try run("read 1k 1536") == "read 1536/1536 bytes at offset 1024\n1.500 KiB, 1 ops\n")
        #expect(try run("discard 0 512") == "discard 512/512 bytes at offset 0\n512 bytes, 1 ops\n")
        #expect(try run("read 0 0") == "read 0/0 bytes at offset 0\n0 bytes, 1 ops\n")
        #expect(
            try run("write -C 0 1000") == "1000,1,0:00:00.00,1000000000000.000,1000000000.000\n")
        #expect(try run("write -q 0 1000", "flush", "") == "")
        #expect(try run("length", "l") == "1 MiB\n1 MiB\n")
        #expect(try run("writev 0 512 1k") == "wrote 1536/1536 bytes at offset 0\n1.500 KiB, 1 ops\n")
    }

    @Test("a pattern is written, found, and missed where one byte differs, which fails the command")
    func patterns() throws {
        let storage = MemoryStorage(length: 16 << 20)
        // Longer than what is moved at a time.
        #expect(try run("write -q -P 0x5a 512 9M", "read -q -P 90 512 9M", on: storage) == "")
        #expect(
            try run("read -q -P 0x5a 511 1k", on: storage) == "Pattern verification failed at offset 511, 1024 bytes\n")
        #expect(try run("read -q -P 0x5a -s 1 511 1k", on: storage) == "")
        #expect(try run("read -q -P 0 -l 1 511 1k", on: storage) == "")
        #expect(
            try run("read -q -P 0 -s 1 -l 2 511 1k", on: storage)
                == "Pattern verification failed at offset 512, 2 bytes\n")
        #expect(try run("write -q -z -u 512 9M", "read -q -P 0 0 16M", on: storage) == "")
        #expect(try run("write -q 0 512", "read -q -P 0xcd 0 512", on: storage) == "")
        #expect(
            try session(["read -P 1 0 1", "read -q -P 1 0 8M", "read -q -P 0 1M 1", "flush"], on: storage).outcomes
                == [.failed, .failed, .done, .done])
    }

    @Test("a file's bytes are written again and again, in step also from one piece to the next")
    func patternFile() throws {
        let storage = MemoryStorage(length: 1 << 20)
        let (text, outcomes) = try session(
            ["write -q -s abc 0 10", "read -v 0 10", "write -s none 0 1", "write -s empty 0 1"], on: storage, piece: 4
        ) { around in
            around.contents = { (path, _) throws(OpenError) in
                switch path {
                case "abc": return Array("abc".utf8)
                case "empty": return []
                default: throw OpenError("No such file or directory")
                }
            }
        }
        #expect(outcomes == [.done, .done, .failed, .failed])
        #expect(text.hasPrefix("00000000:  61 62 63 61  abca\n00000004:  62 63 61 62  bcab\n00000008:  63 61  ca\n"))
        #expect(text.hasSuffix("none: No such file or directory\nempty: file is empty\n"))
    }

    @Test("a request that was begun ends before aio_flush does, and counts as done whatever becomes of it")
    func later() throws {
        let (text, outcomes) = try session([
            "aio_write -q -P 7 0 64k", "aio_flush", "read -q -P 7 0 64k", "aio_read 1M 1", "aio_flush",
            "aio_read -i 0 1", "aio_write -z 0 1 2",
        ])
        #expect(outcomes == [.done, .done, .done, .done, .done, .done, .failed])
        #expect(
            text == """
                readv failed: Input/output error
                injecting invalid read request
                -z supports only a single length parameter

                """)
    }

    @Test("what is allocated is told in runs")
    func allocation() throws {
        #expect(
            try run("map", "alloc 0", "alloc 1023k 4k", "alloc 2M")
                == """
                1 MiB (0x100000) bytes     allocated at offset 0 bytes (0x0)
                512/512 bytes allocated at offset 0 bytes
                1024/1024 bytes allocated at offset 1023 KiB
                0/0 bytes allocated at offset 2 MiB

                """)
    }

    @Test("whoever is connected to a daemon opens nothing, raises nothing and waits for nobody")
    func monitor() throws {
        for line in ["open x", "close", "quit", "sleep 1", "sigraise 9", "abort", "wait_break A"] {
            let name = line.split(separator: " ")[0]
            #expect(try run(line) == "command \"\(name)\" not found\n")
        }
        #expect(try run("write -s /etc/passwd 0 1") == "/etc/passwd: no file is read for whoever is connected\n")
        let large = MemoryStorage(length: 2 << 20)
        #expect(try run("read -v 0 1048577", on: large) == "-v shows at most 1048576 bytes\n")
        let list = try run("help")
        #expect(list.contains("read [-abCqv] ") && !list.contains("open [-rsCnkU]"))
    }

    @Test("bytes are shown sixteen a line")
    func dump() throws {
        let storage = MemoryStorage(length: 4096)
        let text = try run("write -q -P 65 0 3", "read -v 0 20", "read -q -v 0 20", on: storage)
        #expect(
            text == """
                00000000:  41 41 41 00 00 00 00 00 00 00 00 00 00 00 00 00  AAA.............
                00000010:  00 00 00 00  ....
                read 20/20 bytes at offset 0
                20 bytes, 1 ops

                """)
    }

    @Test(
        "what is no command is told as the tool tells it",
        arguments: [
            ("bogus", "command \"bogus\" not found\n"),
            ("read 0", "bad argument count 1 to read, expected at least 2 arguments\n"),
            ("flush 1", "bad argument count 1 to flush, expected 0 arguments\n"),
            ("read x 32", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n"),
            ("read 0 8E", "Parsing error: argument too large -- 8E\n"),
            ("read 0 2G", "length cannot exceed 2147483136, given 2G\n"),
            ("write 0 2G", "length cannot exceed 2147483136 without -n, given 2G\n"),
            ("readv 0 1G 1G", "The total number of bytes exceed the maximum size 2147483136\n"),
            ("readv 0 2G", "Argument '2G' exceeds maximum size 2147483136\n"),
            ("write -P 256 0 1", "256 is not a valid pattern byte\n"),
            ("write -u 0 1", "-u requires -z to be specified\n"),
            ("write -z -P 1 0 1", "Only one of -z, -P, and -s can be specified at the same time\n"),
            ("write -bz 0 512", "-b and -z cannot be specified at the same time\n"),
            ("write -cf 0 512", "-f and -b or -c cannot be specified at the same time\n"),
            ("write -c 1 512", "1 is not a sector-aligned value for 'offset'\n"),
            ("alloc 1 2 3", "bad argument count 3 to alloc, expected between 1 and 2 arguments\n"),
            ("read -P 1 -s 1 -l 1 0 1", "pattern verification range exceeds end of read data\n"),
            (
                "discard -x 0 1",
                "discard: invalid option -- 'x'\ndiscard [-Cq] off len -- discards a number of bytes at a specified offset\n"
            ),
        ])
    func mistakes(line: String, message: String) throws { #expect(try run(line) == message) }

    @Test("a request that fails says why; past the end it is an I/O error")
    func failures() throws {
        #expect(try run("write 1M 512") == "write failed: Input/output error\n")
        #expect(try run("readv 1023k 1025") == "readv failed: Input/output error\n")
        #expect(try run("truncate 2M", "length", on: MemoryStorage(length: 0, growable: true)) == "2 MiB\n")
    }
}
