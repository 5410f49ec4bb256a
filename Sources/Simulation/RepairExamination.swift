import Block
public import BlockTestKit
import Bytes
public import Qcow2

/// Repairs a damaged image, and judges what came of it: nothing that could be read is lost, nothing is wrong any more, and
/// what the report said is what happened. Then the same with crashes at every point of the repair, and with each of its
/// I/Os failing; what is left is repaired again.
public struct RepairExamination {
    public let image: DamagedImage
    /// Crash states that one point may have.
    public var statesPerPoint = 12
    /// Every how many I/Os one fails; 0 is none.
    public var faultsEvery = 0
    /// Whether crashes are looked at.
    public var crashes = false
    public var disk = SimDisk.Options()

    public init(_ image: DamagedImage) { self.image = image }

    public struct Result: Sendable {
        /// Crash states that were judged.
        public var states = 0
        /// I/Os that failed.
        public var points = 0
        public var reported = 0
    }

    /// What a repair left, and what it had said.
    public struct Outcome {
        public let image: SparseBytes
        public let contents: DiskContents
        public let diagnosis: Diagnosis
    }

    public func run() throws(Violation) -> Result {
        do throws(Violation) {
            let before = DiskContents(image.damaged, over: image.base)
            guard let outcome = try repaired() else { return Result() }
            try RepairJudge(before, outcome, image.base).judge()
            var result = Result()
            if crashes { try crash(before, outcome, &result) }
            if faultsEvery > 0 { try fail(before, outcome, &result) }
            return result
        } catch { throw error.told { "\($0)\n\(image)" } }
    }

    /// The repair as nothing disturbs it; nil where the image is none, or where its report says that nothing helps.
    public func repaired() throws(Violation) -> Outcome? {
        let memory = MemoryStorage(image.damaged)
        var diagnosis: Diagnosis?
        do {
            _ = try SimulatedContext(seed: 1, order: .fifo).complete {
                try await Qcow2Check.check(memory, repair: .all, diagnosis: { diagnosis = $0 }) { _ in }
            }
        } catch {
            guard diagnosis == nil else { throw Violation("the repair fails: \(error)", .corrupt) }
            return nil
        }
        guard let diagnosis else { throw Violation("there is no report", .swallowed) }
        if diagnosis.isHopeless {
            guard memory.contents == image.damaged else { throw Violation("a hopeless image is changed", .corrupt) }
            return nil
        }
        return Outcome(
            image: memory.contents, contents: DiskContents(memory.contents, over: image.base), diagnosis: diagnosis)
    }

    // MARK: crashes

    private func crash(_ before: DiskContents, _ outcome: Outcome, _ result: inout Result) throws(Violation) {
        var known: Set<UInt64> = []
        var random = SeededRandom(seed: image.damaged.fingerprint)
        var violation: Violation?
        var states = 0
        try repair { disk in
            guard violation == nil else { return }
            let point = CrashPoint(
                disk: disk.snapshot, base: image.base, below: [], oracle: SectorOracle([]), snapshots: [])
            do throws(Violation) {
                try point.forEachState(budget: statesPerPoint, &random) { state throws(Violation) in
                    guard known.insert(state.image.fingerprint).inserted else { return }
                    states += 1
                    try judge(state, before, outcome)
                }
            } catch { violation = error }
        }
        result.states += states
        if let violation { throw violation }
    }

    /// Runs the repair on a simulated disk, and shows the disk at every event.
    private func repair(_ onEvent: @escaping (SimDisk) -> Void) throws(Violation) {
        let context = SimulatedContext(seed: 1)
        let disk = SimDisk(context, contents: image.damaged, self.disk)
        disk.onEvent = { [unowned disk] event in
            switch event {
            case .issued, .flushing, .flushed: onEvent(disk)
            default: break
            }
        }
        do {
            _ = try context.complete { try await Qcow2Check.check(disk, repair: .all) { _ in } }
        } catch { throw Violation("the repair fails: \(error)", .corrupt) }
        onEvent(disk)
        guard disk.pending.isEmpty else { throw Violation("the repair ends and is not durable (O16)") }
        // The order of completions must not matter.
        guard let other = try repaired(), disk.contents == other.image else {
            throw Violation("two repairs of one image differ")
        }
    }

