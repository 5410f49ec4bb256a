import Block
import BlockTestKit
import Bytes

/// The other end of a connection: sends what the input says, and keeps what comes back.
final class Peer {
    private let stream: SimulatedStream
    private let context: SimulatedContext
    private(set) var received: [UInt8] = []
    private(set) var isServed = false

    /// Connects to `serve`. Bytes arrive in pieces that the seed chooses; 0: whole.
    init(_ context: SimulatedContext, seed: UInt64, _ serve: @escaping (any ByteStream) async -> Void) {
        self.context = context
        let (near, far) = SimulatedStream.pair(context, .init(seed: seed, chunks: seed != 0))
        stream = near
        context.spawn { [weak self] in
            await serve(far)
            self?.isServed = true
        }
    }

    /// Sends all of it, reading meanwhile if so, until nothing more can happen; then hangs up, and the server is done.
    func converse(_ bytes: [UInt8], isReading: Bool = true) throws {
        if isReading { context.spawn { [weak self] in await self?.receiveAll() } }
        context.spawn { [stream] in try? await stream.send(bytes.rawBytes) }
        try context.runToIdle()
        stream.close()
        try context.runToIdle()
        try expect(isServed, "the client has gone, and the server still waits for it")
    }

    private func receiveAll() async {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while true {
            var space = buffer.mutableBytes
            guard let count = try? await stream.receive(into: &space), count > 0 else { return }
            received += buffer.bytes.extracting(0..<count).copied
        }
    }
}
