import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostTestKit
import Testing

/// Standard input and output, as a monitor has them.
@Suite("Pipes on the I/O thread")
struct PipeTests {
    @Test("a pair of pipes carries more than a pipe holds, to a reader on the same thread", arguments: engines)
    func both(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let (there, back) = (pipePair(), pipePair())
            let left = Socket(input: back.reading, output: there.writing, on: thread)
            let right = Socket(input: there.reading, output: back.writing, on: thread)
            var random = SeededRandom(seed: 9)
            let bytes = random.bytes(500_000)
            let ended = Shared(false)
            thread.spawn {
                let half = bytes.count / 2
                let whole = bytes.rawBytes
                try? await left.send(whole.extracting(0..<half), whole.extracting(half..<bytes.count))
                ended.value = true
            }
            let arrived = try await receive(bytes.count, from: right)
            #expect(arrived == bytes)
            #expect(await thread.waits { ended.value })
            left.close()
            #expect(try await receive(1, from: right) == [])
            right.close()
        }
    }

    @Test("a reader that takes nothing holds up nobody but its sender, who hears of the close", arguments: engines)
    func full(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let (there, back) = (pipePair(), pipePair())
            let stream = Socket(input: back.reading, output: there.writing, on: thread)
            let errors = Shared<[BlockError?]>([])
            let much = [UInt8](repeating: 1, count: 1 << 20)
            thread.spawn { errors.value.append(await failure { try await send(much, to: stream) }) }
            thread.spawn { errors.value.append(await failure { _ = try await receive(1, from: stream) }) }
            await thread.sleep(ms: 5)
            #expect(errors.value.isEmpty)
            stream.close()
            #expect(await thread.waits { errors.value.count == 2 })
            #expect(errors.value == [.closed, .closed])
            close(there.reading)
            close(back.writing)
        }
    }
}
