public import Block
public import Bytes

/// A user's handle on a node: an export, or whoever else sends requests from outside. Follows the node when an overlay
/// is put on it.
///
/// Every request passes here, so draining a root is enough to bring the nodes below it to rest: new requests wait, and
/// those under way are awaited.
public final class BlockRoot: Storage {
    /// The user's name, for messages and events.
    public let name: String
    let id: RootID
    private var target: any Storage
    /// The node's name, which changes when the root moves to an overlay.
    public private(set) var nodeName: String
    public let used: Permissions
    public let shared: Permissions
    /// The I/O thread that its requests come from; nil: the owner's.
    public internal(set) var thread: ThreadName?

    private var inFlight = 0
    private var drains = 0
    private var isClosed = false
    private let idle = WaitQueue()
    private let resumed = WaitQueue()
    private let observer: GraphObserver
    /// Whether every write is durable when it ends, as with the cache modes `writethrough` and `directsync`.
    public var writesThrough = false
    /// Told when the node, or an overlay put on it, has another length. Must not call back into the graph.
    public var onLengthChange: (() -> Void)?

    init(
        _ id: RootID, name: String, nodeName: String, target: any Storage, used: Permissions, shared: Permissions,
        observer: GraphObserver
    ) {
        self.id = id
        self.name = name
        self.nodeName = nodeName
        self.target = target
        self.used = used
        self.shared = shared
        self.observer = observer
    }

    public var length: UInt64 { target.length }
    public var limits: StorageLimits { target.limits }

    /// Requests that are under way.
    public var inFlightCount: Int { inFlight }
    public var isDrained: Bool { drains > 0 && inFlight == 0 }

    // MARK: Draining

    /// Holds new requests back, and waits for those under way. Calls nest.
    public func drain() async {
        beginDrain()
        await settle()
    }

    /// Holds new requests back.
    func beginDrain() { drains += 1 }

    /// Waits for the requests under way.
    func settle() async { while inFlight > 0 { await idle.wait() } }

    /// Ends one `drain`.
    public func resume() {
        precondition(drains > 0, "a root is resumed that was not drained")
        drains -= 1
        if drains == 0 { resumed.wakeAll() }
    }

    /// Sends requests another way. Only while drained.
    func retarget(_ target: any Storage, nodeName: String) {
        precondition(inFlight == 0, "a root moves while requests are under way")
        let old = length
        self.target = target
        self.nodeName = nodeName
        if length != old { onLengthChange?() }
    }

    /// Every request from now on is refused; those that wait are, too.
    func close() {
        isClosed = true
        resumed.wakeAll()
    }

    /// Counts a request in, if nothing keeps it back.
    private var enters: Bool {
        guard drains == 0, !isClosed else { return false }
        inFlight += 1
        return true
    }

    private func enterLater() async throws(BlockError) {
        while drains > 0, !isClosed { await resumed.wait() }
        if isClosed { throw .closed }
        inFlight += 1
    }

    private func leave() {
        inFlight -= 1
        if inFlight == 0, !idle.isEmpty { idle.wakeAll() }
    }

    /// Runs what sends requests to the node past this, as one request: who drains waits for it.
    func counted<Result>(_ body: () async -> Result) async throws(BlockError) -> Result {
        if !enters { try await enterLater() }
        defer { leave() }
        return await body()
    }

    private func report(_ error: BlockError, _ operation: IOErrorReport.Operation) -> BlockError {
        switch error {
        case .readOnly, .outOfRange, .invalid, .unsupported, .closed, .noMedium: break
        default:
            observer.onIOError(IOErrorReport(user: name, nodeName: nodeName, operation: operation, error: error))
        }
        return error
    }

    // MARK: Requests

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        if !enters { try await enterLater() }
        defer { leave() }
        do { try await target.read(at: offset, into: &buffer) } catch { throw report(error, .read) }
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        guard used.contains(.write) else { throw .readOnly }
        if !enters { try await enterLater() }
        defer { leave() }
        let flags = writesThrough ? flags.union(.fua) : flags
        do { try await target.write(at: offset, from: bytes, flags: flags) } catch { throw report(error, .write) }
    }

    /// Where nothing keeps requests back; it is over before it could be counted.
    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        drains == 0 && !isClosed && target.readNow(at: offset, into: &buffer)
    }

    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        drains == 0 && !isClosed && !writesThrough && used.contains(.write) && target.writeNow(at: offset, from: bytes)
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        guard used.contains(.write) else { throw .readOnly }
        if !enters { try await enterLater() }
        defer { leave() }
        let flags = writesThrough ? flags.union(.fua) : flags
        do { try await target.zero(range, flags: flags) } catch { throw report(error, .write) }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        guard used.contains(.write) else { throw .readOnly }
        if !enters { try await enterLater() }
        defer { leave() }
        do { try await target.discard(range) } catch { throw report(error, .write) }
    }

    public func flush() async throws(BlockError) {
        if !enters { try await enterLater() }
        defer { leave() }
        do { try await target.flush() } catch { throw report(error, .write) }
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        if !enters { try await enterLater() }
        defer { leave() }
        do { return try await target.status(of: range) } catch { throw report(error, .read) }
    }

    /// The graph resizes nodes (`Graph.resize`); a user of one needs the permission.
    public func resize(to length: UInt64) async throws(BlockError) {
        guard used.contains(.resize) else { throw .permission }
        if !enters { try await enterLater() }
        defer { leave() }
        try await target.resize(to: length)
    }
}
