public import Block
public import Bytes

/// A simulated disk: durable bytes, and the changes since that a crash may keep or lose in any combination.
///
/// Requests take a simulated time drawn from the seed, so that they complete in any order. A flush makes durable what
/// had completed before it was issued, nothing else. `crashImage` answers what a machine that lost power now would
/// find. The rules are those of reliability's sector model: single sectors are atomic, a change of a part of one carries
/// what else it held along, a longer change may tear at any sector border, discards and zeros are changes like writes.
public final class SimDisk: Storage {
    public struct Options: Sendable {
        /// Draws latencies and the effects of discards.
        public var seed: UInt64
        /// What the disk writes as one: 512 or 4096.
        public var sectorSize: UInt64
        public var limits: StorageLimits
        /// How long a request takes.
        public var latencyNs: ClosedRange<UInt64>
        /// What a discarded range reads as.
        public var discarded: Discarded
        /// Whether every event is kept in `log`.
        public var keepsLog: Bool
        /// Whether all flushes fail after one that failed. Where not, the disk does as a kernel does that tells of a failed
        /// write-back once: some of what the failed flush covered will never be durable, and the next flush succeeds.
        public var stickyFlush = true
        /// Flushes, counted from 0, that succeed and do nothing: a disk that lies, for tests of the tests.
        public var lostFlushes: Set<Int> = []

        public init(
            seed: UInt64 = 0, sectorSize: UInt64 = 512,
            limits: StorageLimits = StorageLimits(zeroesFast: true, discards: true, growable: true),
            latencyNs: ClosedRange<UInt64> = 1_000...200_000, discarded: Discarded = .either, keepsLog: Bool = false
        ) {
            self.seed = seed
            self.sectorSize = sectorSize
            self.limits = limits
            self.latencyNs = latencyNs
            self.discarded = discarded
            self.keepsLog = keepsLog
        }
    }

    public enum Discarded: Sendable { case zeros, old, either }

    /// One change of the disk, as it was asked.
    public struct Operation: Sendable {
        public enum Change: Sendable {
            case write([UInt8])
            case zero
            case discard
            /// To this length; `range` is empty.
            case resize(UInt64)
        }

        public let id: UInt64
        public internal(set) var change: Change
        public internal(set) var range: ByteRange
        public let fua: Bool
        public let issuedNs: UInt64
        public internal(set) var completedNs: UInt64?
        /// Its place among the completed ones; nil while it runs.
        var completion: UInt64?
        /// The sectors that a failed change wrote nonetheless; nil means all.
        var sectors: Set<UInt64>?
    }

    public enum Event: Sendable {
        case issued(Operation)
        case reading(UInt64, ByteRange)
        case read(UInt64)
        case completed(UInt64)
        case failed(UInt64, BlockError)
        case flushIssued(UInt64)
        /// The flush is about to make durable what it covers.
        case flushing(UInt64)
        case flushed(UInt64)
        /// These have become durable, by a flush or by themselves.
        case hardened([Operation])
        /// A word from the test: which client request began or ended.
        case mark(String)
    }

    let context: SimulatedContext
    public let options: Options
    public var faults = FaultPlan()
    /// Told of each event as it happens; the disk may be looked at, and nothing more.
    public var onEvent: ((Event) -> Void)?
    /// Watches the order of all changes from where it is set; whoever drives the context is thrown the first rule that was
    /// broken.
    public var audit: OrderAudit?
    /// A full disk: what would make the disk longer than this fails with `noSpace` and changes nothing.
    public var capacity = UInt64.max
    /// What a reader sees now: every completed change.
    public private(set) var contents: SparseBytes
    /// What survives for certain.
    public internal(set) var durable: SparseBytes
    /// Changes that are not durable yet, in the order they were issued.
    public internal(set) var pending: [Operation] = []
    public private(set) var log: [Event] = []
    /// Requests seen, by kind.
    public private(set) var requests: [RequestKind: Int] = [:]
    private var random: SeededRandom
    private var nextID: UInt64 = 1
    private var completions: UInt64 = 0
    /// Of the last flush that failed since the disk was opened.
    private var flushFailure: BlockError?

