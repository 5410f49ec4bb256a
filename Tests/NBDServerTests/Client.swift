import Block
import BlockTestKit
import Bytes
import NBDWire

/// What a strict client found that the protocol forbids.
struct Violation: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The server ended the connection where a reply was due.
struct Ended: Error {}

/// A client that holds the server to the protocol: every reply is checked against the request it answers.
final class Client {
    let stream: SimulatedStream
    let context: SimulatedContext
    private var input: [UInt8] = []
    private var start = 0
    private(set) var isStructured = false
    private(set) var size: UInt64 = 0
    private(set) var flags: NBDTransmissionFlags = []
    private(set) var infos: [UInt16: [UInt8]] = [:]
    /// Ids of the chosen meta contexts, by name.
    private(set) var contexts: [String: UInt32] = [:]
    /// Requests that wait for their reply.
    private(set) var waiting: [UInt64: NBDRequest] = [:]
    private var answers: [UInt64: Answer] = [:]
    private var nextCookie: UInt64 = 0xC00C_1E00_0000_0001

    init(_ stream: SimulatedStream, _ context: SimulatedContext) {
        self.stream = stream
        self.context = context
    }

    // MARK: Bytes

    func send(_ bytes: [UInt8]) async throws { try await stream.send(bytes.rawBytes) }

    /// Exactly `count` bytes.
    func receive(_ count: Int) async throws -> [UInt8] {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while input.count - start < count {
            var room = buffer.mutableBytes
            let got = try await stream.receive(into: &room)
            guard got > 0 else { throw Ended() }
            input.append(contentsOf: buffer.bytes.extracting(0..<got).copied)
        }
        let result = Array(input[start..<start + count])
        start += count
        if start > 1 << 20 || start == input.count {
            input.removeFirst(start)
            start = 0
        }
        return result
    }

    /// Whether the server has ended the connection; false where it says something first.
    func hasEnded() async -> Bool {
        do { _ = try await receive(1) } catch { return true }
        return false
    }

    // MARK: Handshake

    /// Takes the greeting and tells the client's flags.
    func begin(flags: UInt32 = 3) async throws {
        let greeting = try await receive(18)
        guard greeting == NBDNegotiation.greeting else { throw Violation("greeting \(greeting)") }
        var bytes: [UInt8] = []
        bytes.appendBigEndian(flags)
        try await send(bytes)
    }

    /// Sends one option and takes its replies up to the last.
    func ask(_ kind: NBDOption, _ data: [UInt8] = []) async throws -> [OptionReply] {
        try await send(option(kind.rawValue, data))
        let replies = try await optionReplies(to: kind.rawValue)
        if kind == .structuredReply, replies.last?.code == NBDOptionReply.ack { isStructured = true }
        if kind == .setMetaContext {
            contexts = [:]
            for reply in replies.dropLast() {
                contexts[String(decoding: reply.data.dropFirst(4), as: UTF8.self)] = reply.data.byteSpan.bigEndian(
                    at: 0)
            }
        }
        return replies
    }

    func optionReplies(to number: UInt32) async throws -> [OptionReply] {
        var replies: [OptionReply] = []
        while true {
            let head = try await receive(20)
            guard head.byteSpan.bigEndian(UInt64.self, at: 0) == NBDMagic.optionReply,
                head.byteSpan.bigEndian(UInt32.self, at: 8) == number
            else { throw Violation("reply to option \(number): \(head)") }
            let data = try await receive(Int(head.byteSpan.bigEndian(UInt32.self, at: 16)))
            replies.append(OptionReply(code: head.byteSpan.bigEndian(at: 12), data: data))
            if replies[replies.count - 1].code == NBDOptionReply.ack || replies[replies.count - 1].isError {
                return replies
            }
        }
    }

    /// Chooses an export with GO.
    func go(_ name: String) async throws {
        let requests = [NBDInfo.blockSize, NBDInfo.name, NBDInfo.description]
        let replies = try await ask(.go, infoData(name, requests))
        guard replies.last?.code == NBDOptionReply.ack else { throw Violation("GO: \(replies)") }
        for reply in replies.dropLast() {
            infos[reply.data.byteSpan.bigEndian(UInt16.self, at: 0)] = Array(reply.data.dropFirst(2))
        }
        guard let export = infos[NBDInfo.export], export.count == 10 else { throw Violation("GO told no export") }
        size = export.byteSpan.bigEndian(at: 0)
        flags = NBDTransmissionFlags(rawValue: export.byteSpan.bigEndian(at: 8))
    }

    // MARK: Requests

    /// Sends a request without waiting for its reply; answers its cookie.
    @discardableResult
    func start(
        _ command: NBDCommand, at offset: UInt64 = 0, _ length: Int = 0, _ flags: NBDCommandFlags = [],
        payload: [UInt8] = []
    ) async throws -> UInt64 {
        try await start(type: command.rawValue, at: offset, length, flags, payload: payload)
    }

