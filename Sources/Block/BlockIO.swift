public import Bytes

/// The walker of one node: takes requests on the node, asks its driver where bytes are, and moves them.
///
/// The only place that walks, splits, aligns, bounces and checks, so "data first, then the table" holds in one place,
/// and reads, writes, block status, copy and commit are all the same walk. Immutable in its driver and children: a
/// change of the graph makes new walkers and swaps them in while the part is drained; a format's state lives on in the
/// driver.
public final class BlockIO: Storage {
    /// What stands behind a node.
    public enum Driver {
        case storage(any Storage)
        case format(any ImageFormat)
    }

    /// What to do with a write whose bytes are all zero (the node option `detect-zeroes`).
    public enum DetectZeroes: Sendable { case off, on, unmap }

    public struct Options: Sendable {
        public var detectZeroes: DetectZeroes
        /// Whether discards are honoured (`discard=unmap`); `ignore` succeeds without doing anything.
        public var honoursDiscard: Bool
        /// Whether places that a format freed are punched in its `file` child, and what it discards in a child for data
        /// alone is discarded there (`pass-discard-*`).
        public var punchesFreed: Bool
        public var isReadOnly: Bool

        public init(
            detectZeroes: DetectZeroes = .off, honoursDiscard: Bool = true, punchesFreed: Bool = true,
            isReadOnly: Bool = false
        ) {
            self.detectZeroes = detectZeroes
            self.honoursDiscard = honoursDiscard
            self.punchesFreed = punchesFreed
            self.isReadOnly = isReadOnly
        }
    }

    let context: any IOContext
    let driver: Driver
    /// The child that holds a format's tables, and its data too where that does not lie apart.
    let file: (any Storage)?
    /// The child that holds the guest's data.
    let data: (any Storage)?
    /// Whether the child that holds the data is told when data is read and written.
    let tellsData: Bool
    /// The child that decides what a format does not.
    let backing: (any Storage)?
    public let options: Options
    /// The dirty bitmaps of the node; nil where it has none.
    let tracker: (any ChangeTracker)?

    let flushes: FlushQueue
    /// Apart from each other: requests that were widened to the alignment of the storage, and whatever overlaps them.
    let widened = RangeLock()
    private var epochTimer: (id: TimerID, isLate: Bool)?
    /// Flushes that the timer began and that have not ended.
    private var ownFlushes = 0
    private let ownFlushesEnded = WaitQueue()
    private var isPaused = false

    /// After so many steps of a walk that may all have completed in place, others get their turn.
    private static let stepsPerTurn = 64

    /// Counts a step of a walk.
    func step(_ steps: inout Int) async {
        steps += 1
        if steps % Self.stepsPerTurn == 0 { await context.yield() }
    }

    /// How long a change of a format may wait for its commit, in milliseconds.
    static let epochMs: UInt64 = 1000
    /// The same for changes that may wait longer, as long as file systems let theirs wait: a commit makes the host write
    /// back all data that has come, which costs most where it is not asked for.
    static let lateEpochMs: UInt64 = 5000

    public init(
        context: any IOContext, driver: Driver, file: (any Storage)? = nil, data: (any Storage)? = nil,
        backing: (any Storage)? = nil, options: Options = Options(), tracker: (any ChangeTracker)? = nil
    ) {
        self.context = context
        flushes = FlushQueue(context)
        self.driver = driver
        self.file = file
        self.data = data ?? file
        self.backing = backing
        self.options = options
        self.tracker = tracker
        tellsData = (data ?? file)?.hearsEvents ?? false
    }

    /// Whether dirty bitmaps are told of changes.
    public var isTracked: Bool { tracker != nil }

    public var length: UInt64 {
        switch driver {
        case .storage(let storage): storage.length
        case .format(let format): format.length
        }
    }

    /// Any alignment is accepted here; the storage's own stays visible as the preferred one.
    public var limits: StorageLimits {
        switch driver {
        case .storage(let storage):
            var limits = storage.limits
            limits.preferredTransfer = max(limits.preferredTransfer, limits.requestAlignment)
            limits.requestAlignment = 1
            limits.memoryAlignment = 1
            return limits
        case .format(let format): return format.limits
        }
    }

    /// Makes all that completed before durable: for a format its changes in the order of its rules, then for any
    /// storage its flush.
    public func flush() async throws(BlockError) {
        try await flushes.run { () async throws(BlockError) in
            switch self.driver {
            case .storage(let storage): try await storage.flush()
            case .format(let format):
                self.cancelEpoch()
                if self.options.isReadOnly { return }
                defer { self.scheduleCommit(format) }
                let freed = try await format.commit()
                await self.punch(freed)
                format.release(freed)
            }
        }
    }

    public var hearsEvents: Bool {
        if case .storage(let storage) = driver { storage.hearsEvents } else { false }
    }

    public func reach(_ event: FaultEvent) async {
        if case .storage(let storage) = driver { await storage.reach(event) }
    }

