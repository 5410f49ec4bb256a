import Block
import BlockTestKit
import Bytes

/// A program that another engine runs, one request after the other, while its writes are recorded: they are done again on a
/// simulated disk, which knows the crash states, and the oracle is told of the requests.
public final class RecordedRun {
    private let context = SimulatedContext(seed: 1, order: .fifo)
    private let start: StartImage
    private let disk: SimDisk
    private let io: BlockIO
    private var oracle: SectorOracle
    private var nextRequest: UInt64 = 0
    private var length: UInt64 { UInt64(start.contents.count) }
    /// Shown the machine after every write, and after every request.
    private let onPoint: (CrashPoint) throws(Violation) -> Void

    public init(_ start: StartImage, onPoint: @escaping (CrashPoint) throws(Violation) -> Void) {
        self.start = start
        self.onPoint = onPoint
        disk = SimDisk(
            context, contents: start.image ?? SparseBytes(), .init(latencyNs: 1...1, discarded: .zeros))
        io = BlockIO(context: context, driver: .storage(disk))
        oracle = SectorOracle(start.contents)
    }

    /// One request of the client; `body` has the other engine do it and answers what it wrote meanwhile.
    public func perform(_ step: Step, _ body: (Step) throws -> [(WriteLog.Entry, [UInt8])]) throws {
        guard let step = step.clipped(to: length), let change = Self.change(step) else { return }
        nextRequest += 1
        let flushPoint = oracle.flushPoint
        if let (kind, range, _) = change { oracle.issue(nextRequest, kind, range) }
        for (entry, bytes) in try body(step) {
            try replay(entry, bytes)
            try showPoint()
        }
        if let (_, range, isDurable) = change {
            oracle.complete(nextRequest, range, isDurable: isDurable)
        } else {
            oracle.flushed(flushPoint)
        }
        try showPoint()
    }

    /// What a step changes, and whether it is durable then; an inner nil is a flush, an outer one a step that is left out.
    private static func change(_ step: Step) -> (kind: SectorOracle.Change, range: ByteRange, isDurable: Bool)?? {
        switch step {
        case .write(let range, let fua, let fill):
            var source = SeededRandom(seed: fill)
            return (.write(source.bytes(Int(range.count))), range, fua)
        case .writeZeros(let range): return (.zero, range, false)
        case .zero(let range, _, let fua): return (.zero, range, fua)
        case .discard(let range): return (.discard, range, false)
        case .flush: return .some(nil)
        default: return nil
        }
    }

    private func replay(_ entry: WriteLog.Entry, _ bytes: [UInt8]) throws {
        try context.complete { [io] in
            if entry.isFlush { try await io.flush() }
            if entry.range.isEmpty { return }
            if entry.isDiscard {
                try await io.discard(entry.range)
            } else {
                try await io.write(bytes, at: entry.range.start, flags: entry.isForced ? .fua : [])
            }
        }
    }

    private func showPoint() throws(Violation) {
        try onPoint(
            CrashPoint(
                disk: disk.snapshot, base: start.base, below: [], oracle: oracle, snapshots: start.snapshots))
    }
}
