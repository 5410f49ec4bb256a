public import BlockTestKit

/// The moment of a crash: the disk that was written, everything below it, and what the guest's disk may read as then.
public struct CrashPoint: Sendable {
    public let disk: SimDisk.Snapshot
    /// The disk of its data, where that lies apart.
    public let data: SimDisk.Snapshot?
    /// The raw disk at the bottom.
    public let base: SparseBytes?
    /// The qcow2 images between, from the bottom; they are not written.
    public let below: [SparseBytes]
    public let oracle: SectorOracle
    /// What the internal snapshots of the top image keep.
    public let snapshots: [KeptSnapshot]
    /// What a machine's state reads as, where one was saved.
    public let vmState: VMStateOracle
    /// What the disk and the snapshots may be as well, all of it at once: what a step that is under way makes of them.
    public var other: Outcome?
    /// What the top image's bitmaps must have marked.
    public let bitmaps: BitmapOracle
    /// The image is being made: there may be none yet.
    public let isMaking: Bool
    /// What the machine has then instead, where another image lies below.
    public let beneath: Beneath?
    /// The names that the image may have for the file with its data; none where there is no such file.
    public let dataNames: Set<String>
    /// What of all that can be done to an image has begun.
    public let verbs: VerbProgress

    /// A state of the disk and of what goes with it: the internal snapshots, and a machine's state.
    public struct Outcome: Sendable {
        public var oracle: SectorOracle
        public var snapshots: [KeptSnapshot]
        public var vmState: VMStateOracle

        public init(oracle: SectorOracle, snapshots: [KeptSnapshot], vmState: VMStateOracle = VMStateOracle()) {
            (self.oracle, self.snapshots, self.vmState) = (oracle, snapshots, vmState)
        }

        /// What is wrong about what was found, or nil.
        func judge(_ found: CrashJudge.Found) -> Violation? {
            guard found.snapshots == snapshots else {
                let ids = (found.snapshots.map(\.id), snapshots.map(\.id))
                return Violation("D5: internal snapshots \(ids.0) are not the \(ids.1) that were made", .corrupt)
            }
            return oracle.judge(afterCrash: found.contents) ?? vmState.judge(afterCrash: found.vmState)
        }
    }

    /// The image that another is made on.
    public struct Beneath: Sendable {
        var outcome: Outcome
        var bitmaps: BitmapOracle
    }

    /// What is wrong about what was found after a crash here, or nil.
    func judge(_ found: CrashJudge.Found) -> Violation? {
        let outcome = Outcome(oracle: oracle, snapshots: snapshots, vmState: vmState)
        guard let wrong = outcome.judge(found) else { return nil }
        return other.map { $0.judge(found) } ?? wrong
    }

    public init(
        disk: SimDisk.Snapshot, data: SimDisk.Snapshot? = nil, base: SparseBytes?, below: [SparseBytes],
        oracle: SectorOracle,
        snapshots: [KeptSnapshot], vmState: VMStateOracle = VMStateOracle(), other: Outcome? = nil,
        bitmaps: BitmapOracle = BitmapOracle(), isMaking: Bool = false, beneath: Beneath? = nil,
        dataNames: Set<String> = [], verbs: VerbProgress = VerbProgress()
    ) {
        self.disk = disk
        self.data = data
        self.base = base
        self.below = below
        self.oracle = oracle
        self.snapshots = snapshots
        self.vmState = vmState
        self.other = other
        self.bitmaps = bitmaps
        (self.isMaking, self.beneath, self.dataNames, self.verbs) = (isMaking, beneath, dataNames, verbs)
    }
}

/// What a machine finds after a crash.
public struct CrashState: Sendable {
    public let image: SparseBytes
    /// The file for its data, where that lies apart.
    public let data: SparseBytes?
    public let point: CrashPoint
    /// Which pending changes were kept, for the report.
    public var choice: String { text() }
    private let text: @Sendable () -> String

