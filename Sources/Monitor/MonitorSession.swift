import Block
import Bytes
import JSON
import QMPTypes

/// One connection: greeting, negotiation, then commands one after the other. Reads no further while a command runs, so
/// a client that sends too fast waits.
final class MonitorSession {
    private let monitor: Monitor
    private let stream: any ByteStream
    private let output: MonitorOutput
    private var isNegotiated = false
    private var hasOOB = false

    init(_ monitor: Monitor, _ stream: any ByteStream, _ layout: JSONValue.Layout) {
        self.monitor = monitor
        self.stream = stream
        output = MonitorOutput(stream, layout)
    }

    /// Sends an event, if the client is ready for events.
    func tell(_ event: JSONValue) {
        if isNegotiated { output.add(event) }
    }

    /// Sends what waits and ends the connection.
    func finish() async {
        await output.drain()
        stream.close()
    }

    func run() async {
        monitor.context.spawn { [output] in await output.run() }
        output.add(greeting)
        var parser = JSONStream()
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while !output.isBroken {
            var room = buffer.mutableBytes
            var count = 0
            do { count = try await stream.receive(into: &room) } catch { break }
            if count == 0 { break }
            for result in parser.feed(buffer.bytes.extracting(0..<count).array) {
                await take(result)
            }
            await output.drain()
        }
        await output.finish()
    }

    private var greeting: JSONValue {
        let version = monitor.version
        let triple: JSONValue = [
            "major": .int(version.major), "minor": .int(version.minor), "micro": .int(version.micro),
        ]
        return [
            "QMP": ["version": ["qemu": triple, "package": .string(version.package)], "capabilities": ["oob"]]
        ]
    }

    private func take(_ result: Result<JSONValue, JSONError>) async {
        switch result {
        case .failure(let error): output.add(Self.reply(QMPError(error.message), id: nil))
        case .success(let value):
            let id = value.object?["id"]
            do {
                let answer = try await carryOut(value)
                var reply = JSONObject([("return", answer)])
                reply["id"] = id
                output.add(.object(reply))
            } catch {
                output.add(Self.reply(error, id: id))
            }
        }
    }

    private static func reply(_ error: QMPError, id: JSONValue?) -> JSONValue {
        var reply = JSONObject()
        reply["error"] = ["class": .string(error.errorClass.rawValue), "desc": .string(error.message)]
        reply["id"] = id
        return .object(reply)
    }

    private func carryOut(_ value: JSONValue) async throws(QMPError) -> JSONValue {
        let request = try MonitorRequest(value, allowsOOB: hasOOB)
        let arguments = request.arguments
        if request.command == "qmp_capabilities" {
            guard !isNegotiated else {
                throw QMPError(
                    "Capabilities negotiation is already complete, command ignored", class: .commandNotFound)
            }
            try negotiate(arguments)
            return .object(JSONObject())
        }
        guard isNegotiated else {
            throw QMPError(
                "Expecting capabilities negotiation with 'qmp_capabilities'", class: .commandNotFound)
        }
        if request.isOOB, monitor.handler.commandNames.contains(request.command) {
            throw QMPError("The command \(request.command) does not support OOB")
        }
        return try await monitor.handler.call(request.command, arguments)
    }

    private func negotiate(_ arguments: JSONObject) throws(QMPError) {
        let asked = try QmpCapabilitiesArguments(QAPIInput(.object(arguments)))
        hasOOB = asked.enable?.contains(.oob) ?? false
        isNegotiated = true
    }
}

/// A request taken apart; checked in the order of its members on the wire, as QEMU does.
struct MonitorRequest {
    let command: String
    let arguments: JSONObject
    let isOOB: Bool

    init(_ value: JSONValue, allowsOOB: Bool) throws(QMPError) {
        guard let object = value.object else { throw QMPError("QMP input must be a JSON object") }
        var command: (key: String, name: String)?
        var arguments = JSONObject()
        for (name, value) in object.inWireOrder {
            switch name {
            case "execute", "exec-oob":
                guard name == "execute" || allowsOOB else { throw Self.unexpected(name) }
                guard let text = value.string else {
                    throw QMPError("QMP input member '\(name)' must be a string")
                }
                if let other = command {
                    throw QMPError("QMP input member '\(name)' clashes with '\(other.key)'")
                }
                command = (name, text)
            case "arguments":
                guard let members = value.object else {
                    throw QMPError("QMP input member 'arguments' must be an object")
                }
                arguments = members
            case "id": break
            default: throw Self.unexpected(name)
            }
        }
        guard let command else { throw QMPError("QMP input lacks member 'execute'") }
        self.command = command.name
        self.arguments = arguments
        isOOB = command.key == "exec-oob"
    }

    private static func unexpected(_ name: String) -> QMPError {
        QMPError("QMP input member '\(name)' is unexpected")
    }
}
