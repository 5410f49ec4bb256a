import Block
public import BlockTestKit
import Bytes
import Qcow2

/// Runs a program on a chain over simulated disks, several requests at once, and shows the points at which a crash might
/// happen. What the guest's disk must read as is kept sector by sector.
public final class CrashRun {
    public let program: Program
    public let chain: SimulatedChain
    public internal(set) var oracle: SectorOracle
    /// Shown points at which the machine may stop.
    public var onPoint: ((CrashPoint) -> Void)?
    /// Whether requests and steps may fail; what then holds is the oracle's to know.
    public var mayFail = false
    /// Whether crashes are looked at while an image is made.
    public var crashesCreation = false
    /// Which verbs have begun, and which are under way.
    public internal(set) var verbs = VerbProgress()
    /// The names that the image may have for the file with its data, where there is one.
    var dataNames: Set<String> = []
    /// An image that is being made, and what it will read as.
    var making: (disk: SimDisk, data: SimDisk?, below: [SparseBytes], oracle: SectorOracle)?
    /// What the image holds that it is made on, and that the machine has where there is none yet on top.
    private var beneath: CrashPoint.Beneath?
    /// The machine as the program left it.
    public private(set) var end: CrashPoint?
    /// Errors that were reported to the client.
    public internal(set) var reported = 0

    private let context: SimulatedContext
    let start: StartImage
    /// What the internal snapshots of the top image keep.
    var snapshots: [KeptSnapshot]
    /// What the disk was at each of them, where that is known.
    var snapshotContents: [String: [UInt8]] = [:]
    /// What the step under way may have made of the disk and the snapshots, all of it at once.
    var other: CrashPoint.Outcome?
    private var running: [UInt64: (sectors: ByteRange, changes: Bool)] = [:]
    var bitmaps = BitmapOracle()
    /// What a machine's state that was saved reads as, in the top image and in its snapshots, where that is known.
    var vmState = VMStateOracle()
    var snapshotVMStates: [String: VMStateOracle] = [:]
    private var nextRequest: UInt64 = 0
    private let ended = WaitQueue()
    private var violation: Violation?
    /// D7: a flush of the client failed, and one of the disk, since the image was opened.
    var flushFailed = false

    public init(_ program: Program, on start: StartImage, _ options: SimDisk.Options = .init()) {
        self.program = program
        self.start = start
        context = SimulatedContext(seed: program.seed)
        chain = SimulatedChain(context, program.shape, seed: program.seed, options)
        oracle = SectorOracle(start.contents)
        snapshots = start.snapshots
        if let image = start.image {
            let check = MiniCheck(image)
            bitmaps = BitmapOracle(check)
            if check.hasDataFile { dataNames = [check.dataFileName ?? ""] }
        } else if program.shape.dataFile != .none {
            dataNames = ["data"]
        }
        chain.tracksBitmaps = program.steps.contains { if case .bitmap = $0 { true } else { false } }
    }

    /// Runs to the end and, where nothing may fail, compares.
    public func run() throws(Violation) {
        var step = -1
        // What is left over after a failure (a request under way, a commit that is tried again) ends without the chain.
        defer {
            end = point
            verbs.endAll()
            chain.faults.clear()
            chain.dropAll()
            try? context.runToIdle()
            for disk in chain.disks + chain.topDisks { disk.onEvent = nil }
            chain.base?.onEvent = nil
            onPoint = nil
        }
        do {
            try context.complete { [self] in
                try await begin()
                for (index, next) in program.steps.enumerated() {
                    step = index
                    try await perform(next)
                    if let violation { throw violation }
                }
                step = program.steps.count
                try await drain()
                if mayFail {
                    // What failed behind the client's back is told now at the latest, or by the end of the image.
                    await flush()
                    try await drain()
                    if reported == 0, chain.faults.fired > 0 { try await closeAtLast() }
                }
                chain.faults.clear()
                try await compare()
            }
        } catch let error as Violation {
            throw error.told { "step \(step): \($0)\non \(start.name)\n\(program)" }
        } catch let error as SimulationFailure {
            let kind = if case .disordered = error { Violation.Kind.unordered } else { Violation.Kind.unexpected }
            throw Violation("step \(step): \(error)\non \(start.name)\n\(program)", kind)
        } catch {
            // A step failed as a whole (opening, closing, a snapshot), and said so.
            reported += 1
            guard mayFail else { throw Violation("step \(step): \(error)\non \(start.name)\n\(program)") }
        }
    }

