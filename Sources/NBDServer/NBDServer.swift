public import Block
import Logging

/// The NBD server: exports by name, and the sessions of those who are connected. Where connections come from is the
/// caller's business.
public final class NBDServer {
    public struct Limits: Sendable {
        /// Connections at once, no more than the budget has clients; the oldest that has not chosen an export makes room.
        public var connections = 1024
        /// How long a client may take to choose an export; 0: for ever.
        public var handshakeMs: UInt64 = 5000
        /// Requests of one client under way.
        public var requests = 128
        /// Bytes of one client's requests under way.
        public var bytes = 64 << 20

        public init() {}
    }

    let context: any IOContext
    public let limits: Limits
    /// What the sessions' memory is charged to.
    public let budget: MemoryBudget
    public private(set) var exports: [NBDExport] = []
    private(set) var sessions: [NBDSession] = []
    private let ended = WaitQueue()
    private var isStopping = false
    let log = Logger(label: "nacre.nbd")

    public init(context: any IOContext, limits: Limits = Limits(), budget: MemoryBudget = MemoryBudget()) {
        self.context = context
        self.budget = budget
        var limits = limits
        limits.connections = min(limits.connections, budget.clients)
        self.limits = limits
    }

    public func export(named name: String) -> NBDExport? { exports.first { $0.name == name } }

    /// Makes the export visible. Precondition: its name is free.
    public func add(_ export: NBDExport) {
        precondition(self.export(named: export.name) == nil)
        exports.append(export)
    }

    /// How many clients use the export.
    public func clients(of export: NBDExport) -> Int { sessions.count { $0.export === export } }

    public var connections: Int { sessions.count }

    /// Hides the export and ends its sessions; their requests go on to their ends.
    public func close(_ export: NBDExport) {
        exports.removeAll { $0 === export }
        for session in sessions where session.export === export { session.close() }
    }

    /// Closes the export and waits until the requests on it have ended.
    public func remove(_ export: NBDExport) async {
        close(export)
        while clients(of: export) > 0 { await ended.wait() }
    }

    /// Another medium is in reach of the export's drive, or none, or it has another length: NBD has no word for that, so
    /// the sessions that use the export end. Requests under way still end by themselves.
    public func mediumChanged(_ export: NBDExport) {
        export.medium &+= 1
        for session in sessions where session.export === export { session.close() }
    }

    /// Ends all sessions and waits for their requests; no session begins any more.
    public func stop() async {
        isStopping = true
        for session in sessions { session.close() }
        while !sessions.isEmpty { await ended.wait() }
    }

    /// Serves one connection to its end. Answers whether the client had chosen an export.
    @discardableResult
    public func serve(_ stream: any ByteStream) async -> Bool {
        guard !isStopping, sessions.count < limits.connections || evict() else {
            stream.close()
            return false
        }
        let session = NBDSession(self, stream)
        sessions.append(session)
        await session.run()
        stream.close()
        sessions.removeAll { $0 === session }
        ended.wakeAll()
        return session.export != nil
    }

    /// Lets a client go, for another connection's sake, of those that have not chosen an export; false where there is
    /// none. One that is going already is enough.
    public func makeRoom() -> Bool { sessions.contains { $0.export == nil && $0.isClosing } || evict() }

    /// Ends the oldest session that has not chosen an export.
    private func evict() -> Bool {
        guard let idle = sessions.first(where: { $0.export == nil && !$0.isClosing }) else { return false }
        idle.close()
        return true
    }
}