    public init(
        image: SparseBytes, data: SparseBytes? = nil, point: CrashPoint,
        choice: @autoclosure @escaping @Sendable () -> String
    ) {
        (self.image, self.data, self.point, text) = (image, data, point, choice)
    }
}

extension CrashPoint {
    /// A change that is not durable: which disk's, and its place among those of that disk.
    private struct Change {
        let isOfData: Bool
        let index: Int
        let operation: SimDisk.Operation
    }

    /// What is not durable, in the order in which it came about.
    private var changes: [Change] {
        let own = disk.pending.enumerated().map { Change(isOfData: false, index: $0, operation: $1) }
        guard let data else { return own }
        let others = data.pending.enumerated().map { Change(isOfData: true, index: $0, operation: $1) }
        return (own + others).sorted {
            ($0.operation.completedNs ?? .max, $0.operation.issuedNs)
                < ($1.operation.completedNs ?? .max, $1.operation.issuedNs)
        }
    }

    /// The machine that has no image on top yet: what lies below, as it is; nil where that is no image.
    func stateBeneath() -> CrashState? {
        guard let image = below.last else { return nil }
        let point = CrashPoint(disk: disk, base: base, below: below.dropLast(), oracle: oracle, snapshots: [])
        return CrashState(image: image, point: point, choice: "below what is being made")
    }

    /// What is left where only the process ends: everything that completed.
    public var killed: CrashState {
        let changes = changes
        return state(changes.filter { $0.operation.completedNs != nil }, "what completed")
    }

    /// The crash states of this point, at most `budget`: all subsets of the pending changes where they are few, else
    /// none, all, prefixes, single omissions, single inclusions and random ones; for each one in which its last change
    /// is torn.
    public func forEachState<Failure: Error>(
        budget: Int, _ random: inout SeededRandom, _ body: (CrashState) throws(Failure) -> Void
    ) throws(Failure) {
        let changes = changes
        let count = changes.count
        var choices: [[Int]] = []
        if count <= 10, 1 << count <= budget {
            choices = (0..<1 << count).map { mask in (0..<count).filter { mask >> $0 & 1 == 1 } }
        } else {
            let all = Array(0..<count)
            choices = [[], all]
            choices += (1..<count).map { Array(all.prefix($0)) }
            choices += all.map { omitted in all.filter { $0 != omitted } }
            choices += all.map { [$0] }
            while choices.count > budget { choices.remove(at: 2 + random.below(choices.count - 2)) }
            while choices.count < budget { choices.append(all.filter { _ in random.chance(50) }) }
        }
        for choice in choices {
            let kept = choice.map { changes[$0] }
            try body(state(kept, "kept \(choice) of \(count)"))
            guard let last = kept.last, let disk = last.isOfData ? data : disk,
                let sectors = disk.tear(last.index, &random)
            else { continue }
            let text: @Sendable () -> String = {
                "kept \(choice) of \(count), of the last only sectors \(sectors.sorted())"
            }
            try body(state(kept, text(), torn: sectors))
        }
    }

    /// The state with some changes, of the last of them perhaps only some sectors.
    private func state(
        _ kept: [Change], _ choice: @autoclosure @escaping @Sendable () -> String, torn: Set<UInt64>? = nil
    ) -> CrashState {
        func image(_ disk: SimDisk.Snapshot, isOfData: Bool) -> SparseBytes {
            let mine = kept.filter { $0.isOfData == isOfData }
            guard let torn, let last = kept.last, last.isOfData == isOfData else {
                return disk.image(keeping: mine.map(\.index))
            }
            return disk.image(keeping: mine.map(\.index), torn: [last.index: torn])
        }
        return CrashState(
            image: image(disk, isOfData: false), data: data.map { image($0, isOfData: true) }, point: self,
            choice: choice())
    }

    /// What is not durable, for a report.
    var text: String { disk.text + (data.map { "\nof data:\($0.text)" } ?? "") }
}