    /// Gives back to the host what nothing of the format uses any more. A failure is no failure of whatever freed it: the
    /// space stays taken.
    public func punch(_ freed: [ByteRange]) async {
        guard options.punchesFreed, let file else { return }
        for range in freed { try? await file.discard(range) }
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        switch driver {
        case .storage(let storage): try await storage.resize(to: length)
        case .format(let format):
            let old = format.length
            try await format.resize(to: length)
            do throws(BlockError) { try await zeroGrown(from: old, of: format) } catch {
                try? await format.resize(to: old)
                throw error
            }
            format.confirmLength()
            scheduleCommit(format)
        }
    }

    /// What a disk gains reads as zeros: all of it where a longer backing file would show through, and the rest of the
    /// cluster that held the old end.
    private func zeroGrown(from old: UInt64, of format: any ImageFormat) async throws(BlockError) {
        guard !format.mapsStraight, format.length > old else { return }
        let cluster = max(format.limits.discardAlignment, 1)
        let edge = min(format.length, old.roundedUp(to: cluster) ?? format.length)
        guard backing?.length ?? 0 > old else {
            let rest = ByteRange(from: old, to: edge)
            if edge > old, try await !readsZero(rest) { try await zero(rest, flags: .mayUnmap) }
            return
        }
        // A part of a cluster becomes the image's own, whatever it reads as now: what lies below may yet change.
        let zeros = AlignedBuffer(byteCount: Int(edge - old))
        if edge > old { try await write(at: old, from: zeros.bytes, flags: []) }
        if format.length > edge { try await zero(ByteRange(from: edge, to: format.length), flags: .mayUnmap) }
    }

    /// Flushes until the format has nothing left to write back or to give back to the host: before a node closes or goes
    /// read-only. No request is under way.
    public func finish() async throws(BlockError) {
        try await flush()
        guard case .format(let format) = driver else { return }
        // Two rounds end an epoch; those after them are for what the last one's own tables changed.
        for _ in 0..<8 where format.commitUrgency != .none { try await flush() }
    }

    /// Gives back the end of the file that nothing uses any more, after a disk has shrunk. No request is under way.
    public func cutTail() async throws(BlockError) {
        guard case .format(let format) = driver, !options.isReadOnly else { return }
        try await finish()
        try await format.cutTail()
    }

    /// Lets the walker do nothing by itself any more, and waits for what it had begun: before the graph below it changes, or
    /// it closes. Who drains it sees to the requests of others.
    public func pause() async {
        retire()
        while ownFlushes > 0 { await ownFlushesEnded.wait() }
    }

    /// Ends a pause, or begins where a new walker takes over what an old one had not committed.
    public func resume() {
        isPaused = false
        if case .format(let format) = driver { scheduleCommit(format) }
    }

    /// A walker for another part of the format's image than its disk: on the same children, with nothing below, and no bitmap
    /// told. It begins nothing by itself; who is done with it calls `resume` on this one, which commits what it left.
    public func beside(_ part: any ImageFormat) -> BlockIO {
        var options = options
        options.detectZeroes = .off
        let walker = BlockIO(context: context, driver: .format(part), file: file, data: data, options: options)
        walker.retire()
        return walker
    }

    /// Ends the walker's own timer, without waiting: of one that is dropped as it is.
    public func retire() {
        isPaused = true
        cancelEpoch()
    }

    /// Sees to it that the format's changes are committed as soon as it asks.
    func scheduleCommit(_ format: any ImageFormat) {
        let urgency = format.commitUrgency
        guard !isPaused, urgency != .none else { return }
        let isLate = urgency == .later
        if let epochTimer {
            guard epochTimer.isLate, !isLate else { return }
            cancelEpoch()
        }
        let timer = context.schedule(afterMs: isLate ? Self.lateEpochMs : Self.epochMs) { [weak self] in
            guard let self else { return }
            self.epochTimer = nil
            self.ownFlushes += 1
            self.context.spawn {
                // The failure stays with the format, which is fenced; the next request learns of it.
                try? await self.flush()
                self.ownFlushes -= 1
                if self.ownFlushes == 0 { self.ownFlushesEnded.wakeAll() }
            }
        }
        epochTimer = (timer, isLate)
    }

    private func cancelEpoch() {
        guard let timer = epochTimer else { return }
        context.cancel(timer.id)
        epochTimer = nil
    }

    /// No file reaches further, in bytes: positions in it are signed numbers to the host.
    private static let furthestEnd = UInt64(Int64.max)

    /// Checks a request against the device's end, or that of all files where the device grows.
    func check(_ range: ByteRange?, growable: @autoclosure () -> Bool) throws(BlockError) -> ByteRange {
        guard let range else { throw .outOfRange }
        guard range.end <= length || growable() && range.end <= Self.furthestEnd else { throw .outOfRange }
        return range
    }
}
