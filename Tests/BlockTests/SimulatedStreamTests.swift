import Block
import BlockTestKit
import Bytes
import Testing

@Suite struct SimulatedStreamTests {
    @Test("what is sent arrives whole and in order, whatever the chunks", arguments: 0..<20 as Range<UInt64>)
    func arrives(seed: UInt64) throws {
        let context = SimulatedContext(seed: seed)
        let (left, right) = SimulatedStream.pair(context, .init(seed: seed, capacity: 1000))
        var random = SeededRandom(seed: seed)
        let message = random.bytes(20_000)
        let received = try context.complete {
            context.spawn {
                try? await left.send(message.rawBytes.extracting(0..<7), message.rawBytes.extracting(7..<message.count))
                left.close()
            }
            var received: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 3000)
            while true {
                let count = try await receive(right, &buffer)
                if count == 0 { return received }
                received += buffer[..<count]
            }
        }
        #expect(received == message)
    }

    @Test("a closed end fails its own waiting receive, and the peer's send")
    func closes() throws {
        let context = SimulatedContext()
        let (left, right) = SimulatedStream.pair(context)
        #expect(throws: BlockError.closed) {
            try context.complete {
                context.spawn { left.close() }
                var buffer = [UInt8](repeating: 0, count: 8)
                _ = try await receive(left, &buffer)
            }
        }
        #expect(throws: BlockError.closed) {
            try context.complete { try await right.send([1, 2, 3].rawBytes) }
        }
    }

    @Test("a task that nothing will ever wake is reported, not waited for")
    func stuck() {
        let context = SimulatedContext()
        let (left, right) = SimulatedStream.pair(context)
        #expect(throws: SimulationFailure.self) {
            try context.complete {
                var buffer = [UInt8](repeating: 0, count: 8)
                _ = try await receive(left, &buffer)
            }
        }
        right.close()
        #expect(throws: Never.self) { try context.runToIdle() }
    }
}

func receive(_ stream: any ByteStream, _ buffer: inout [UInt8]) async throws(BlockError) -> Int {
    var whole = AlignedBuffer(byteCount: buffer.count)
    var span = whole.mutableBytes
    let count = try await stream.receive(into: &span)
    buffer = whole.bytes.array
    return count
}
