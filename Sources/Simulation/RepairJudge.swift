import BlockTestKit
import Bytes
import Qcow2

/// Holds a repair against what could be read before, and against its own report.
struct RepairJudge {
    let before: DiskContents
    let outcome: RepairExamination.Outcome
    let base: SparseBytes?

    init(_ before: DiskContents, _ outcome: RepairExamination.Outcome, _ base: SparseBytes?) {
        (self.before, self.outcome, self.base) = (before, outcome, base)
    }

    func judge() throws(Violation) {
        try Self.judgeMetadata(outcome.image)
        try judge("the disk", before.active, outcome.contents.active, .active)
        guard let snapshot = before.snapshot, outcome.diagnosis.missingSnapshots == 0 else { return }
        guard outcome.diagnosis.removedSnapshots.isEmpty else {
            // Which of several it was does not matter: what is removed had nothing to be read.
            guard outcome.contents.snapshot != nil || snapshot.allSatisfy({ $0 == nil }) else {
                throw Violation("a snapshot that could be read is removed", .lost)
            }
            return
        }
        guard let after = outcome.contents.snapshot else { throw Violation("the snapshot is gone", .lost) }
        guard let disk = outcome.diagnosis.firstSnapshot else { return try judge("the snapshot", snapshot, after, nil) }
        try judge("the snapshot", snapshot, after, disk)
    }

    /// Nothing may be wrong any more.
    static func judgeMetadata(_ image: SparseBytes) throws(Violation) {
        let check = MiniCheck(image)
        guard check.errors.isEmpty else { throw Violation("after the repair: \(check.errors)", .corrupt) }
        guard check.leaks == 0 else { throw Violation("\(check.leaks) leaks after the repair", .corrupt) }
        guard !check.isDirty, !check.isCorrupt else { throw Violation("the image is still marked", .corrupt) }
        let memory = MemoryStorage(image)
        let again = try? SimulatedContext(seed: 1, order: .fifo).complete {
            try await Qcow2Check.check(memory) { _ in }
        }
        guard let again, again.corruptions == 0, again.leaks == 0, again.checkErrors == 0 else {
            throw Violation("another check finds \(again.map { "\($0)" } ?? "no image")", .corrupt)
        }
    }

    private func judge(
        _ what: String, _ before: [[UInt8]?], _ after: [[UInt8]?], _ disk: Diagnosis.Disk?
    ) throws(Violation) {
        // What did not open can have any size, and nothing of it could be read.
        let before = before.isEmpty ? Array(repeating: nil, count: after.count) : before
        guard before.count == after.count else { throw Violation("\(what) has another size", .corrupt) }
        let cluster = UInt64(MiniCheck(outcome.image).clusterSize)
        for index in before.indices {
            let range = ByteRange(at: UInt64(index) * cluster, count: cluster)
            let findings = outcome.diagnosis.findings.filter { $0.disk == disk && $0.range.overlaps(range) }
            do throws(Violation) { try judge(before[index], after[index], findings, range) } catch {
                throw error.told { "\(what), cluster \(index), said to be \(findings.map(\.fate.rawValue)): \($0)" }
            }
        }
    }

    private func judge(
        _ old: [UInt8]?, _ new: [UInt8]?, _ findings: [Diagnosis.Finding], _ range: ByteRange
    ) throws(Violation) {
        if let old {
            guard let new else { throw Violation("it could be read and cannot be any more", .lost) }
            guard old == new else { throw Violation("it reads as something else", .thirdValue) }
            // What lies behind the file's end reads as zeros, and is lost all the same.
            for finding in findings where finding.fate != .doubtful {
                let isGone = finding.fate == .lost && bytes(of: finding, in: old, range).allSatisfy { $0 == 0 }
                guard isGone else { throw Violation("the report is wrong: it could be read all along", .swallowed) }
            }
            return
        }
        for finding in findings where finding.fate == .lost || finding.fate == .unmapped {
            guard let new else { throw Violation("it cannot be read", .corrupt) }
            let bytes = bytes(of: finding, in: new, range)
            // What is lost may lie in a table that is regained; the worst of them counts.
            let isZero = bytes.allSatisfy { $0 == 0 }
            if finding.fate == .lost, !isZero { throw Violation("it does not read as zeros", .corrupt) }
            if finding.fate == .unmapped, Array(bytes) != below(max(finding.range.start, range.start), bytes.count) {
                throw Violation("it does not read as what is below", .corrupt)
            }
        }
        if findings.isEmpty, new != nil {
            throw Violation("it can be read again, and the report did not say so", .swallowed)
        }
    }

    /// What of a cluster a finding is about.
    private func bytes(of finding: Diagnosis.Finding, in cluster: [UInt8], _ range: ByteRange) -> ArraySlice<UInt8> {
        let part = finding.range.intersection(ByteRange(at: range.start, count: UInt64(cluster.count)))
        return cluster[Int(part.start - range.start)..<Int(part.end - range.start)]
    }

    private func below(_ start: UInt64, _ count: Int) -> [UInt8] {
        base.map { $0.bytes(ByteRange(at: start, count: UInt64(count))) } ?? [UInt8](repeating: 0, count: count)
    }
}

extension Diagnosis {
    /// The snapshot that findings are about, where there is only one.
    fileprivate var firstSnapshot: Disk? { findings.map(\.disk).first { $0 != .active } }
}
