import FoundationEssentials
import Glibc
import Testing

/// A conversation with a monitor: requests as a client sends them. It is held with two programs, and both have to say
/// the same.
struct Transcript: Sendable, CustomTestStringConvertible {
    /// One request, and the file that is passed with it.
    struct Request: Sendable, ExpressibleByStringLiteral {
        let text: String
        var passes: (file: String, isWritable: Bool)?

        init(stringLiteral text: String) { self.text = text }

        /// A command of the monitor for people.
        static func human(_ line: String) -> Request {
            let quoted = JSONValue.string(line).text
            return Request(
                stringLiteral: #"{"execute": "human-monitor-command", "arguments": {"command-line": \#(quoted)}}"#)
        }

        static func passing(_ file: String, writable: Bool = true, _ text: String) -> Request {
            var request = Request(stringLiteral: text)
            request.passes = (file, writable)
            return request
        }
    }

    let name: String
    let requests: [Request]
    var testDescription: String { name }

    /// What comes back from a program that listens on `d.qmp`, line by line.
    func talk(to words: [String], in scratch: Scratch) async throws -> [String] {
        let child = try scratch.start(words)
        guard try await scratch.appears("d.qmp") else { throw Trouble("no monitor: \(child.err)") }
        let session = try await QMPSession(scratch.file("d.qmp"))
        var heard: [String] = []
        for request in requests {
            heard.append("→ \(request.text)")
            try Self.send(request, to: session, scratch)
            heard.append(try await session.line(seconds: 10))
            heard += try await Self.rest(of: request, from: session)
        }
        child.signal(15)
        try await child.wait(seconds: 20)
        return heard.map(Self.comparable)
    }

    /// What comes behind the answer to a request. All that it sets off comes before the answer to another one; but for what
    /// a guest has its say in, or where the program may still wait for the request's end: then, until nothing more comes
    /// for a moment.
    private static func rest(of request: Request, from session: QMPSession) async throws -> [String] {
        var heard: [String] = []
        guard !request.text.contains("device_del"), (try? JSONValue(parsing: request.text)) != nil else {
            while let more = try? await session.line(seconds: 0.15) { heard.append(more) }
            return heard
        }
        try session.send(#"{"execute": "query-version", "id": "the end"}"# + "\n")
        while true {
            let line = try await session.line(seconds: 10)
            if line.contains(#""id": "the end""#) { return heard }
            heard.append(line)
        }
    }

    private static func send(_ request: Request, to session: QMPSession, _ scratch: Scratch) throws {
        guard let (file, isWritable) = request.passes else { return try session.send(request.text + "\n") }
        // Proof: the path is lent as a C string for the call.
        let descriptor = unsafe open(scratch.file(file), isWritable ? O_RDWR : O_RDONLY)
        guard descriptor >= 0 else { throw Trouble("\(file): errno \(errno)") }
        defer { close(descriptor) }
        try session.send(request.text, passing: descriptor)
    }

    /// Without what differs from one run to the next: times, the names that nodes are given, sizes on the disk and of
    /// files, numbers of descriptors; and without what QEMU tells of a guest device alone.
    private static func comparable(_ line: String) -> String {
        var line = line.replacing("\r", with: "")
        line.replace(/"timestamp": \{[^}]*\}/, with: "\"timestamp\": T")
        line.replace(/#block[0-9]+/, with: "#block")
        line.replace(/"actual-size": [0-9]+/, with: "\"actual-size\": N")
        line.replace(/"fd": [0-9]+/, with: "\"fd\": N")
        line.replace(/idle_time_ns=[0-9]+/, with: "idle_time_ns=N")
        line.replace(/disk size: [0-9.]+ [KM]?i?B/, with: "disk size: N")
        line.replace(#/"virtual-size": [0-9]+, ("filename": "[^"]*", "format": "file")/#) { "\($0.output.1)" }
        line.replace(#/"io-status": "ok", /#, with: "")
        line.replace(#/"driver-specific": \{[^}]*\}, /#, with: "")
        return line
    }

    static func compare(_ found: [String], _ expected: [String]) {
        var request = ""
        for (mine, wanted) in zip(found, expected) {
            if wanted.hasPrefix("→") { request = wanted }
            #expect(mine == wanted, "\(request)")
            if mine.hasPrefix("→") != wanted.hasPrefix("→") { break }
        }
        #expect(found.count == expected.count)
    }
}