    private func begin() async throws {
        if let base = start.base { chain.setBase(base) }
        for image in start.below { try await chain.pushBelow(chain.disk(image)) }
        if let image = start.image {
            let (disk, data) = (chain.disk(image), start.data.map { chain.disk($0) })
            // Opening may write: it repairs what a crash left where the image says so.
            watch(disk, data)
            let opening = openingVerbs(image)
            verbs.begin(opening)
            try await chain.push(disk, data: data)
            verbs.end(opening)
        } else {
            try await make(size: program.shape.size, as: oracle)
        }
    }

    /// Makes an image on top of the chain.
    private func make(size: UInt64, as oracle: SectorOracle) async throws {
        let isPlaced = program.shape.preallocation != .off
        let creation: [Verb] = [isPlaced ? .createPreallocated : .create]
        try await chain.push(size: size) { disk, data in
            making = (disk, data, chain.disks.map(\.contents), oracle)
            verbs.begin(creation)
            if crashesCreation { watch(disk, data) }
        } onMade: {
            verbs.end(creation)
        }
        // It was opened as well.
        (making, beneath) = (nil, nil)
        watchTop()
    }

    /// What opening an image for writing does besides.
    private func openingVerbs(_ image: SparseBytes) -> [Verb] {
        let check = MiniCheck(image)
        return (check.isDirty ? [.repairAtOpening] : []) + (check.bitmaps.isEmpty ? [] : [.bitmapsMark])
    }

    func watchTop() { watch(chain.disks[chain.top], chain.dataDisks[chain.top]) }

    /// Only one image at a time is written, the others keep what they hold (D8).
    private func watch(_ disk: SimDisk, _ data: SimDisk?) {
        for other in chain.disks { keep(other) }
        if let base = chain.base { keep(base) }
        let audit = OrderAudit(disk, data: data)
        disk.audit = audit
        disk.onEvent = { [self, unowned audit] event in
            if let broken = audit.broken { fail(Violation(broken, .unordered)) }
            if isPoint(event) { showPoint() }
        }
        data?.onEvent = { [self, unowned audit] event in
            audit.observe(data: event)
            if let broken = audit.broken { fail(Violation(broken, .unordered)) }
            if isPoint(event) { showPoint() }
        }
    }

    private func keep(_ disk: SimDisk) {
        disk.audit = nil
        disk.onEvent = { [self] event in
            if case .issued(let change) = event {
                fail(Violation("a disk that is only read is changed: \(change) (D8)"))
            }
        }
    }

    /// Closes the image while failures last, and opens it for reading once they are over.
    private func closeAtLast() async throws {
        do { try await chain.close(chain.top) } catch { return reported += 1 }
        oracle.closed()
        chain.faults.clear()
        for disk in chain.topDisks { disk.reopen() }
        try await chain.open(chain.top, readOnly: true)
    }

    /// Closes the top image, which leaves nothing to a flush that might come (O16).
    private func close() async throws {
        let disk = chain.disks[chain.top]
        let storing: [Verb] = chain.image.hasBitmaps ? [.bitmapsStore] : []
        verbs.begin(storing)
        try await chain.close(chain.top)
        verbs.end(storing)
        let left = chain.topDisks.flatMap(\.pending).filter { if case .discard = $0.change { false } else { true } }
        if let left = left.first { throw Violation("not durable when the image is closed: \(left) (O16)") }
        if let wrong = bitmaps.judge(closed: MiniCheck(disk.contents).bitmaps) { throw wrong }
        oracle.closed()
        vmState.closed()
    }

