public import Block
import Bytes
import Logging
public import NBDWire

/// A remote export as storage (the driver `nbd`).
///
/// Requests go over one connection, or over several where the server says that they see each other's writes
/// (docs/decisions/0011-remote-exports.md). All connections together are one session: where one is lost, all are given up
/// and made anew, and what was under way is sent again. Requests wait for that as long as `reconnect-delay` says. What the
/// server has acknowledged and not made durable is kept meanwhile and written again before anything else, for a server
/// that comes back may have forgotten it; so a flush never says more than is true.
///
/// Bounds: an attempt takes at most `connectMs` and `handshakeMs`, and opening ends with `open-timeout` where that is given;
/// a server that is silent with requests before it is lost after `NBDConnection.silenceMs`; a request that has been sent
/// `attempts` times in vain fails. A server that breaks the protocol is not spoken to again: every request fails.
public final class NBDRemote: Storage {
    /// Connects to the server, in so many milliseconds. Errors in QEMU's words: `Failed to connect to 'P': Connection
    /// refused`.
    public typealias Dial = (_ withinMs: UInt64) async throws(OpenError) -> any ByteStream

    enum Phase {
        case connected
        /// The connection was lost; another is on its way.
        case connecting
        case ended(BlockError)
    }

    let context: any IOContext
    let options: NBDRemoteOptions
    private let dial: Dial
    /// What the server told of the export when it was opened.
    public let export: NBDExportInfo
    let hasContext: Bool
    public let length: UInt64
    public let limits: StorageLimits

    var phase = Phase.connected
    /// The session's; none while there is no session.
    var connections: [NBDConnection]
    /// Requests that wait for a session.
    let waiting = WaitQueue()
    /// Ends their wait.
    var patience: TimerID?
    var isPatienceOver = false
    /// Another connection of the session is being made, or could not be.
    var isWidening = false
    var isGivenUp = false
    let retry = Parking()

    var unflushed: UnflushedChanges
    /// Why no flush succeeds any more.
    var flushFailure: BlockError?
    let relieved = WaitQueue()
    var isRelieving = false

    /// A range that is known to hold data. Never one of zeros: another client may have written there.
    var knownData = ByteRange(at: 0, count: 0)
    /// Counts changes that may have made holes.
    var holes = 0

    static let log = Logger(label: "nacre.nbd.client")

    /// The longest that an attempt waits for a connection: a few of TCP's own attempts.
    public static let connectMs: UInt64 = 5000
    /// And then for the handshake: a server may first have to open what it serves, far away.
    public static let handshakeMs: UInt64 = 30_000
    /// At the end of the process a server may be silent no longer than this, with a flush before it.
    static let lastSilenceMs: UInt64 = 30_000
    /// Between attempts it waits this long, then twice as long each time, up to the longest.
    static let firstPauseMs: UInt64 = 1000
    static let longestPauseMs: UInt64 = 16_000
    /// How soon it is noticed meanwhile that nobody wants the export any more.
    private static let pauseStepMs: UInt64 = 250
    /// How often one request is sent before it is held to be what the server dies of.
    static let attempts = 8
    /// No session has more connections, and each but the first begins when all others carry so many requests: QEMU's
    /// server and nbdkit work on 16 of one connection at a time.
    static let mostConnections = 4
    static let requestsPerConnection = 16

    private init(
        _ options: NBDRemoteOptions, _ connection: NBDConnection, _ export: NBDExportInfo, in context: any IOContext,
        _ dial: @escaping Dial
    ) {
        self.options = options
        self.context = context
        self.dial = dial
        self.export = export
        hasContext = connection.contextID != nil
        length = export.size
        limits = Self.limits(of: export, hasContext: connection.contextID != nil)
        connections = [connection]
        unflushed = UnflushedChanges(keeps: options.reconnectDelay > 0)
        adopt(connection)
    }

    /// Opens the export, trying again as long as `open-timeout` says and it is wanted.
    public static func open(
        _ options: NBDRemoteOptions, in context: any IOContext, isWanted: @escaping () -> Bool = { true },
        dial: @escaping Dial
    ) async throws(OpenError) -> NBDRemote {
        let begun = context.nowNs
        let allMs = UInt64(options.openTimeout) * 1000
        var pauseMs = firstPauseMs
        while true {
            do throws(OpenError) {
                let passedMs = (context.nowNs - begun) / 1_000_000
                let leftMs = options.openTimeout == 0 ? UInt64.max : max(allMs, passedMs + 1) - passedMs
                let (connection, export) = try await establish(
                    options, in: context, withinMs: leftMs, isWanted, dial)
                return NBDRemote(options, connection, export, in: context, dial)
            } catch {
                let passedMs = (context.nowNs - begun) / 1_000_000
                guard passedMs < allMs, isWanted() else { throw error }
                if case .descriptor = options.server { throw error }
                // The last pause is as long as there is time.
                let pause = min(pauseMs, allMs - passedMs)
                for _ in 0..<(pause + pauseStepMs - 1) / pauseStepMs where isWanted() {
                    await context.sleep(ms: min(pauseStepMs, pause))
                }
                pauseMs = min(2 * pauseMs, longestPauseMs)
            }
        }
    }

    /// One attempt: a connection that has shaken hands, and what it was told.
    private static func establish(
        _ options: NBDRemoteOptions, in context: any IOContext, withinMs: UInt64, _ isWanted: @escaping () -> Bool,
        _ dial: Dial
    ) async throws(OpenError) -> (NBDConnection, NBDExportInfo) {
        let connection = NBDConnection(try await dial(min(withinMs, connectMs)), in: context)
        let wanted = options.bitmap ?? allocationContext
        let negotiation = try await connection.shakeHands(
            .export(options.export ?? "", context: wanted), withinMs: min(withinMs, handshakeMs), isWanted: isWanted)
        guard options.bitmap == nil || connection.contextID != nil else {
            connection.stream.close()
            throw OpenError("requested x-dirty-bitmap \(wanted) not found", cause: .invalid)
        }
        return (connection, negotiation.export)
    }

    func establish() async throws(OpenError) -> (NBDConnection, NBDExportInfo) {
        try await Self.establish(
            options, in: context, withinMs: .max,
            { [weak self] in
                guard let self, !isGivenUp else { return false }
                if case .ended = phase { return false }
                return true
            }, dial)
    }

    private static let allocationContext = "base:allocation"

    /// Whether the server lets nobody write.
    public var isReadOnly: Bool { export.flags.contains(.readOnly) }

    /// Whether the server can be connected to again: a passed socket is closed with its first connection.
    var servesAgain: Bool {
        if case .descriptor = options.server { return false }
        return true
    }

    func can(_ flag: NBDTransmissionFlags) -> Bool { export.flags.contains(flag) }

    /// What requests must look like. A server that told no smallest size is old, and is asked for whole sectors, but where
    /// the size or extents it tells cannot be multiples of them.
    static func limits(of export: NBDExportInfo, hasContext: Bool) -> StorageLimits {
        var unit = UInt64(export.minimumBlock)
        if unit == 0 { unit = hasContext || export.size % 512 != 0 ? 1 : 512 }
        let most = export.maximumBlock == 0 ? UInt64(NBDLimits.payload) : UInt64(export.maximumBlock)
        return StorageLimits(
            requestAlignment: unit,
            maxTransfer: max(min(most, UInt64(NBDLimits.payload)).roundedDown(to: unit), unit),
            discardAlignment: unit, preferredTransfer: max(UInt64(export.preferredBlock), 4096),
            zeroesFast: export.flags.contains(.sendWriteZeroes), discards: export.flags.contains(.sendTrim))
    }
}
