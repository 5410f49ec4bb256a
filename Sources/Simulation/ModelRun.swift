import Block
import BlockTestKit
import Bytes
import Codecs
import Qcow2

/// Runs a program on a chain of qcow2 images over simulated disks, against a flat model of what must be read.
public final class ModelRun {
    /// What one image of the chain must read as for ever.
    private struct Promise {
        /// Once it is a backing file.
        var frozen: DiskModel?
        /// Its internal snapshot.
        var snapshot: DiskModel?
    }

    public let program: Program
    let context: SimulatedContext
    private var random: SeededRandom
    private let chain: SimulatedChain
    private var promises: [Promise] = []
    private var model: DiskModel
    private var running: [UInt64: (range: ByteRange, changes: Bool)] = [:]
    private var nextRequest: UInt64 = 0
    private let ended = WaitQueue()
    private var failure: Violation?
    /// Requests that a full disk refused.
    public private(set) var refusals = 0
    /// Internal snapshots that were found as they were made.
    public private(set) var snapshotsCompared = 0
    /// Prints each step as it begins.
    public var trace = false

    private var shape: Shape { program.shape }
    private var io: BlockIO { chain.io }

    public init(_ program: Program) {
        self.program = program
        context = SimulatedContext(seed: program.seed)
        random = SeededRandom(seed: program.seed ^ 0xBA5E)
        chain = SimulatedChain(context, program.shape, seed: program.seed)
        model = DiskModel(length: 0)
    }

    public func run() throws(Violation) {
        var step = -1
        do {
            try context.complete { [self] in
                try await begin()
                for (index, next) in program.steps.enumerated() {
                    step = index
                    if trace { print(index, next) }
                    try await perform(next)
                    if let failure { throw failure }
                }
                step = program.steps.count
                try await finish()
            }
        } catch {
            throw Violation("step \(step): \(error)\n\(program)")
        }
    }

    // MARK: the chain

    private func begin() async throws {
        model = DiskModel(length: shape.size)
        if shape.backing != .none {
            let length =
                switch shape.backing {
                case .shorter: max(512, shape.size / 2 & ~511)
                case .longer: shape.size + 5 * 4096
                default: shape.size
                }
            var contents = SparseBytes(length: length)
            for _ in 0..<6 {
                let offset = random.below(length)
                let bytes = random.bytes(Int(min(length - offset, 1 + random.below(200_000))))
                contents.write(bytes.rawBytes, at: offset)
            }
            chain.setBase(contents)
            model = DiskModel(contents).overlay(length: shape.size)
        }
        try await push(size: shape.size)
    }

    private func push(size: UInt64) async throws {
        try await chain.push(size: size)
        promises.append(Promise())
        watch()
    }

    /// Every write to the top image is held against the rules of order.
    private func watch() {
        for disk in chain.disks { disk.audit = nil }
        let disk = chain.disks[chain.top]
        disk.audit = OrderAudit(disk, data: chain.dataDisks[chain.top])
    }

    /// Closes an image and looks at what it left behind.
    private func close(_ index: Int) async throws {
        guard chain.io(index) != nil else { return }
        try await chain.close(index)
        let disk = chain.disks[index]
        for disk in [disk, chain.dataDisks[index]].compactMap({ $0 }) where disk.durable != disk.contents {
            throw Violation("a closed image is not durable")
        }
        let check = MiniCheck(disk.contents)
        guard check.isClean, !check.isDirty else {
            throw Violation(
                "layer \(index) after close: \(check.errors), \(check.leaks) leaks, dirty \(check.isDirty)")
        }
    }

    private func reopen() async throws {
        for index in chain.disks.indices.reversed() { try await close(index) }
        for index in chain.disks.indices { try await chain.open(index, readOnly: index < chain.top) }
        watch()
    }

    private func snapshot(size: UInt64) async throws {
        try await close(chain.top)
        promises[chain.top].frozen = model
        try await chain.open(chain.top, readOnly: true)
        model = model.overlay(length: min(size, model.length))
        model.resize(to: size)
        try await push(size: size)
    }

