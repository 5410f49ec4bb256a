public import Block
import Bytes
import JSON
public import QMPTypes

/// The QMP monitors of one daemon: every connection is a session, all share the commands, and events go to each that
/// finished its negotiation.
public final class Monitor {
    /// What the greeting says.
    public struct Version: Sendable {
        /// The generation of QEMU whose language is spoken.
        public var major: Int64
        public var minor: Int64
        public var micro: Int64
        /// This program's name and version.
        public var package: String

        public init(major: Int64 = 7, minor: Int64 = 2, micro: Int64 = 22, package: String) {
            self.major = major
            self.minor = minor
            self.micro = micro
            self.package = package
        }
    }

    let context: any IOContext
    /// Nil once the monitor has stopped: the handler owns the monitor, and is let go.
    private(set) var handler: (any QMPHandler)?
    let version: Version
    private var sessions: [MonitorSession] = []

    /// Connections at once.
    public static let sessionLimit = 16
    /// How long clients may take at the end to read what waits for them.
    private static let farewellMs: UInt64 = 1000

    public init(context: any IOContext, handler: any QMPHandler, version: Version) {
        self.context = context
        self.handler = handler
        self.version = version
    }

    /// Serves one connection to its end. `pretty` lays replies out for people.
    public func serve(_ stream: any ByteStream, pretty: Bool = false) async {
        guard sessions.count < Self.sessionLimit else { return stream.close() }
        let session = MonitorSession(self, stream, pretty ? .pretty : .compact)
        sessions.append(session)
        await session.run()
        stream.close()
        sessions.removeAll { $0 === session }
    }

    /// Sends an event to all who finished negotiation. `time` is microseconds of UTC since 1970.
    public func broadcast(_ event: QMPEvent, timeUs: UInt64) {
        var object = JSONObject([
            ("event", .string(event.name)),
            (
                "timestamp",
                ["seconds": JSONValue(timeUs / 1_000_000), "microseconds": JSONValue(timeUs % 1_000_000)]
            ),
        ])
        object["data"] = event.data
        for session in sessions { session.tell(.object(object)) }
    }

    /// Sends what waits, then ends all sessions. A client that does not read holds the end up for a second at most.
    public func stop() async {
        let deadline = context.schedule(afterMs: Self.farewellMs) { [weak self] in
            for session in self?.sessions ?? [] { session.cutOff() }
        }
        for session in sessions { await session.finish() }
        context.cancel(deadline)
        handler = nil
    }
}