    public init(_ context: SimulatedContext, contents: SparseBytes = SparseBytes(), _ options: Options = Options()) {
        self.context = context
        self.contents = contents
        self.options = options
        durable = contents
        random = SeededRandom(seed: options.seed ^ 0xD15C)
    }

    /// Whether a flush failed since it was opened.
    public var hasFailedFlush: Bool { flushFailure != nil }

    public var length: UInt64 { contents.length }
    public var limits: StorageLimits { options.limits }

    /// As if the file was closed and opened: a failed flush is forgotten, pending changes stay pending.
    public func reopen() { flushFailure = nil }

    /// Notes a word in the log.
    public func mark(_ word: String) { record(.mark(word)) }

    // MARK: Storage

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        let range = try begin(.read, offset, UInt64(buffer.byteCount), grows: limits.growable)
        guard buffer.isAligned(to: limits.memoryAlignment) else { throw .invalid }
        let fault = faults.next(.read, range)
        let id = takeID()
        record(.reading(id, range))
        await delay()
        record(.read(id))
        if let fault { throw fault.error }
        contents.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        let range = try begin(.write, offset, UInt64(bytes.byteCount), grows: limits.growable)
        guard bytes.isAligned(to: limits.memoryAlignment) else { throw .invalid }
        var copy = [UInt8](repeating: 0, count: bytes.byteCount)
        copy.withMutableBytes { $0.copy(bytes) }
        try await perform(.write(copy), range, .write, fua: flags.contains(.fua))
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        let range = try begin(.zero, range.start, range.count, grows: limits.growable)
        guard limits.zeroesFast || !flags.contains(.fastOnly) else { throw .unsupported }
        try await perform(.zero, range, .zero, fua: flags.contains(.fua))
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        let range = try begin(.discard, range.start, range.count, grows: limits.growable)
        guard limits.discards else { return }
        let inside = range.intersection(ByteRange(at: 0, count: length)).shrunk(to: options.sectorSize)
        try await perform(.discard, inside, .discard, fua: false)
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        requests[.resize, default: 0] += 1
        try await perform(.resize(length), ByteRange(at: 0, count: 0), .resize, fua: false)
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        let range = try begin(.status, range.start, range.count, grows: false, aligned: false)
        guard !range.isEmpty else { throw .invalid }
        if let fault = faults.next(.status, range) { throw fault.error }
        let run = contents.run(range)
        return BlockStatus(
            count: run.count, flags: run.allocated ? [.data, .allocated] : [.zero, .allocated], offset: range.start,
            holder: self)
    }

    public func flush() async throws(BlockError) {
        requests[.flush, default: 0] += 1
        let id = takeID()
        let covered = Set(pending.filter { $0.completedNs != nil }.map(\.id))
        record(.flushIssued(id))
        let fault = faults.next(.flush, nil)
        await delay()
        if let failure = options.stickyFlush ? flushFailure ?? fault?.error : fault?.error {
            flushFailure = failure
            if !options.stickyFlush { pending.removeAll { covered.contains($0.id) && random.chance(50) } }
            record(.failed(id, failure))
            throw failure
        }
        record(.flushing(id))
        if !options.lostFlushes.contains(requests[.flush, default: 0] - 1) { persist { covered.contains($0.id) } }
        record(.flushed(id))
    }

    // MARK: the life of a change

    private func begin(
        _ kind: RequestKind, _ offset: UInt64, _ count: UInt64, grows: Bool, aligned: Bool = true
    ) throws(BlockError) -> ByteRange {
        requests[kind, default: 0] += 1
        guard let range = ByteRange(checked: offset, count: count) else { throw .outOfRange }
        guard grows || range.end <= length else { throw .outOfRange }
        guard !aligned || range.isAligned(to: limits.requestAlignment), count <= limits.maxTransfer || kind != .write
        else { throw .invalid }
        return range
    }

    private func perform(_ change: Operation.Change, _ range: ByteRange, _ kind: RequestKind, fua: Bool)
        async throws(BlockError)
    {
        var fault = faults.next(kind, range)
        let end = if case .resize(let length) = change { length } else { range.end }
        if fault == nil, end > max(capacity, length) { fault = Fault([kind], error: .noSpace) }
        let operation = Operation(
            id: takeID(), change: change, range: range, fua: fua, issuedNs: context.nowNs)
        pending.append(operation)
        record(.issued(operation))
        await delay()
        try complete(operation.id, fault)
    }

    private func complete(_ id: UInt64, _ fault: Fault?) throws(BlockError) {
        guard let index = pending.firstIndex(where: { $0.id == id }) else { preconditionFailure("a change got lost") }
        if case .nothing = fault?.effect {
            pending.remove(at: index)
        } else {
            switch fault?.effect {
            case .torn: pending[index].sectors = someSectors(of: pending[index])
            case .short: pending[index].sectors = firstSectors(of: pending[index])
            case .nothing, .whole, nil: break
            }
            if case .discard = pending[index].change { pending[index].sectors = discardedSectors(of: pending[index]) }
            pending[index].completedNs = context.nowNs
            completions += 1
            pending[index].completion = completions
            apply(pending[index], to: &contents)
            pending[index].fillSectors(options.sectorSize, from: contents)
            if pending[index].fua, fault == nil { persistFUA(pending[index]) }
        }
        if let fault {
            record(.failed(id, fault.error))
            throw fault.error
        }
        record(.completed(id))
    }

    /// A forced write is durable with all completed earlier ones that it overlaps, for they lie beneath it.
    private func persistFUA(_ operation: Operation) {
        var ids: Set<UInt64> = [operation.id]
        var beneath = [operation.range]
        for older in pending.filter({ $0.completion != nil }).sorted(by: Self.inOrder).reversed() {
            guard older.id != operation.id, beneath.contains(where: { $0.overlaps(older.range) }) else { continue }
            ids.insert(older.id)
            beneath.append(older.range)
        }
        persist { ids.contains($0.id) }
    }

    private func persist(_ isCovered: (Operation) -> Bool) {
        let covered = pending.filter(isCovered).sorted(by: Self.inOrder)
        for operation in covered { apply(operation, to: &durable) }
        pending.removeAll(where: isCovered)
        record(.hardened(covered))
    }

    private func discardedSectors(of operation: Operation) -> Set<UInt64>? {
        switch options.discarded {
        case .zeros: nil
        case .old: []
        case .either: random.chance(50) ? nil : random.chance(50) ? [] : someSectors(of: operation)
        }
    }

    private func someSectors(of operation: Operation) -> Set<UInt64> {
        Self.someSectors(of: operation.range, options.sectorSize, &random)
    }

    /// The first half of them.
    private func firstSectors(of operation: Operation) -> Set<UInt64> {
        let (range, size) = (operation.range, options.sectorSize)
        guard !range.isEmpty else { return [] }
        let first = range.start / size
        return Set(first..<first + ((range.end - 1) / size - first + 1) / 2)
    }

    private func delay() async {
        let spread = options.latencyNs.upperBound - options.latencyNs.lowerBound
        let ns = options.latencyNs.lowerBound + random.below(spread &+ 1)
        await suspend { (suspension: Suspension<Void>) in
            context.schedule(afterNs: ns) { suspension.resume() }
        }
    }

    private func takeID() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }

    private func record(_ event: Event) {
        if options.keepsLog { log.append(event) }
        if let audit {
            audit.observe(event)
            if let broken = audit.broken { context.complain(broken) }
        }
        onEvent?(event)
    }
}