    /// Closes the top image, puts an internal snapshot into it by hand, and opens it again.
    private func snapshotInside() async throws {
        let top = chain.top
        guard promises[top].snapshot == nil, shape.dataFile == .none else { return }
        try await close(top)
        if let forged = SnapshotForge.adding(to: chain.disks[top].contents) {
            chain.replace(top, with: forged)
            promises[top].snapshot = model
            let check = MiniCheck(forged)
            guard check.isClean else { throw Violation("the forged snapshot is wrong: \(check.errors)") }
        }
        try await chain.open(top, readOnly: false)
        watch()
    }

    // MARK: steps

    private func perform(_ step: Step) async throws {
        switch step.clipped(to: model.length) {
        case nil: break
        case .write(let range, let fua, let fill):
            let bytes = shape.bytes(of: fill, count: Int(range.count))
            let flags = shape.flags(of: fill, range, fua: fua, diskLength: model.length)
            await change(range, to: bytes) { (io) async throws(BlockError) in
                try await io.write(bytes, at: range.start, flags: flags)
            }
        case .writeZeros(let range):
            let bytes = [UInt8](repeating: 0, count: Int(range.count))
            await change(range, to: bytes) { (io) async throws(BlockError) in
                try await io.write(bytes, at: range.start)
            }
        case .zero(let range, let mayUnmap, let fua):
            var flags: ZeroFlags = mayUnmap ? .mayUnmap : []
            if fua { flags.insert(.fua) }
            let chosen = flags
            await change(range, to: [UInt8](repeating: 0, count: Int(range.count))) { (io) async throws(BlockError) in
                try await io.zero(range, flags: chosen)
            }
        case .discard(let range):
            await admit(range, changes: true)
            start(range, changes: true) { [self] (io) async throws(BlockError) in
                do throws(BlockError) { try await io.discard(range) } catch {
                    // Advice may be left undone, on a full disk too.
                    if error != .noSpace || shape.room == nil { throw error }
                }
                model.discard(range)
            }
        case .read(let range):
            await admit(range, changes: false)
            start(range, changes: false) { [self] (io) async throws(BlockError) in
                let bytes = try await io.bytes(at: range.start, count: Int(range.count))
                if let mismatch = model.observe(bytes, at: range.start) { fail("read \(range): \(mismatch)") }
            }
        case .status(let range):
            await admit(range, changes: false)
            start(range, changes: false) { [self] (io) async throws(BlockError) in try await status(range, io) }
        case .flush:
            start(ByteRange(at: 0, count: 0), changes: false) { (io) async throws(BlockError) in try await io.flush() }
        case .resize(let size):
            try await drain()
            try await resize(to: size)
            guard io.length == model.length else { throw Violation("the length is \(io.length)") }
        case .snapshot(let size):
            try await drain()
            try await snapshot(size: size)
        case .bitmap: break
        case .internalSnapshot:
            try await drain()
            try await snapshotInside()
        // What these do is the crash runs' to judge; no random program here has them.
        case .snapshotCreate, .snapshotApply, .snapshotDelete, .vmState, .amend, .change, .check, .refit: break
        case .reopen:
            try await drain()
            try await reopen()
        case .pause(let ms): await context.sleep(ms: ms)
        case .compare:
            try await drain()
            try await compare(io, &model)
        }
    }

    /// Starts a change of the range; where the disk is full it may fail, and then each byte is old or new.
    private func change(
        _ range: ByteRange, to bytes: [UInt8], _ body: @escaping (BlockIO) async throws(BlockError) -> Void
    ) async {
        await admit(range, changes: true)
        start(range, changes: true) { [self] (io) async throws(BlockError) in
            do throws(BlockError) {
                try await body(io)
                model.write(bytes, at: range.start)
            } catch {
                guard error == .noSpace, shape.room != nil else { throw error }
                refusals += 1
                let found = try await io.bytes(at: range.start, count: Int(range.count))
                if let mismatch = model.observe(found, at: range.start, afterFailedChangeTo: bytes) {
                    fail("after a refused change of \(range): \(mismatch)")
                }
            }
        }
    }

    private func resize(to size: UInt64) async throws {
        let old = model.length
        do throws(BlockError) { try await io.resize(to: size) } catch {
            // Version 2 cannot keep another size for a snapshot.
            if error == .unsupported, shape.version == 2, promises[chain.top].snapshot != nil { return }
            guard error == .noSpace, shape.room != nil else { throw error }
            refusals += 1
            guard io.length == size, size > old else { return }
            // The length changed, but what was gained could not be zeroed.
            model.resize(to: size)
            var offset = old
            while offset < size {
                let count = min(1 << 20, size - offset)
                model.write(try await io.bytes(at: offset, count: Int(count)), at: offset)
                offset += count
            }
            return
        }
        model.resize(to: size)
    }

