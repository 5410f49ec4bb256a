import Block
import Bytes
import JSON
import QMPTypes

/// One connection: greeting, negotiation, then commands one after the other.
///
/// Three tasks share it: one receives and cuts the bytes into messages, one carries commands out, one sends. Reading
/// stops while enough is waiting (qmp-semantics §1), so a client that sends too fast waits.
final class MonitorSession: QMPClient {
    /// Messages that may wait behind the one that is being carried out, once the client has switched `exec-oob` on.
    /// Without it nothing is read while a command runs.
    static let queueLimit = 8

    private let monitor: Monitor
    private let stream: any ByteStream
    private let output: MonitorOutput
    private var isNegotiated = false
    private var hasOOB = false

    private var queue: [Result<JSONValue, JSONError>] = []
    private var isBusy = false
    private var hasInputEnded = false
    private var hasWorkEnded = false
    /// Woken when a message was queued, and when the input has ended.
    private let work = WaitQueue()
    /// Woken when a message is done with, and when the work has ended.
    private let room = WaitQueue()

    init(_ monitor: Monitor, _ stream: any ByteStream, _ layout: JSONValue.Layout) {
        self.monitor = monitor
        self.stream = stream
        output = MonitorOutput(stream, layout)
    }

    /// Sends an event, if the client is ready for events.
    func tell(_ event: JSONValue) {
        if isNegotiated { output.add(event, isEvent: true) }
    }

    func takeDescriptor() -> Int32? { stream.takeDescriptor() }

    /// Sends what waits and ends the connection.
    func finish() async {
        await output.drain()
        stream.close()
    }

    /// Ends the connection whatever waits.
    func cutOff() { stream.close() }

    func run() async {
        monitor.context.spawn { [output] in await output.run() }
        monitor.context.spawn { await self.carryOutAll() }
        output.add(greeting)
        await receiveAll()
        // Nobody waits for what has not begun; what has begun runs to its end.
        hasInputEnded = true
        queue = []
        work.wakeAll()
        while !hasWorkEnded { await room.wait() }
        if isNegotiated { monitor.handler?.clientLeft(self) }
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

    // MARK: Receiving

    private var hasRoom: Bool { hasOOB ? queue.count < Self.queueLimit : queue.isEmpty && !isBusy }

    private func receiveAll() async {
        var parser = JSONStream()
        var buffer = AlignedBuffer(byteCount: Self.piece)
        while !output.isBroken {
            var space = buffer.mutableBytes
            var count = 0
            do { count = try await stream.receive(into: &space) } catch { return }
            if count == 0 { return }
            for byte in buffer.bytes.extracting(0..<count).array {
                for message in parser.feed(CollectionOfOne(byte)) { await take(message) }
                if output.isBroken { return }
            }
            // A client that always has more to say takes turns with all others.
            await monitor.context.yield()
        }
    }

    /// What is parsed in one go.
    private static let piece = 16 << 10

    /// Carries an out-of-band message out at once; queues any other, and waits until there is room for the next.
    private func take(_ message: Result<JSONValue, JSONError>) async {
        if MonitorRequest.isOutOfBand(message) {
            refuseOutOfBand(message)
            return await output.waitForRoom()
        }
        queue.append(message)
        work.wakeOne()
        while !hasRoom && !output.isBroken { await room.wait() }
    }

    /// No command of the schema may be sent out of band: the answer is an error, and overtakes what is queued.
    private func refuseOutOfBand(_ message: Result<JSONValue, JSONError>) {
        guard case .success(let value) = message else { return }
        do throws(QMPError) {
            let request = try MonitorRequest(value, allowsOOB: hasOOB)
            guard let handler = monitor.handler, handler.commandNames.contains(request.command) else {
                throw QMPError("The command \(request.command) has not been found", class: .commandNotFound)
            }
            throw QMPError("The command \(request.command) does not support OOB")
        } catch {
            output.add(Self.reply(error, id: value["id"]))
        }
    }

    // MARK: Carrying out

    private func carryOutAll() async {
        while !hasInputEnded {
            guard !queue.isEmpty else {
                await work.wait()
                continue
            }
            let message = queue.removeFirst()
            isBusy = true
            await answer(message)
            // A client that does not read its replies gets no further commands done, and one that asks without end takes
            // turns with all others.
            await output.waitForRoom()
            await monitor.context.yield()
            isBusy = false
            room.wakeAll()
        }
        hasWorkEnded = true
        room.wakeAll()
    }

    private func answer(_ message: Result<JSONValue, JSONError>) async {
        switch message {
        case .failure(let error): output.add(Self.reply(QMPError(error.message), id: nil))
        case .success(let value):
            let id = value["id"]
            do {
                let result = try await carryOut(value)
                var reply = JSONObject([("return", result)])
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
        if request.command == "qmp_capabilities" {
            try negotiate(request.arguments)
            return .object(JSONObject())
        }
        guard isNegotiated else {
            throw QMPError(
                "Expecting capabilities negotiation with 'qmp_capabilities'", class: .commandNotFound)
        }
        guard let handler = monitor.handler else { throw QMPError("The monitor has been stopped") }
        return try await handler.call(request.command, request.arguments, from: self)
    }

    private func negotiate(_ arguments: JSONObject) throws(QMPError) {
        let asked = try QmpCapabilitiesArguments(QAPIInput(.object(arguments)))
        guard !isNegotiated else {
            throw QMPError("Capabilities negotiation is already complete, command ignored", class: .commandNotFound)
        }
        hasOOB = asked.enable?.contains(.oob) ?? false
        isNegotiated = true
        monitor.handler?.clientCame(self)
    }
}
