public import BlockTestKit

/// The moment of a crash: the disk that was written, everything below it, and what the guest's disk may read as then.
public struct CrashPoint: Sendable {
    public let disk: SimDisk.Snapshot
    /// The raw disk at the bottom.
    public let base: SparseBytes?
    /// The qcow2 images between, from the bottom; they are not written.
    public let below: [SparseBytes]
    public let oracle: SectorOracle
    /// What the internal snapshots of the top image keep.
    public let snapshots: [KeptSnapshot]
    /// What the disk and the snapshots may be as well, all of it at once: what a step that is under way makes of them.
    public var other: Outcome?
    /// What the top image's bitmaps must have marked.
    public let bitmaps: BitmapOracle

    /// A state of the disk and of the internal snapshots that go with it.
    public struct Outcome: Sendable {
        public var oracle: SectorOracle
        public var snapshots: [KeptSnapshot]

        public init(oracle: SectorOracle, snapshots: [KeptSnapshot]) {
            (self.oracle, self.snapshots) = (oracle, snapshots)
        }

        /// What is wrong about what was found, or nil.
        func judge(_ found: CrashJudge.Found) -> Violation? {
            guard found.snapshots == snapshots else {
                let ids = (found.snapshots.map(\.id), snapshots.map(\.id))
                return Violation("D5: internal snapshots \(ids.0) are not the \(ids.1) that were made", .corrupt)
            }
            return oracle.judge(afterCrash: found.contents)
        }
    }

    /// What is wrong about what was found after a crash here, or nil.
    func judge(_ found: CrashJudge.Found) -> Violation? {
        guard let wrong = Outcome(oracle: oracle, snapshots: snapshots).judge(found) else { return nil }
        return other.map { $0.judge(found) } ?? wrong
    }

    public init(
        disk: SimDisk.Snapshot, base: SparseBytes?, below: [SparseBytes], oracle: SectorOracle,
        snapshots: [KeptSnapshot], other: Outcome? = nil, bitmaps: BitmapOracle = BitmapOracle()
    ) {
        self.disk = disk
        self.base = base
        self.below = below
        self.oracle = oracle
        self.snapshots = snapshots
        self.other = other
        self.bitmaps = bitmaps
    }
}

/// What a machine finds after a crash.
public struct CrashState: Sendable {
    public let image: SparseBytes
    public let point: CrashPoint
    /// Which pending changes were kept, for the report.
    public let choice: String
}

extension CrashPoint {
    /// What is left where only the process ends: everything that completed.
    public var killed: CrashState {
        let completed = disk.pending.indices.filter { disk.pending[$0].completedNs != nil }
        return state(completed, torn: nil, [])
    }

    /// The crash states of this point, at most `budget`: all subsets of the pending changes where they are few, else
    /// none, all, prefixes, single omissions, single inclusions and random ones; for each one in which its last change
    /// is torn.
    public func forEachState<Failure: Error>(
        budget: Int, _ random: inout SeededRandom, _ body: (CrashState) throws(Failure) -> Void
    ) throws(Failure) {
        let count = disk.pending.count
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
        for kept in choices {
            try body(state(kept, torn: nil, []))
            guard let last = kept.last, let sectors = disk.tear(last, &random) else { continue }
            try body(state(kept, torn: last, sectors))
        }
    }

    private func state(_ kept: [Int], torn: Int?, _ sectors: Set<UInt64>) -> CrashState {
        let image = disk.image(keeping: kept, torn: torn.map { [$0: sectors] } ?? [:])
        var choice = "kept \(kept) of \(disk.pending.count)"
        if let torn { choice += ", of \(torn) only sectors \(sectors.sorted())" }
        return CrashState(image: image, point: self, choice: choice)
    }
}
