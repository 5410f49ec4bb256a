import Block
import BlockTestKit
import Bytes
import NBDWire

@testable import NBDClient

/// The server's end of a scripted connection.
final class ScriptedServer {
    let stream: SimulatedStream
    private var input: [UInt8] = []

    init(_ stream: SimulatedStream) { self.stream = stream }

    func send(_ bytes: [UInt8]) async throws { try await stream.send(bytes.rawBytes) }

    /// Takes in what the client has sent.
    private func fill() async throws {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        var room = buffer.mutableBytes
        let got = try await stream.receive(into: &room)
        guard got > 0 else { throw BlockError.closed }
        input += buffer.bytes.extracting(0..<got).copied
    }

    /// Exactly `count` bytes of the client's.
    func receive(_ count: Int) async throws -> [UInt8] {
        while input.count < count { try await fill() }
        defer { input.removeFirst(count) }
        return Array(input.prefix(count))
    }

    /// The next request, and the payload of a write.
    func request() async throws -> (request: NBDRequest, payload: [UInt8]) {
        let head = try await receive(NBDRequest.byteCount)
        guard let request = NBDRequest(head.byteSpan) else { throw BlockError.invalid }
        return (request, request.command == .write ? try await receive(Int(request.length)) : [])
    }

    func simple(_ request: NBDRequest, error: UInt32 = 0, _ payload: [UInt8] = []) async throws {
        var head = [UInt8](repeating: 0, count: NBDReply.simpleByteCount)
        head.withMutableBytes { NBDReply.storeSimple(&$0, at: 0, error: error, cookie: request.cookie) }
        try await send(head + payload)
    }

    func chunk(_ type: UInt16, _ cookie: UInt64, isLast: Bool, _ payload: [UInt8], length: UInt32? = nil) async throws {
        try await send(Self.chunkBytes(type, cookie, isLast: isLast, payload, length: length))
    }

    static func chunkBytes(
        _ type: UInt16, _ cookie: UInt64, isLast: Bool, _ payload: [UInt8], length: UInt32? = nil
    ) -> [UInt8] {
        var head = [UInt8](repeating: 0, count: NBDReply.chunkByteCount)
        head.withMutableBytes {
            NBDReply.storeChunk(
                &$0, at: 0, type: type, isLast: isLast, cookie: cookie, length: length ?? UInt32(payload.count))
        }
        return head + payload
    }

    /// Data of a read, at an offset of the disk.
    func data(_ request: NBDRequest, at offset: UInt64, _ bytes: [UInt8], isLast: Bool = true) async throws {
        try await chunk(NBDChunk.offsetData, request.cookie, isLast: isLast, big(offset) + bytes)
    }

    func hole(_ request: NBDRequest, at offset: UInt64, _ count: UInt32, isLast: Bool = true) async throws {
        try await chunk(NBDChunk.offsetHole, request.cookie, isLast: isLast, big(offset) + big(count))
    }

    /// Shakes hands as an honest server with one export does.
    func greet(_ export: NBDExportInfo) async throws {
        var negotiation = NBDNegotiation()
        try await send(NBDNegotiation.greeting)
        while true {
            let (consumed, reply) = negotiation.receive(input.byteSpan, exports: [export])
            input.removeFirst(consumed)
            if !reply.isEmpty { try await send(reply) }
            if case .transmission = negotiation.state { return }
            if negotiation.state == .ended { throw BlockError.closed }
            if consumed == 0 { try await fill() }
        }
    }
}

func big<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(value)
    return bytes
}

/// Plays servers, one for each connection, and lets a remote talk to them.
final class Play {
    let context: SimulatedContext
    /// What each connection meets, in order; the last one meets all further ones. Nil: nobody listens.
    var scripts: [((ScriptedServer) async throws -> Void)?]
    private(set) var dialed = 0
    static let writable: NBDTransmissionFlags = [
        .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendDF, .sendFastZero,
    ]
    static let export = NBDExportInfo(name: "", size: 1 << 20, flags: writable, contexts: ["base:allocation"])

    init(seed: UInt64 = 1, _ scripts: [((ScriptedServer) async throws -> Void)?]) {
        context = SimulatedContext(seed: seed)
        self.scripts = scripts
    }

    /// Each connection meets an honest handshake, then the script.
    convenience init(
        _ export: NBDExportInfo = Play.export, _ scripts: ((ScriptedServer) async throws -> Void)?...
    ) {
        self.init(
            scripts.map { script in
                script.map { script in
                    { (server: ScriptedServer) async throws in
                        try await server.greet(export)
                        try await script(server)
                    }
                }
            })
    }

    func dial() throws(OpenError) -> any ByteStream {
        defer { dialed += 1 }
        guard let script = scripts[min(dialed, scripts.count - 1)] else {
            throw OpenError("Failed to connect to '/s': Connection refused")
        }
        let (near, far) = SimulatedStream.pair(context, .init(seed: UInt64(dialed + 7)))
        context.spawn {
            try? await script(ScriptedServer(far))
            far.close()
        }
        return near
    }

    func open(_ options: NBDRemoteOptions = NBDRemoteOptions(server: .unix(path: "/s"))) async throws(OpenError)
        -> NBDRemote
    {
        try await NBDRemote.open(options, in: context, dial: { (_) throws(OpenError) in try self.dial() })
    }

    /// Runs `body` with the remote open, and closes that.
    func run(
        _ options: NBDRemoteOptions = NBDRemoteOptions(server: .unix(path: "/s")),
        _ body: @escaping (NBDRemote) async throws -> Void
    ) throws {
        try context.complete {
            let remote = try await self.open(options)
            do { try await body(remote) } catch {
                await remote.close()
                throw error
            }
            await remote.close()
        }
    }
}

extension NBDRemoteOptions {
    /// With so many seconds of patience.
    static func patient(_ seconds: UInt32) -> NBDRemoteOptions {
        NBDRemoteOptions(server: .unix(path: "/s"), reconnectDelay: seconds)
    }
}

/// The error that a request fails with; nil where it succeeds.
func failure(_ body: () async throws(BlockError) -> Void) async -> BlockError? {
    do throws(BlockError) { try await body() } catch { return error }
    return nil
}

extension Storage {
    func bytes(_ offset: UInt64, _ count: Int) async throws(BlockError) -> [UInt8] {
        var buffer = AlignedBuffer(byteCount: count)
        var span = buffer.mutableBytes
        span.fill(0xEE)
        try await read(at: offset, into: &span)
        return buffer.bytes.copied
    }
}
