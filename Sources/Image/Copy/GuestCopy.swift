import Block
import Bytes
import Digests

/// Copies a guest's disk from a source to a target: several workers, each with a buffer of its own, read ahead of the one
/// whose turn it is to write. What is known to read as zeros is not read.
///
/// Memory: `workers` buffers of `bufferSize`, and what the target's compression has under way (4 MiB and a little).
final class GuestCopy {
    struct Options {
        /// 1 to 16, as many pieces are under way at once.
        var workers = 8
        /// Whether pieces are written in the order of the disk.
        var isOrdered = true
        /// Data comes in whole units of so many bytes, but for the disk's end: clusters of a compressed target.
        var unit: UInt64 = 1
        /// Zeros are read and written like data.
        var copiesZeros = false
        /// Bytes a second that are written; nil for as many as can be.
        var rate: UInt64?
    }

    /// Data is read and written in pieces of at most this many bytes.
    static let bufferSize: UInt64 = 2 << 20

    private let context: any IOContext
    private let source: any CopySource
    private let target: any CopyTarget
    private let options: Options
    private let digest: RunningHash?
    private let progress: (Double) -> Void
    /// Bytes of data that there are, where somebody wants to know how far it is.
    private var dataBytes: UInt64 = 0
    private var dataDone: UInt64 = 0

    private let claims = AsyncLock()
    /// Where the next piece begins.
    private var position: UInt64 = 0
    /// Where the next piece to be written begins.
    private var turn: UInt64 = 0
    private let turns = WaitQueue()
    private var hasEnded = false
    private var failure: ImageError?
    private var running = 0
    private let ended = Parking()
    private var nextWriteNs: UInt64 = 0

    init(
        _ context: any IOContext, from source: any CopySource, to target: any CopyTarget, _ options: Options,
        digest: RunningHash? = nil, progress: @escaping (Double) -> Void = { _ in }
    ) {
        self.context = context
        self.source = source
        self.target = target
        self.options = options
        self.digest = digest
        self.progress = progress
    }

    private var isOrdered: Bool { options.isOrdered || digest != nil || source.isStream }

    /// Copies all of the disk. `tellsProgress`: the map is walked beforehand, to know how much data there is.
    func run(tellsProgress: Bool) async throws(ImageError) {
        if tellsProgress, let length = source.length, !source.isStream { try await measure(length) }
        let workers = source.isStream ? 1 : max(1, options.workers)
        running = workers
        for _ in 0..<workers {
            context.spawn {
                await self.work()
                self.running -= 1
                self.ended.wake()
            }
        }
        while running > 0 { await ended.park() }
        if let failure { throw failure }
        do { try await target.end(at: position) } catch { throw Self.writeFailure(position, error) }
    }

    private func measure(_ length: UInt64) async throws(ImageError) {
        var position: UInt64 = 0
        while position < length {
            let part = try await source.run(at: position)
            if part.kind == .data || options.copiesZeros && part.kind == .zero { dataBytes += part.range.count }
            position = part.range.end
        }
    }

    private func work() async {
        var buffer = AlignedBuffer(byteCount: Int(Self.bufferSize))
        var span = buffer.mutableBytes
        do throws(ImageError) {
            while failure == nil {
                guard let part = try await next(into: &span) else { break }
                try await write(part, span.bytes.extracting(0..<(part.kind == .data ? Int(part.range.count) : 0)))
            }
        } catch { failure = failure ?? error }
        if failure != nil { turns.wakeAll() }
    }

    // MARK: pieces

    /// The next piece, read where it is data; nil at the end.
    private func next(into buffer: inout MutableRawSpan) async throws(ImageError) -> CopyPart? {
        await claims.lock()
        var isLocked = true
        defer { if isLocked { claims.unlock() } }
        guard failure == nil, !hasEnded, position < source.length ?? .max else { return nil }
        var part = try await piece()
        position = part.range.end
        // What comes front to back is read before the next piece is asked for.
        if !source.isStream {
            isLocked = false
            claims.unlock()
        }
        if part.kind == .zero, options.copiesZeros {
            part.kind = .data
            var zeros = buffer._mutatingExtracting(0..<Int(part.range.count))
            zeros.fill()
            tell(part)
        } else if part.kind == .data {
            tell(part)
            var data = buffer._mutatingExtracting(0..<Int(part.range.count))
            let count = try await source.read(at: part.range.start, into: &data)
            if count < data.byteCount {
                hasEnded = true
                position = part.range.start + UInt64(count)
                part.range = part.range.prefix(UInt64(count))
                if count == 0 { return nil }
            }
        }
        return part
    }

