import Block
import Bytes
import HostIO
import JSON

/// A client's connection to a QMP server. Belongs to its I/O thread.
final class QMPConnection {
    /// Why a command has no result.
    enum Failure: Error, Equatable {
        /// The server's answer.
        case refused(errorClass: String, description: String)
        /// The connection ended, or what came is no QMP.
        case broken(String)
    }

    private let socket: Socket
    private var stream: JSONStream
    private var answers: [JSONValue] = []
    private let arrival = WaitQueue()
    private var end: Failure?
    private var lastID: Int64 = 0
    /// Called with each event.
    var onEvent: (JSONValue) -> Void = { _ in }

    /// A schema is longer than what a server takes from us.
    private static let limits: JSONLimits = {
        var limits = JSONLimits()
        limits.bytes = 64 << 20
        limits.tokens = 4 << 20
        return limits
    }()

    init(_ socket: Socket) {
        self.socket = socket
        stream = JSONStream(limits: Self.limits)
    }

    /// Takes the greeting and ends the negotiation. `spawn` starts the task that receives.
    func open(on context: any IOContext) async throws(Failure) {
        context.spawn { await self.receive() }
        let greeting = try await next()
        guard greeting["QMP"] != nil else { throw .broken("the peer does not speak QMP") }
        _ = try await execute("qmp_capabilities", nil)
    }

    func close() { socket.close() }

    /// Runs one command and answers its `return`.
    func execute(_ command: String, _ arguments: JSONValue?) async throws(Failure) -> JSONValue {
        var request = JSONObject()
        request["execute"] = .string(command)
        request["arguments"] = arguments
        return try await send(request)
    }

    /// Sends a request as it is, but for its `id`, which is ours.
    func send(_ request: JSONObject) async throws(Failure) -> JSONValue {
        lastID += 1
        var request = request
        let id = request["id"] ?? .int(lastID)
        request["id"] = id
        do { try await socket.send(Array((JSONValue.object(request).text() + "\n").utf8).byteSpan) } catch {
            throw .broken("the connection ended")
        }
        while true {
            let answer = try await next()
            if let result = answer["return"], answer["id"] == id { return result }
            guard let error = answer["error"] else { continue }
            throw .refused(
                errorClass: error["class"]?.string ?? "", description: error["desc"]?.string ?? "no description")
        }
    }

    private func next() async throws(Failure) -> JSONValue {
        while answers.isEmpty {
            if let end { throw end }
            await arrival.wait()
        }
        return answers.removeFirst()
    }

    private func receive() async {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while end == nil {
            do throws(BlockError) {
                var span = buffer.mutableBytes
                let count = try await socket.receive(into: &span)
                if count == 0 { throw .closed }
                take(buffer.bytes.extracting(0..<count).array)
            } catch {
                end = .broken("the connection ended")
            }
            arrival.wakeAll()
        }
    }

    private func take(_ bytes: [UInt8]) {
        for message in stream.feed(bytes) {
            switch message {
            case .success(let value) where value["event"] != nil: onEvent(value)
            case .success(let value): answers.append(value)
            case .failure(let error): end = .broken(error.message)
            }
        }
    }
}
