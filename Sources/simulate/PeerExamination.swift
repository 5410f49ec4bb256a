import BlockTestKit
import Foundation
import Simulation

/// One program that `qemu-io` runs on a stored image, and the judgement of its crash states, each state once.
struct PeerExamination {
    private let seed: UInt64
    private let start: StartImage
    private let statesPerPoint: Int
    private let printed: Printed
    private(set) var tally = Tally()
    private var known: [UInt64: Result<CrashJudge.Found, Violation>] = [:]
    private var wrong: Set<UInt64> = []
    private var random: SeededRandom

    init(_ seed: UInt64, _ start: StartImage, _ statesPerPoint: Int, _ printed: Printed) {
        (self.seed, self.start, self.statesPerPoint, self.printed) = (seed, start, statesPerPoint, printed)
        random = SeededRandom(seed: seed ^ 0x9EE2)
    }

    mutating func run(_ qemuIO: String, discards: Bool) throws {
        let program = Program(seed: seed, shape: start.shape, length: 16)
        let folder = FileManager.default.temporaryDirectory.path() + "nacre-peer-\(UUID())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data((start.image ?? SparseBytes()).array).write(to: URL(filePath: folder + "/top.qcow2"))
        // The name by which the stored overlay knows it.
        if let base = start.base { try Data(base.array).write(to: URL(filePath: folder + "/backing.raw")) }
        let qemu = try QemuIO(qemuIO, in: folder, discards: discards)
        defer { qemu.quit() }
        var points: [CrashPoint] = []
        let run = RecordedRun(start) { points.append($0) }
        for (index, step) in program.steps.enumerated() {
            try run.perform(step) { try qemu.perform($0) }
            for point in points { judge(point, "step \(index), \(step)") }
            points = []
        }
    }

    private mutating func judge(_ point: CrashPoint, _ place: String) {
        var random = random
        point.forEachState(budget: statesPerPoint, &random) { state in judge(state, place) }
        self.random = random
    }

    private mutating func judge(_ state: CrashState, _ place: String) {
        let fingerprint = state.image.fingerprint
        let isNew = known[fingerprint] == nil
        let found: Result<CrashJudge.Found, Violation>
        if let old = known[fingerprint] {
            found = old
        } else {
            let judge = CrashJudge(start.shape)
            do throws(Violation) { found = .success(try judge.recover(state)) } catch { found = .failure(error) }
            known[fingerprint] = found
            tally.states += 1
        }
        let violation: Violation?
        switch found {
        case .failure(let error): violation = isNew ? error : nil
        case .success(let found): violation = state.point.oracle.judge(afterCrash: found.contents)
        }
        guard let violation, wrong.insert(fingerprint).inserted else { return }
        tally.violations[violation.kind, default: 0] += 1
        let isConfirmed = SecondOpinion.confirms(violation, state)
        if isConfirmed { tally.confirmed += 1 }
        printed.print(
            "\(violation.kind) \(start.name)",
            """
            \(violation.kind.rawValue), \(isConfirmed ? "confirmed by" : "not by") qemu-img: seed \(seed) on \
            \(start.name), \(place): \(violation); \(state.choice): \(state.point.disk.text)
            """)
    }
}
