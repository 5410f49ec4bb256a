import FoundationEssentials
import Glibc

/// A QMP client of the tests' own, on a Unix socket. Answers and events are kept apart.
final class QMPSession {
    /// An error reply.
    struct Refusal: Error, Equatable, CustomStringConvertible {
        let errorClass: String
        let text: String
        var description: String { "\(errorClass): \(text)" }
    }

    private let descriptor: Int32
    private var isClosed = false
    private var buffer: [UInt8] = []
    private(set) var events: [JSONValue] = []
    private(set) var greeting: JSONValue = .null

    /// Connects, reads the greeting and, unless told otherwise, negotiates.
    init(_ path: String, negotiate: Bool = true) async throws {
        descriptor = try await Self.connect(path)
        greeting = try await message()
        guard greeting["QMP"] != nil else { throw Trouble("no QMP greeting: \(greeting.text)") }
        if negotiate { try await execute("qmp_capabilities") }
    }

    deinit { if !isClosed { Glibc.close(descriptor) } }

    /// Ends the connection, so that the monitor serves the next.
    func close() {
        isClosed = true
        Glibc.close(descriptor)
    }

    private static func connect(_ path: String) async throws -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < 108 else { throw Trouble("socket path too long: \(path)") }
        // Proof: sun_path has 108 bytes, more than are copied; the address lives through the call.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let connected: Int32? = try await eventually(within: 20) {
            let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            let status = unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if status == 0 { return descriptor }
            Glibc.close(descriptor)
            return nil
        }
        guard let connected else { throw Trouble("nobody listens on \(path)") }
        return connected
    }

    /// Sends bytes as they are.
    func send(_ text: String) throws {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            // Proof: the buffer is valid for rest.count bytes through the call.
            let sent = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { throw Trouble("the monitor closed the connection, errno \(errno)") }
            rest = rest.dropFirst(sent)
        }
    }

    /// Sends a line with a descriptor beside it.
    func send(_ line: String, passing file: Int32) throws {
        var bytes = Array((line + "\n").utf8)
        // A header of 16 bytes (its last word is SCM_RIGHTS, 1) and the descriptor: what CMSG_LEN and CMSG_SPACE come to on 64-bit Linux.
        var control = [UInt64](repeating: 0, count: 3)
        control[0] = 20
        control[1] = UInt64(UInt32(bitPattern: SOL_SOCKET)) | UInt64(1) << 32
        control[2] = UInt64(UInt32(bitPattern: file))
        // Proof: every pointer is to a local array or structure that lives through the call, with its own length.
        let sent = unsafe bytes.withUnsafeMutableBytes { text in
            unsafe control.withUnsafeMutableBytes { control in
                var part = unsafe iovec(iov_base: text.baseAddress, iov_len: text.count)
                return unsafe withUnsafeMutablePointer(to: &part) { part in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = part
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                    return unsafe sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
                }
            }
        }
        guard sent == bytes.count else { throw Trouble("the monitor took no descriptor, errno \(errno)") }
    }

    /// The next message, be it an answer or an event.
    func message(seconds: Double = 20) async throws -> JSONValue {
        try JSONValue(parsing: try await line(seconds: seconds))
    }

    /// The next message as it stands on the wire, without the line end.
    func line(seconds: Double = 20) async throws -> String {
        let line: [UInt8]? = try await eventually(within: seconds) {
            if let line = takeLine() { return line }
            try receive()
            return takeLine()
        }
        guard let line else { throw Trouble("the monitor was silent for \(seconds) s") }
        return String(decoding: line, as: UTF8.self)
    }

    private func takeLine() -> [UInt8]? {
        guard let end = buffer.firstIndex(of: 10) else { return nil }
        let line = Array(buffer[..<end])
        buffer.removeSubrange(...end)
        return line
    }

    private func receive() throws {
        var chunk = [UInt8](repeating: 0, count: 65536)
        // Proof: chunk is valid for its count of bytes through the call.
        let count = unsafe chunk.withUnsafeMutableBytes {
            unsafe recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
        }
        if count > 0 {
            buffer += chunk[..<count]
        } else if count == 0 {
            throw Trouble("the monitor closed the connection")
        } else if errno != EAGAIN && errno != EINTR {
            throw Trouble("the monitor's connection failed, errno \(errno)")
        }
    }

    /// Runs a command and answers its return value; an error reply is thrown as a `Refusal`.
    @discardableResult
    func execute(_ command: String, _ arguments: JSONValue = [:]) async throws -> JSONValue {
        try send(JSONValue.object(["execute": .string(command), "arguments": arguments]).text + "\n")
        return try await answer()
    }

    /// The next answer; events before it are kept.
    func answer() async throws -> JSONValue {
        while true {
            let message = try await message()
            if message["event"] != nil {
                events.append(message)
            } else if let error = message["error"] {
                throw Refusal(errorClass: error["class"]?.string ?? "", text: error["desc"]?.string ?? "")
            } else if let value = message["return"] {
                return value
            } else {
                throw Trouble("neither answer nor event: \(message.text)")
            }
        }
    }

    /// The refusal of a command that has to be refused.
    func refusal(_ command: String, _ arguments: JSONValue = [:]) async throws -> Refusal {
        do {
            let value = try await execute(command, arguments)
            throw Trouble("\(command) was accepted: \(value.text)")
        } catch let refusal as Refusal {
            return refusal
        }
    }

    /// The first event of this name, waited for; nil where it does not come.
    func event(_ name: String, seconds: Double = 10) async throws -> JSONValue? {
        if let known = events.first(where: { $0["event"]?.string == name }) { return known }
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(seconds)
        while clock.now < deadline {
            guard let next = try? await message(seconds: 0.5) else { continue }
            events.append(next)
            if next["event"]?.string == name { return next }
        }
        return nil
    }
}
