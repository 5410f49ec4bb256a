import Block
import BlockTestKit
import Bytes
import TLS
import Testing

/// Two ends over a wire that cuts bytes up as it likes. Certificates and keys are tried beside other programs (InteropTests).
@Suite("A private stream")
struct StreamTests {
    /// A wire that keeps what went over it.
    private final class Tap: ByteStream {
        private let below: any ByteStream
        private(set) var sent: [UInt8] = []
        init(_ below: any ByteStream) { self.below = below }
        func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
            try await below.receive(into: &buffer)
        }
        func send(_ bytes: RawSpan) async throws(BlockError) {
            sent += bytes.copied
            try await below.send(bytes)
        }
        func close() { below.close() }
    }

    private static func pattern(_ count: Int, _ seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ seed) }
    }

    private static func receive(_ count: Int, from stream: any ByteStream) async throws -> [UInt8] {
        var all: [UInt8] = []
        var buffer = AlignedBuffer(byteCount: 70_000)
        while all.count < count {
            var room = buffer.mutableBytes
            let got = try await stream.receive(into: &room)
            guard got > 0 else { break }
            all += buffer.bytes.extracting(0..<got).copied
        }
        return all
    }

    private static func send(_ bytes: [UInt8], over stream: any ByteStream) async {
        do { try await stream.send(bytes.byteSpan) } catch { Issue.record("sending: \(error)") }
    }

    /// What goes over the wire of two ends, one of which sends `there` and the other `back`; that it arrives is seen here.
    private static func exchange(_ there: [UInt8], _ back: [UInt8], seed: UInt64) async throws -> [UInt8] {
        let context = SimulatedContext(seed: seed, order: .seeded)
        let tap = try context.complete {
            let (near, far) = SimulatedStream.pair(context, .init(seed: seed))
            let tap = Tap(near)
            let client = TLSStream(tap, clientOf: try .anonymous(for: .client), hostname: nil)
            let server = TLSStream(far, serverOf: try .anonymous(for: .server))
            // In the clear first.
            await Self.send([1, 2, 3], over: client)
            #expect(try await Self.receive(3, from: server) == [1, 2, 3])
            var received: [UInt8] = []
            var isDone = false
            let done = WaitQueue()
            context.spawn {
                do {
                    try await server.secure()
                    context.spawn { await Self.send(back, over: server) }
                    received = try await Self.receive(there.count, from: server)
                } catch { Issue.record("the server: \(error)") }
                isDone = true
                done.wakeAll()
            }
            try await client.secure()
            context.spawn { await Self.send(there, over: client) }
            #expect(try await Self.receive(back.count, from: client) == back)
            while !isDone { await done.wait() }
            #expect(received == there)
            client.close()
            #expect(try await Self.receive(1, from: server).isEmpty)
            return tap
        }
        return tap.sent
    }

    @Test("what one end sends the other receives, both ways at once, and the wire shows none of it", arguments: 0..<8)
    func bothWays(seed: UInt64) async throws {
        let (there, back) = (Self.pattern(300_000, 1), Self.pattern(200_000, 7))
        let wire = try await Self.exchange(there, back, seed: seed)
        #expect(wire.count > there.count)
        let marker = Array(there[1000..<1016])
        #expect(!(0..<wire.count - 16).contains { wire[$0] == marker[0] && Array(wire[$0..<$0 + 16]) == marker })
    }

    /// Why an end did not become private that was told these bytes; nil where it did.
    private static func refusal(of bytes: [UInt8], isServer: Bool, seed: UInt64) throws -> String? {
        let context = SimulatedContext(seed: seed, order: .seeded)
        return try context.complete { () async throws -> String? in
            let (near, far) = SimulatedStream.pair(context, .init(seed: seed))
            let stream =
                isServer
                ? TLSStream(far, serverOf: try .anonymous(for: .server))
                : TLSStream(far, clientOf: try .anonymous(for: .client), hostname: nil)
            context.spawn {
                await Self.send(bytes, over: near)
                near.close()
            }
            do throws(OpenError) {
                try await stream.secure()
                return nil
            } catch {
                return error.message
            }
        }
    }

    @Test("nonsense in the place of a handshake is an error, and so is its end", arguments: 0..<200)
    func nonsense(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var bytes = (0..<Int.random(in: 0..<2000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
        }
        // Half of it looks like a handshake's record at first.
        if seed % 2 == 0, bytes.count > 5 { bytes.replaceSubrange(0..<5, with: [22, 3, 3, 0, bytes[4]]) }
        let refusal = try Self.refusal(of: bytes, isServer: seed % 3 == 0, seed: seed)
        #expect(refusal?.hasPrefix("TLS handshake failed: ") == true)
    }
}