    /// At which events of the top disk a crash is worth a look; before a flush covers what is pending, where not told
    /// otherwise.
    public var isPoint: (SimDisk.Event) -> Bool = { event in
        if case .flushing = event { true } else { false }
    }

    func showPoint() {
        guard let onPoint, let point else { return }
        onPoint(point)
    }

    /// The machine as it is now; nil before there is an image.
    public var point: CrashPoint? {
        if let making {
            guard crashesCreation || mayFail else { return nil }
            return CrashPoint(
                disk: making.disk.snapshot, data: making.data?.snapshot, base: chain.base?.contents,
                below: making.below, oracle: making.oracle, snapshots: [], isMaking: true, beneath: beneath,
                dataNames: dataNames, verbs: verbs)
        }
        guard let disk = chain.disks.last else { return nil }
        return CrashPoint(
            disk: disk.snapshot, data: chain.dataDisks[chain.top]?.snapshot, base: chain.base?.contents,
            below: chain.disks.dropLast().map(\.contents),
            oracle: oracle, snapshots: snapshots, vmState: vmState, other: other, bitmaps: bitmaps,
            dataNames: dataNames, verbs: verbs)
    }

    // MARK: steps

    private func perform(_ step: Step) async throws {
        switch step.clipped(to: oracle.length) {
        case nil: break
        case .write(let range, let fua, let fill):
            let bytes = chain.shape.bytes(of: fill, count: Int(range.count))
            let flags = chain.shape.flags(of: fill, range, fua: fua, diskLength: oracle.length)
            await change(range, .write(bytes), isDurable: fua, flags.contains(.compressed) ? [.compress] : []) {
                (io) async throws(BlockError) in
                try await io.write(bytes, at: range.start, flags: flags)
            }
        case .writeZeros(let range):
            let bytes = [UInt8](repeating: 0, count: Int(range.count))
            await change(range, .zero, isDurable: false) { (io) async throws(BlockError) in
                try await io.write(bytes, at: range.start)
            }
        case .zero(let range, let mayUnmap, let fua):
            var flags: ZeroFlags = mayUnmap ? .mayUnmap : []
            if fua { flags.insert(.fua) }
            let chosen = flags
            await change(range, .zero, isDurable: fua) { (io) async throws(BlockError) in
                try await io.zero(range, flags: chosen)
            }
        case .discard(let range):
            await change(range, .discard, isDurable: false) { (io) async throws(BlockError) in
                try await io.discard(range)
            }
        case .read(let range): await read(range)
        case .status(let range):
            await admit(range, changes: false)
            begin(range, changes: false) { (io, _) async throws(BlockError) in _ = try await io.status(of: range) }
        case .flush: await flush()
        case .pause(let ms): await context.sleep(ms: ms)
        case .resize(let size): try await resize(to: max(512, size & ~511))
        case .snapshot(let size): try await snapshot(size: max(512, size & ~511))
        case .internalSnapshot: try await snapshotInside()
        case .snapshotCreate: try await createSnapshot()
        case .snapshotApply(let choice): try await applySnapshot(choice)
        case .snapshotDelete(let choice): try await deleteSnapshot(choice)
        case .vmState(let range, let fill): try await saveVMState(range, fill)
        case .amend(let choice): try await amend(choice)
        case .change(let amendment): try await amend(amendment)
        case .check: await check()
        case .refit(let size, let mode): try await refit(to: max(512, size & ~511), mode)
        case .reopen: try await reopen()
        case .bitmap(let step): try await change(step)
        case .compare:
            try await drain()
            try await compare()
        }
    }