    @discardableResult
    func start(
        type: UInt16, at offset: UInt64 = 0, _ length: Int = 0, _ flags: NBDCommandFlags = [], payload: [UInt8] = []
    ) async throws -> UInt64 {
        let request = NBDRequest(flags: flags, type: type, cookie: nextCookie, offset: offset, length: UInt32(length))
        nextCookie += 1
        waiting[request.cookie] = request
        try await send(request.encoded + payload)
        return request.cookie
    }

    /// Sends so many requests with one call, each for the first bytes of the disk.
    func start(_ count: Int, _ command: NBDCommand, _ length: Int) async throws {
        var bytes: [UInt8] = []
        for _ in 0..<count {
            let request = NBDRequest(
                flags: [], type: command.rawValue, cookie: nextCookie, offset: 0, length: UInt32(length))
            nextCookie += 1
            waiting[request.cookie] = request
            bytes += request.encoded + [UInt8](repeating: 7, count: command == .write ? length : 0)
        }
        try await send(bytes)
    }

    /// Sends a request and takes its answer, and those of others that come before it.
    func call(
        _ command: NBDCommand, at offset: UInt64 = 0, _ length: Int = 0, _ flags: NBDCommandFlags = []
    ) async throws -> Answer {
        try await answer(to: start(command, at: offset, length, flags))
    }

    func write(_ bytes: [UInt8], at offset: UInt64, _ flags: NBDCommandFlags = []) async throws -> Answer {
        try await answer(to: start(.write, at: offset, bytes.count, flags, payload: bytes))
    }

    func read(at offset: UInt64, _ length: Int, _ flags: NBDCommandFlags = []) async throws -> Answer {
        try await call(.read, at: offset, length, flags)
    }

    /// The answer to a request that was sent before.
    func answer(to cookie: UInt64) async throws -> Answer {
        while true {
            if waiting[cookie] == nil, let answer = answers.removeValue(forKey: cookie) { return answer }
            _ = try await takeReply()
        }
    }

    /// Takes the next answer, to whichever request.
    func nextAnswer() async throws -> (request: NBDRequest, answer: Answer) {
        while true {
            if let request = try await takeReply(), let answer = answers.removeValue(forKey: request.cookie) {
                return (request, answer)
            }
        }
    }

    // MARK: Replies

    /// Takes one message. Answers the request that it completes.
    private func takeReply() async throws -> NBDRequest? {
        let magic = try await receive(4).firstNumber()
        switch UInt32(magic) {
        case NBDMagic.simpleReply: return try await takeSimple()
        case NBDMagic.structuredReply: return try await takeChunk()
        default: throw Violation("magic \(magic)")
        }
    }

    private func takeSimple() async throws -> NBDRequest {
        let head = try await receive(12)
        let error = head.byteSpan.bigEndian(UInt32.self, at: 0)
        let cookie = head.byteSpan.bigEndian(UInt64.self, at: 4)
        guard let request = waiting.removeValue(forKey: cookie) else { throw Violation("reply to nobody: \(cookie)") }
        guard answers[cookie] == nil else { throw Violation("a simple reply amid chunks") }
        var answer = Answer(error: error)
        if request.command == .read {
            if isStructured { throw Violation("a simple reply to a read") }
            if error == 0 { answer.data = try await receive(Int(request.length)) }
        }
        answers[cookie] = answer
        return request
    }

    private func takeChunk() async throws -> NBDRequest? {
        guard isStructured else { throw Violation("a chunk that nobody asked for") }
        let head = try await receive(16)
        let isDone = head.byteSpan.bigEndian(UInt16.self, at: 0)
        guard isDone <= 1 else { throw Violation("chunk flags \(isDone)") }
        let type = head.byteSpan.bigEndian(UInt16.self, at: 2)
        let cookie = head.byteSpan.bigEndian(UInt64.self, at: 4)
        guard let request = waiting[cookie] else { throw Violation("chunk for nobody: \(cookie)") }
        let length = Int(head.byteSpan.bigEndian(UInt32.self, at: 12))
        guard length <= 8 + (32 << 20) else { throw Violation("a chunk of \(length) bytes") }
        let payload = try await receive(length)
        var answer = answers[cookie] ?? Answer(error: 0)
        try answer.add(
            Chunk(type: type, payload: payload), isDone: isDone == 1, request, contexts: Set(contexts.values))
        answers[cookie] = answer
        guard isDone == 1 else { return nil }
        waiting[cookie] = nil
        return request
    }
}

extension [UInt8] {
    /// The number that four bytes are.
    func firstNumber() -> UInt32 { byteSpan.bigEndian(UInt32.self, at: 0) }
}
