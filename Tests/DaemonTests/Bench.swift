import Block
import BlockTestKit
import Bytes
import Graph
import HostIO
import HostStorage
import JSON
import Testing

@testable import Daemon
@testable import Fuzzing

/// A daemon on a simulated context and a host in memory, with clients on its monitor and its NBD server.
final class Bench {
    let context = SimulatedContext(order: .fifo)
    let host: ConnectedHost
    let daemon: Dispatcher

    init() {
        host = ConnectedHost(context)
        daemon = Dispatcher(
            context: context, host: host, configuration: DaemonConfiguration(version: "0", backing: .qemu))
    }

    /// Runs a test's body to its end, and closes the daemon.
    func run<Result>(_ body: @escaping () async throws -> Result) throws -> Result {
        try context.complete {
            let result = try await body()
            await self.daemon.close()
            return result
        }
    }

    /// A client of the monitor that has negotiated. Inside `run`.
    func client() async throws -> QMPClient {
        let (near, far) = SimulatedStream.pair(context)
        context.spawn { [daemon] in await daemon.serve(far) }
        let client = QMPClient(near)
        context.spawn { await client.receiveAll() }
        try await client.call("qmp_capabilities")
        return client
    }

    /// An NBD client of an export, in the oldest form of the handshake. Inside `run`.
    func nbd(_ name: String) async throws -> NBDClient {
        let (near, far) = SimulatedStream.pair(context)
        host.arrive(far)
        let client = NBDClient(near)
        try await client.begin(name)
        return client
    }
}

/// A host in memory to whose sockets clients connect.
final class ConnectedHost: DaemonHost {
    let tls = TLSObjects()
    private let memory: MemoryHost
    private var listener: Arrivals?
    /// What the listener says before it gives the next connection.
    var acceptFailures: [BlockError] = []

    init(_ context: SimulatedContext) { memory = MemoryHost(context) }

    /// A client connects to the socket that listens last.
    func arrive(_ stream: SimulatedStream) { listener?.arrive(stream) }

    func listen(on address: SocketAddress) throws(OpenError) -> any StreamListener {
        let listener = Arrivals(self)
        self.listener = listener
        return listener
    }

    var workingFolder: String { memory.workingFolder }
    var pollMaxNs: UInt64 {
        get { memory.pollMaxNs }
        set { memory.pollMaxNs = newValue }
    }
    func takeThread() throws(OpenError) -> any ServingThread { memory.takeThread() }
    func giveBack(_ thread: any ServingThread) { memory.giveBack(thread) }
    var threads: Int { memory.threads }
    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile { try await memory.open(spec) }
    func create(_ request: CreationRequest) async throws(OpenError) { try await memory.create(request) }
    func makeFile(_ creation: FileCreation, pace: Pace) async throws(OpenError) {
        try await memory.makeFile(creation, pace: pace)
    }
    func connect(to address: SocketAddress) throws(OpenError) -> any ByteStream { try memory.connect(to: address) }
    var standardStreams: any ByteStream { memory.standardStreams }
    var descriptorLimit: Int { memory.descriptorLimit }
    var descriptorSets: DescriptorSets { memory.descriptorSets }
    func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        try memory.contents(of: path, atMost: limit)
    }
    func say(_ text: String) { memory.say(text) }
    var wallClockUs: UInt64 { memory.wallClockUs }

    private final class Arrivals: StreamListener {
        private let host: ConnectedHost
        private var waiting: [SimulatedStream] = []
        private var isClosed = false
        private let change = WaitQueue()
        var makeRoom: (() -> Bool)?

        init(_ host: ConnectedHost) { self.host = host }

        func arrive(_ stream: SimulatedStream) {
            waiting.append(stream)
            change.wakeAll()
        }

        func next() async throws(BlockError) -> any ByteStream {
            if !host.acceptFailures.isEmpty { throw host.acceptFailures.removeFirst() }
            while waiting.isEmpty && !isClosed { await change.wait() }
            if isClosed { throw .closed }
            return waiting.removeFirst()
        }

        func close() {
            isClosed = true
            change.wakeAll()
        }
    }
}

/// A client of the monitor: commands are sent as they are, answers and events arrive in their order.
final class QMPClient {
    private let stream: SimulatedStream
    private var parser = JSONStream()
    /// All messages but the greeting, in order.
    private(set) var messages: [JSONValue] = []
    private var taken = 0
    private let arrival = WaitQueue()
    private var hasEnded = false

    init(_ stream: SimulatedStream) { self.stream = stream }

    func receiveAll() async {
        var buffer = AlignedBuffer(byteCount: 64 << 10)
        while true {
            var space = buffer.mutableBytes
            guard let count = try? await stream.receive(into: &space), count > 0 else { break }
            for case .success(let value) in parser.feed(buffer.bytes.extracting(0..<count).copied)
            where value["QMP"] == nil {
                messages.append(value)
            }
            arrival.wakeAll()
        }
        hasEnded = true
        arrival.wakeAll()
    }

    func send(_ command: String, _ arguments: JSONValue = [:]) async throws {
        let text = JSONValue.object(JSONObject([("execute", .string(command)), ("arguments", arguments)])).text(
            .compact)
        try await stream.send(Array(text.utf8).rawBytes)
    }

    /// The next answer; events before it stay in `messages`.
    func answer() async throws -> JSONValue {
        while true {
            while taken < messages.count {
                taken += 1
                if messages[taken - 1]["event"] == nil { return messages[taken - 1] }
            }
            if hasEnded { throw BlockError.closed }
            await arrival.wait()
        }
    }

    @discardableResult
    func call(_ command: String, _ arguments: JSONValue = [:]) async throws -> JSONValue {
        try await send(command, arguments)
        return try await answer()
    }

    /// The data of the events of this name.
    func events(_ name: String) -> [JSONValue] {
        messages.filter { $0["event"]?.string == name }.compactMap { $0["data"] }
    }

    func close() { stream.close() }
}

/// A client of the NBD server that sends requests and reads simple replies.
final class NBDClient {
    private let stream: SimulatedStream

    init(_ stream: SimulatedStream) { self.stream = stream }

    /// NBD_OPT_EXPORT_NAME with NBD_FLAG_NO_ZEROES.
    func begin(_ name: String) async throws {
        _ = try await receive(18)
        let name = Array(name.utf8)
        try await stream.send(
            (number(3, 4) + number(0x4948_4156_454F_5054, 8) + number(1, 4) + number(UInt64(name.count), 4) + name)
                .rawBytes)
        _ = try await receive(10)
    }

    func send(_ command: UInt64, at offset: UInt64, _ length: UInt64, payload: [UInt8] = []) async throws {
        try await stream.send(
            (number(0x2560_9513, 4) + number(0, 2) + number(command, 2) + number(7, 8) + number(offset, 8)
                + number(length, 4) + payload).rawBytes)
    }

    /// The error of a reply that carries no data.
    func reply() async throws -> UInt8 { try await receive(16)[7] }

    func close() { stream.close() }

    private func number(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64((width - 1 - $0) * 8)) }
    }

    private func receive(_ count: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            var buffer = AlignedBuffer(byteCount: count - bytes.count)
            var space = buffer.mutableBytes
            let got = try await stream.receive(into: &space)
            if got == 0 { throw BlockError.closed }
            bytes += buffer.bytes.extracting(0..<got).copied
        }
        return bytes
    }
}