    private func tell(_ part: CopyPart) {
        guard dataBytes > 0 else { return }
        dataDone += part.range.count
        progress(Double(dataDone) / Double(dataBytes))
    }

    /// What comes next: a run of zeros, or as much data as a buffer holds, of one run or several.
    private func piece() async throws(ImageError) -> CopyPart {
        let first = try await source.run(at: position)
        let end = source.length ?? .max
        if first.kind != .data {
            let whole = wholeUnits(to: first.range.end, end)
            guard whole <= position else {
                let limit = options.copiesZeros ? Self.bufferSize : .max
                return CopyPart(range: ByteRange(from: position, to: whole).prefix(limit), kind: first.kind)
            }
        }
        let limit = min(end, position.addingReportingOverflow(max(Self.bufferSize, options.unit)).partialValue)
        var next = first.range.end
        while next < limit {
            let run = try await source.run(at: next)
            if run.kind != .data {
                let data = min(end, next.roundedUp(to: options.unit) ?? end)
                // Zeros are left out where they are whole units.
                if wholeUnits(to: run.range.end, end) > data || data >= end { return piece(to: min(data, limit)) }
            }
            next = run.range.end
        }
        return piece(to: limit)
    }

    private func piece(to end: UInt64) -> CopyPart {
        CopyPart(range: ByteRange(from: position, to: end), kind: .data)
    }

    /// How far whole units reach; the last one ends with the disk.
    private func wholeUnits(to end: UInt64, _ length: UInt64) -> UInt64 {
        end >= length ? length : end.roundedDown(to: options.unit)
    }

    // MARK: writing

    private static func writeFailure(_ position: UInt64, _ error: BlockError) -> ImageError {
        ImageError("error while writing at byte \(position): \(error.sentence)")
    }

    private func write(_ part: CopyPart, _ bytes: RawSpan) async throws(ImageError) {
        if isOrdered {
            while turn != part.range.start {
                if failure != nil { return }
                await turns.wait()
            }
        }
        if failure != nil { return }
        if let digest { try await add(part, bytes, to: digest) }
        do throws(BlockError) {
            switch part.kind {
            case .data:
                await keepRate(part.range.count)
                try await target.store(bytes, at: part.range.start)
            case .zero: try await target.zero(part.range)
            case .backing: try await target.leave(part.range)
            }
        } catch { throw Self.writeFailure(part.range.start, error) }
        turn = part.range.end
        turns.wakeAll()
    }

    /// Waits until so many bytes more are within the rate.
    private func keepRate(_ count: UInt64) async {
        guard let rate = options.rate, rate > 0 else { return }
        let now = context.nowNs
        let begin = max(now, nextWriteNs)
        nextWriteNs = begin + UInt64(Double(count) / Double(rate) * 1e9)
        if begin > now { await context.sleep(ms: (begin - now + 999_999) / 1_000_000) }
    }

    /// The digest is of all that the guest reads, whatever the target does with it.
    private func add(_ part: CopyPart, _ bytes: RawSpan, to digest: RunningHash) async throws(ImageError) {
        guard part.kind != .data else { return digest.add(bytes) }
        var buffer = AlignedBuffer(byteCount: Int(min(part.range.count, 1 << 20)))
        var rest = part.range
        while !rest.isEmpty {
            let piece = rest.prefix(UInt64(buffer.byteCount))
            if part.kind == .backing {
                var span = buffer.mutableBytes
                var target = span._mutatingExtracting(0..<Int(piece.count))
                _ = try await source.read(at: piece.start, into: &target)
            }
            digest.add(buffer.bytes.extracting(0..<Int(piece.count)))
            rest = rest.dropping(piece.count)
            // Zeros are many, and nothing else would let others have their turn.
            await context.yield()
        }
    }
}