    /// What a broken-off repair left: what could be read can be, and another repair ends as the first one would have.
    private func judge(_ state: CrashState, _ before: DiskContents, _ outcome: Outcome) throws(Violation) {
        do throws(Violation) {
            try compare(DiskContents(state.image, over: image.base), before, outcome, isDone: false)
            let memory = MemoryStorage(state.image)
            do {
                _ = try SimulatedContext(seed: 1, order: .fifo).complete {
                    try await Qcow2Check.check(memory, repair: .all) { _ in }
                }
            } catch { throw Violation("a second repair fails: \(error)", .corrupt) }
            try RepairJudge.judgeMetadata(memory.contents)
            try compare(DiskContents(memory.contents, over: image.base), before, outcome, isDone: true)
        } catch { throw error.told(in: state) { "\($0)\n\(state.choice) of \(state.point.disk.text)" } }
    }

    private func compare(
        _ found: DiskContents, _ before: DiskContents, _ outcome: Outcome, isDone: Bool
    ) throws(Violation) {
        try compare("the disk", found.active, before.active, outcome.contents.active, isDone)
        guard let old = before.snapshot, outcome.diagnosis.removedSnapshots.isEmpty,
            outcome.diagnosis.missingSnapshots == 0,
            let end = outcome.contents.snapshot
        else { return }
        try compare("the snapshot", found.snapshot ?? [], old, end, isDone)
    }

    private func compare(
        _ what: String, _ found: [[UInt8]?], _ before: [[UInt8]?], _ end: [[UInt8]?], _ isDone: Bool
    ) throws(Violation) {
        // What did not open, and was not read before either, has no size.
        if !isDone, found.isEmpty, before.isEmpty { return }
        guard found.count == end.count else { throw Violation("\(what) has another size", .corrupt) }
        for (index, now) in found.enumerated() where now != end[index] {
            // In between, what cannot be read may still be so.
            if !isDone, now == nil, before.count <= index || before[index] == nil { continue }
            throw Violation("\(what): cluster \(index) is \(now == nil ? "gone" : "another")", .lost)
        }
    }

    // MARK: failed I/Os

    private func fail(_ before: DiskContents, _ outcome: Outcome, _ result: inout Result) throws(Violation) {
        for mode in FaultExamination.Mode.all {
            var nth = 0
            while try fail(mode, nth: nth, before, outcome, &result) { nth += faultsEvery }
        }
    }

    /// Whether there was an I/O to fail.
    private func fail(
        _ mode: FaultExamination.Mode, nth: Int, _ before: DiskContents, _ outcome: Outcome, _ result: inout Result
    ) throws(Violation) -> Bool {
        let context = SimulatedContext(seed: 1)
        let disk = SimDisk(context, contents: image.damaged, self.disk)
        disk.faults.add(
            Fault(Set(RequestKind.allCases), nth: nth, forever: mode.forever, error: mode.error, effect: mode.effect))
        var found: Qcow2Check.Result?
        do {
            found = try context.complete { try await Qcow2Check.check(disk, repair: .all) { _ in } }
        } catch { result.reported += 1 }
        guard disk.faults.fired > 0 else { return false }
        result.points += 1
        if let found {
            // An error that nobody is told of must have made no difference.
            let isTold = found.checkErrors > 0 || found.corruptions > 0
            if isTold { result.reported += 1 }
            guard isTold || MiniCheck(disk.contents).isClean else {
                throw Violation("I/O \(nth) fails (\(mode)): nobody is told", .swallowed)
            }
        }
        let point = CrashPoint(
            disk: disk.snapshot, base: image.base, below: [], oracle: SectorOracle([]), snapshots: [])
        var random = SeededRandom(seed: UInt64(nth))
        do throws(Violation) {
            try point.forEachState(budget: 3, &random) { state throws(Violation) in
                try judge(state, before, outcome)
                result.states += 1
            }
        } catch { throw error.told { "I/O \(nth) fails (\(mode)): \($0)" } }
        return true
    }
}
