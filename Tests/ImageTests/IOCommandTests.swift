import Block
import BlockTestKit
import Bytes
import Image
import Testing

/// What QEMU 7.2.22's `qemu-io` printed for the same lines.
@Suite("qemu-io's commands")
struct IOCommandTests {
    /// A clock that goes on by a sixteenth of a second each time it is looked at.
    private final class Clock {
        private var ns: UInt64 = 0
        func now() -> UInt64 {
            ns += 62_500_000
            return ns
        }
    }

    private func run(_ lines: String..., on storage: any Storage = MemoryStorage(length: 1 << 20)) throws -> String {
        let clock = Clock()
        return try SimulatedContext(order: .fifo).complete {
            var text = ""
            for line in lines {
                do throws(IOCommand.Mistake) {
                    guard let command = try IOCommand(line) else { continue }
                    text += await command.run(on: storage, nowNs: clock.now)
                } catch { text += error.message }
            }
            return text
        }
    }

    @Test("a request is answered with its figures")
    func figures() throws {
        #expect(
            try run("write 0 64k")
                == "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.06 sec (1 MiB/sec and 16.0000 ops/sec)\n")
        #expect(
            try run("read 1k 1536")
                == "read 1536/1536 bytes at offset 1024\n1.500 KiB, 1 ops; 00.06 sec (24 KiB/sec and 16.0000 ops/sec)\n"
        )
        #expect(
            try run("discard 0 512")
                == "discard 512/512 bytes at offset 0\n512 bytes, 1 ops; 00.06 sec (8 KiB/sec and 16.0000 ops/sec)\n")
        #expect(
            try run("read 0 0")
                == "read 0/0 bytes at offset 0\n0 bytes, 1 ops; 00.06 sec (0 bytes/sec and 16.0000 ops/sec)\n")
        #expect(try run("write -C 0 1000") == "1000,1,00.06 sec,16000.000,16.000\n")
        #expect(try run("write -q 0 1000", "flush", "") == "")
        #expect(try run("length", "l") == "1 MiB\n1 MiB\n")
        #expect(
            try run("writev 0 512 1k")
                == "wrote 1536/1536 bytes at offset 0\n1.500 KiB, 1 ops; 00.06 sec (24 KiB/sec and 16.0000 ops/sec)\n")
    }

    @Test("a pattern is written, found, and missed where one byte differs")
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
    }

    @Test("bytes are shown sixteen a line")
    func dump() throws {
        let storage = MemoryStorage(length: 4096)
        let text = try run("write -q -P 65 0 3", "read -q -v 0 20", on: storage)
        #expect(
            text == """
                00000000:  41 41 41 00 00 00 00 00 00 00 00 00 00 00 00 00  AAA.............
                00000010:  00 00 00 00  ....

                """)
    }

    @Test(
        "what is no command is told as the tool tells it",
        arguments: [
            ("bogus", "command \"bogus\" not found\n"),
            ("read 0", "bad argument count 1 to read, expected at least 2 arguments\n"),
            ("flush 1", "bad argument count 1 to flush, expected exactly 0 arguments\n"),
            ("read x 32", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n"),
            ("read 0 8E", "Parsing error: argument too large -- 8E\n"),
            ("read 0 2G", "length cannot exceed 2147483136, given 2G\n"),
            ("readv 0 1G 1G", "length cannot exceed 2147483136, given 1G\n"),
            ("write -P 256 0 1", "256 is not a valid pattern byte\n"),
            ("write -u 0 1", "-u requires -z to be specified\n"),
            ("write -z -P 1 0 1", "-z and -P cannot be specified at the same time\n"),
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
