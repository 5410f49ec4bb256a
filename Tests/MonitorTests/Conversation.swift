import Block
import BlockTestKit
import Bytes
import JSON
import Monitor

/// A monitor with clients on simulated connections. `settle` runs everything until nothing more can happen.
final class Conversation {
    /// One client: what it was sent so far.
    final class Client {
        let stream: SimulatedStream
        private(set) var received: [UInt8] = []
        private(set) var hasEnded = false
        var isReading = true
        /// Whether the monitor is done with the connection.
        fileprivate(set) var isServed = false

        /// The monitor's end of the connection.
        let served: SimulatedStream

        init(_ stream: SimulatedStream, served: SimulatedStream) {
            self.stream = stream
            self.served = served
        }

        fileprivate func receiveAll() async {
            var buffer = AlignedBuffer(byteCount: 4096)
            while isReading {
                var space = buffer.mutableBytes
                guard let count = try? await stream.receive(into: &space), count > 0 else { break }
                received += buffer.bytes.extracting(0..<count).array
            }
            hasEnded = true
        }

        /// The text since the last call.
        func take() -> String {
            defer { received = [] }
            return String(decoding: received, as: UTF8.self)
        }

        /// The lines since the last call; each must have ended with CR LF.
        func takeLines() -> [String] {
            var lines = take().components("\r\n")
            let last = lines.removeLast()
            return last.isEmpty ? lines : lines + ["without an end: " + last]
        }
    }

    let context: SimulatedContext
    let handler = ScriptedHandler()
    let monitor: Monitor
    private let seed: UInt64

    init(seed: UInt64 = 0) {
        self.seed = seed
        context = SimulatedContext(seed: seed)
        monitor = Monitor(context: context, handler: handler, version: Monitor.Version(package: "nacre 1"))
        handler.monitor = monitor
    }

    static let greeting =
        #"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "nacre 1"}, "#
        + #""capabilities": ["oob"]}}"#

    func connect(pretty: Bool = false, isReading: Bool = true) -> Client {
        let (near, far) = SimulatedStream.pair(context, SimulatedStream.Options(seed: seed))
        let client = Client(near, served: far)
        client.isReading = isReading
        context.spawn { [monitor] in
            await monitor.serve(far, pretty: pretty)
            client.isServed = true
        }
        context.spawn { await client.receiveAll() }
        return client
    }

    /// Lets a client read that did not so far.
    func resume(_ client: Client) { context.spawn { await client.receiveAll() } }

    func settle() throws { try context.runToIdle() }

    /// Lets the client send and everybody do what follows from it.
    func send(_ bytes: [UInt8], from client: Client) throws {
        context.spawn { try? await client.stream.send(bytes.byteSpan) }
        try settle()
    }

    func send(_ text: String, from client: Client) throws { try send(Array(text.utf8), from: client) }

    /// What a fresh client is sent after the greeting.
    static func lines(_ text: String, seed: UInt64 = 0) throws -> [String] {
        let conversation = Conversation(seed: seed)
        let client = conversation.connect()
        try conversation.send(text, from: client)
        return Array(client.takeLines().dropFirst())
    }
}

extension String {
    func components(_ separator: String) -> [String] {
        var parts: [String] = []
        var rest = utf8[...]
        while let found = rest.firstRange(of: Array(separator.utf8)) {
            parts.append(String(decoding: rest[..<found.lowerBound], as: UTF8.self))
            rest = rest[found.upperBound...]
        }
        return parts + [String(decoding: rest, as: UTF8.self)]
    }
}