    private func change(
        _ range: ByteRange, _ change: SectorOracle.Change, isDurable: Bool, _ verbs: [Verb] = [],
        _ body: @escaping (BlockIO) async throws(BlockError) -> Void
    ) async {
        await admit(range, changes: true)
        begin(range, changes: true, verbs + chain.shape.verbs) { [self] (io, request) async throws(BlockError) in
            oracle.issue(request, change, range)
            // An image that refuses changes is changed by none. What is compressed is read first, around it: where reading fails
            // nothing is changed, where anything else does it may be.
            let readsFirst = chain.shape.filter == .compress
            let changed = changedRange(range, change)
            if chain.takesChanges, !readsFirst { bitmaps.changed(changed) }
            do throws(BlockError) { try await body(io) } catch {
                if readsFirst, chain.takesChanges, chain.faults.firedKinds != [.read] {
                    // Of several clusters perhaps only the first was come to.
                    let unit = chain.shape.clusterSize
                    bitmaps.changed(changed.prefix(unit - changed.start % unit))
                }
                oracle.fail(request, range)
                throw error
            }
            if readsFirst { bitmaps.changed(changed) }
            oracle.complete(request, range, isDurable: isDurable)
            if isDurable { showPoint() }
        }
    }

    /// What a request may change. Of a discard only what the image can let go of gets through a filter.
    private func changedRange(_ range: ByteRange, _ change: SectorOracle.Change) -> ByteRange {
        guard case .discard = change, chain.shape.filter != .none else { return range }
        return range.shrunk(to: chain.shape.subclusterSize)
    }

    private func read(_ range: ByteRange) async {
        await admit(range, changes: false)
        let copies: [Verb] = chain.shape.filter == .copyOnRead ? [.copyOnRead] : []
        begin(range, changes: false, copies) { [self] (io, _) async throws(BlockError) in
            let bytes = try await io.bytes(at: range.start, count: Int(range.count))
            if let wrong = oracle.observe(bytes, at: range.start) { fail(wrong.told { "read \(range): \($0)" }) }
        }
    }

    private func flush() async {
        await admit(ByteRange(at: 0, count: 0), changes: false)
        begin(ByteRange(at: 0, count: 0), changes: false) { [self] (io, _) async throws(BlockError) in
            let (point, vmPoint) = (oracle.flushPoint, vmState.flushPoint)
            let hadFailed = flushFailed || chain.hasFailedFlush
            do throws(BlockError) { try await io.flush() } catch {
                flushFailed = flushFailed || chain.hasFailedFlush
                throw error
            }
            if hadFailed { fail(Violation("a flush succeeds after one that failed (D7)", .swallowed)) }
            oracle.flushed(point)
            vmState.flushed(vmPoint)
            showPoint()
        }
    }

    func resize(to size: UInt64) async throws {
        try await drain()
        if chain.image.header.version == 2, !snapshots.isEmpty {
            // Version 2 does not keep the size of an internal snapshot's disk.
            do throws(BlockError) { try await chain.io.resize(to: size) } catch {
                return error == .unsupported ? () : try excuse(error, "resize to \(size)")
            }
            guard size == oracle.length else {
                throw Violation("an image of version 2 with a snapshot gets a new size")
            }
        }
        // A disk of another size loses it.
        if size != oracle.length { vmState.forget() }
        let request = takeRequest()
        oracle.issueResize(request, to: size)
        do throws(BlockError) { try await chain.io.resize(to: size) } catch {
            oracle.endResize(request, hasFailed: true)
            oracle.observe(length: chain.io.length)
            bitmaps.resized(to: chain.io.length)
            try excuse(error, "resize to \(size)")
            return
        }
        oracle.endResize(request, hasFailed: false)
        bitmaps.resized(to: size)
        guard chain.io.length == size else { throw Violation("the length is \(chain.io.length)") }
    }