    private func status(_ range: ByteRange, _ io: BlockIO) async throws(BlockError) {
        let status = try await io.status(of: range)
        let part = range.prefix(status.count)
        if status.count == 0 { fail("a status of \(range) covers nothing") }
        guard status.flags.contains(.zero), !part.isEmpty else { return }
        let zeros = [UInt8](repeating: 0, count: Int(part.count))
        if let mismatch = model.mismatch(zeros, at: part.start) { fail("status says zero at \(part): \(mismatch)") }
    }

    private func fail(_ what: String) { failure = failure ?? Violation(what) }

    /// Waits until a request may start: no change under way overlaps it, nor it one under way.
    private func admit(_ range: ByteRange, changes: Bool) async {
        while running.count >= shape.depth
            || running.values.contains(where: { $0.range.overlaps(range) && ($0.changes || changes) })
        {
            await ended.wait()
        }
    }

    private func start(
        _ range: ByteRange, changes: Bool, _ body: @escaping (BlockIO) async throws(BlockError) -> Void
    ) {
        let id = nextRequest
        nextRequest += 1
        running[id] = (range, changes)
        let io = io
        context.spawn { [self] in
            do throws(BlockError) { try await body(io) } catch { fail("request on \(range) fails with \(error)") }
            running[id] = nil
            ended.wakeAll()
        }
    }

    private func drain() async throws {
        while !running.isEmpty { await ended.wait() }
        if let failure { throw failure }
    }

    private func compare(_ storage: any Storage, _ model: inout DiskModel) async throws {
        guard storage.length == model.length else { throw Violation("length \(storage.length)") }
        var offset: UInt64 = 0
        while offset < model.length {
            let count = min(1 << 20, model.length - offset)
            let bytes = try await storage.bytes(at: offset, count: Int(count))
            if let mismatch = model.observe(bytes, at: offset) { throw Violation("compare: \(mismatch)") }
            offset += count
        }
    }

    // MARK: the end

    /// Compares everything, closes, checks, and compares again after opening: the top and every layer below.
    private func finish() async throws {
        try await drain()
        try await compare(io, &model)
        try await reopen()
        try await compare(io, &model)
        for index in promises.indices.dropLast() {
            guard var frozen = promises[index].frozen, let below = chain.io(index) else { continue }
            try await compare(below, &frozen)
        }
        for index in promises.indices.reversed() { try await close(index) }
        // The same by an independent reading of the bytes.
        var contents = chain.base?.contents
        for (index, (disk, promise)) in zip(chain.disks, promises).enumerated() {
            if let snapshot = promise.snapshot {
                let old = MiniCheck(SnapshotForge.reverting(disk.contents)).contents(
                    over: contents, decode: Self.inflate)
                guard old.length == snapshot.length else { throw Violation("the snapshot's size changed") }
                if let mismatch = snapshot.mismatch(old.array, at: 0) {
                    throw Violation("the internal snapshot changed: \(mismatch)")
                }
                snapshotsCompared += 1
            }
            let isAlone = contents == nil
            let data = chain.dataDisks[index]?.contents
            contents = MiniCheck(disk.contents).contents(over: contents, data: data, decode: Self.inflate)
            guard shape.dataFile == .raw, isAlone, let contents, let data else { continue }
            guard data.length == contents.length, data.array == contents.array else {
                throw Violation("a raw data file does not read as the disk")
            }
        }
        if let bytes = contents?.array, let mismatch = model.mismatch(bytes, at: 0) {
            throw Violation("read by the independent checker: \(mismatch)")
        }
    }

    /// A compressed cluster's bytes; of one that is damaged none.
    private static func inflate(_ input: [UInt8], _ clusterSize: Int) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: clusterSize)
        do throws(CodecError) {
            try output.withMutableBytes { (span: inout MutableRawSpan) throws(CodecError) in
                try ClusterDecoder().inflate(input.rawBytes, into: &span)
            }
        } catch { return [] }
        return output
    }
}