    private func snapshot(size: UInt64) async throws {
        guard program.shape.dataFile == .none else { return }
        try await drain()
        try await close()
        keep(chain.disks[chain.top])
        try await chain.open(chain.top, readOnly: true)
        let request = takeRequest()
        var resized = oracle
        resized.issueResize(request, to: size)
        resized.endResize(request, hasFailed: false)
        resized.closed()
        beneath = CrashPoint.Beneath(
            outcome: CrashPoint.Outcome(oracle: oracle, snapshots: snapshots, vmState: vmState), bitmaps: bitmaps)
        try await make(size: size, as: resized)
        vmState = VMStateOracle()
        snapshots = []
        bitmaps = BitmapOracle()
        oracle = resized
        flushFailed = false
    }

    /// Puts an internal snapshot into the closed top image by hand, where it has none and there is room for one.
    private func snapshotInside() async throws {
        guard snapshots.isEmpty, program.shape.dataFile == .none else { return }
        try await drain()
        try await close()
        let top = chain.top
        let image = chain.disks[top].contents
        if let forged = SnapshotForge.adding(to: image) {
            guard MiniCheck(forged).errors == MiniCheck(image).errors else {
                throw Violation("the snapshot made by hand is wrong: \(MiniCheck(forged).errors)")
            }
            chain.replace(top, with: forged)
            snapshots = SnapshotForge.snapshots(in: forged)
            watchTop()
        } else {
            chain.disks[top].reopen()
        }
        flushFailed = false
        try await chain.open(top, readOnly: false)
    }

    func reopen() async throws {
        try await drain()
        try await close()
        showPoint()
        for disk in chain.topDisks { disk.reopen() }
        flushFailed = false
        let opening = openingVerbs(chain.disks[chain.top].contents)
        verbs.begin(opening)
        try await chain.open(chain.top, readOnly: false)
        verbs.end(opening)
        try await compareVMState()
    }

    private func compare() async throws {
        let io = chain.io
        guard io.length == oracle.length else { throw Violation("length \(io.length), must be \(oracle.length)") }
        let bytes: [UInt8]
        do throws(BlockError) { bytes = try await io.bytes(at: 0, count: Int(io.length)) } catch {
            return try excuse(error, "compare")
        }
        if let wrong = oracle.observe(bytes, at: 0) { throw wrong.told { "compare: \($0)" } }
        try await compareVMState()
    }

    private func change(_ step: BitmapStep) async throws {
        try await drain()
        do throws(BlockError) { try await perform(step) } catch { try excuse(error, "\(step)") }
    }

    // MARK: requests

    /// Waits until a request may start: none under way shares a sector with it that either changes.
    func admit(_ range: ByteRange, changes: Bool) async {
        let sectors = Self.sectors(of: range)
        while running.count >= program.shape.depth
            || running.values.contains(where: { $0.sectors.overlaps(sectors) && ($0.changes || changes) })
        {
            await ended.wait()
        }
    }

    func begin(
        _ range: ByteRange, changes: Bool, _ verbs: [Verb] = [],
        _ body: @escaping (BlockIO, UInt64) async throws(BlockError) -> Void
    ) {
        let id = takeRequest()
        running[id] = (Self.sectors(of: range), changes)
        let io = chain.front
        self.verbs.begin(verbs)
        context.spawn { [self] in
            do throws(BlockError) { try await body(io, id) } catch {
                reported += 1
                if !mayFail { fail(Violation("a request on \(range) fails: \(error)")) }
            }
            running[id] = nil
            self.verbs.end(verbs)
            ended.wakeAll()
        }
    }

    private static func sectors(of range: ByteRange) -> ByteRange { range.grown(to: SectorOracle.sectorSize) ?? range }

    func takeRequest() -> UInt64 {
        nextRequest += 1
        return nextRequest
    }

    func excuse(_ error: BlockError, _ what: String) throws {
        reported += 1
        if let violation { throw violation }
        if !mayFail { throw Violation("\(what): \(error)") }
    }

    func fail(_ what: Violation) { violation = violation ?? what }

    func drain() async throws {
        while !running.isEmpty { await ended.wait() }
        if let violation { throw violation }
    }
}
