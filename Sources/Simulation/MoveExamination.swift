import Block
public import BlockTestKit
import Bytes
import Image

/// Rebases an image or commits it, as `nacre img` does, with crashes at every point and with each I/O failing.
///
/// Neither changes what the disk reads as: so whatever is left, whenever it breaks off, the top image opens, its chain is
/// what its header names, and it reads as before. What is done again ends as it should.
public struct MoveExamination {
    /// What is done to the top of a chain.
    public enum Move: Sendable, CustomStringConvertible {
        /// To another image of the chain, to the one beside it, or (nil) to none.
        case rebase(String?)
        /// Into the image that many below the top.
        case commit(Int, keeps: Bool)

        public var description: String {
            switch self {
            case .rebase(let name): "rebase to \(name ?? "none")"
            case .commit(let depth, let keeps): "commit by \(depth)\(keeps ? ", kept" : "")"
            }
        }
    }

    public let stack: ImageStack
    public let move: Move
    /// Crash states that one point may have.
    public var statesPerPoint = 8
    /// Every how many I/Os one fails; 0 is none.
    public var faultsEvery = 1
    public var disk = SimDisk.Options()

    public init(seed: UInt64) throws(Violation) {
        stack = try ImageStack(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x30FE)
        let below = stack.layers.dropLast()
        if random.chance(50) {
            move = .rebase(random.pick([nil, stack.other.name] + below.map(\.name)))
        } else {
            move = .commit(1 + random.below(below.count), keeps: random.chance(25))
        }
        disk.seed = seed
        disk.sectorSize = random.chance(25) ? 4096 : 512
        disk.stickyFlush = random.chance(50)
    }

    public struct Result: Sendable {
        /// Crash states that were judged.
        public var states = 0
        /// I/Os that failed.
        public var points = 0
        public var reported = 0
    }

    public func run() throws(Violation) -> Result {
        do throws(Violation) {
            var result = Result()
            try crash(&result)
            if faultsEvery > 0 { try fail(&result) }
            return result
        } catch { throw error.told { "\(move): \($0)\n\(stack)" } }
    }

    // MARK: crashes

    private func crash(_ result: inout Result) throws(Violation) {
        let (context, files) = open(stack.files)
        var known: Set<UInt64> = []
        var random = SeededRandom(seed: disk.seed ^ 0xC2A5)
        var states = 0
        var violation: Violation?
        for (name, disk) in files.disks {
            disk.onEvent = { event in
                guard violation == nil, Self.isPoint(event) else { return }
                do throws(Violation) {
                    try forEachState(of: files, by: name, &random) { state throws(Violation) in
                        guard known.insert(fingerprint(state)).inserted else { return }
                        states += 1
                        try judge(state, isDone: false)
                    }
                } catch { violation = error }
            }
        }
        let failure = try perform(on: files, context)
        result.states += states
        if let violation { throw violation }
        if let failure { throw Violation("it fails: \(failure.message)") }
        for (name, disk) in files.disks where !disk.pending.isEmpty {
            throw Violation("it ends, and '\(name)' is not durable (O16)", .lost)
        }
        try judge(files.disks.mapValues(\.durable), isDone: true)
    }

    private static func isPoint(_ event: SimDisk.Event) -> Bool {
        switch event {
        case .issued, .flushing, .flushed: true
        default: false
        }
    }

    /// The states that a crash now may leave: any of the disk that something happened to, with the others having kept all
    /// that was pending there or nothing of it.
    private func forEachState(
        of files: SimulatedFiles, by name: String, _ random: inout SeededRandom,
        _ body: ([String: SparseBytes]) throws(Violation) -> Void
    ) throws(Violation) {
        guard let disk = files.disks[name] else { return }
        let others = files.disks.filter { $0.key != name }
        let point = CrashPoint(
            disk: disk.snapshot, base: nil, below: [], oracle: SectorOracle([]), snapshots: [])
        var rests = [others.mapValues(\.durable)]
        if others.values.contains(where: { !$0.pending.isEmpty }) {
            rests.append(others.mapValues { $0.crashImage(.everything) })
        }
        for rest in rests {
            try point.forEachState(budget: statesPerPoint, &random) { state throws(Violation) in
                var all = rest
                all[name] = state.image
                do throws(Violation) { try body(all) } catch {
                    throw error.told { "\($0)\n\(state.choice) of '\(name)': \(point.disk.text)" }
                }
            }
        }
    }

    private func fingerprint(_ state: [String: SparseBytes]) -> UInt64 {
        state.keys.sorted().reduce(0) { ($0 &* 31) &+ (state[$1]?.fingerprint ?? 0) }
    }

    // MARK: failed I/Os

    private func fail(_ result: inout Result) throws(Violation) {
        for mode in FaultExamination.Mode.all {
            var nth = 0
            while try fail(mode, nth: nth, &result) { nth += faultsEvery }
        }
    }

    /// Whether there was an I/O to fail.
    private func fail(_ mode: FaultExamination.Mode, nth: Int, _ result: inout Result) throws(Violation) -> Bool {
        let (context, files) = open(stack.files)
        files.faults.add(
            Fault(Set(RequestKind.allCases), nth: nth, forever: mode.forever, error: mode.error, effect: mode.effect))
        do throws(Violation) {
            let failure = try perform(on: files, context)
            guard files.faults.fired > 0 else { return false }
            files.faults.clear()
            result.points += 1
            let left = files.disks.mapValues(\.contents)
            if failure != nil { result.reported += 1 }
            try judge(left, isDone: failure == nil)
            result.states += 1
            var random = SeededRandom(seed: disk.seed ^ UInt64(nth))
            for name in files.disks.keys.sorted() where files.disks[name]?.pending.isEmpty == false {
                try forEachState(of: files, by: name, &random) { state throws(Violation) in
                    result.states += 1
                    try judge(state, isDone: false)
                }
            }
            if failure != nil { try again(left) }
        } catch { throw error.told { "I/O \(nth) fails (\(mode)): \($0)" } }
        return true
    }

    /// What a failure left ends well the next time.
    private func again(_ left: [String: SparseBytes]) throws(Violation) {
        let (context, files) = open(left)
        if let failure = try perform(on: files, context) {
            throw Violation("the second time it fails too: \(failure.message)")
        }
        // What the failure leaked stays leaked.
        try MoveJudge(stack, move, mayLeak: true).judge(files.disks.mapValues(\.durable), isDone: true)
    }

    // MARK: running and judging

    private func open(_ contents: [String: SparseBytes]) -> (SimulatedContext, SimulatedFiles) {
        let context = SimulatedContext(seed: disk.seed)
        let files = SimulatedFiles(context, contents, disk)
        for layer in stack.layers where !layer.isRaw {
            if let disk = files.disks[layer.name] { disk.audit = OrderAudit(disk) }
        }
        return (context, files)
    }

    /// Does it as the program does; answers why it failed, where it did.
    private func perform(on files: SimulatedFiles, _ context: SimulatedContext) throws(Violation) -> ImageError? {
        let tool = ImageTool(
            files: files, context: context, rule: .any, output: { _ in }, report: { _ in }, localTime: { _ in "" })
        let (move, stack) = (move, stack)
        let top = ImageReference(stack.top.name, format: "qcow2")
        do {
            return try context.complete { () async throws -> ImageError? in
                do throws(ImageError) {
                    switch move {
                    case .rebase(let name):
                        let format = stack.layer(name)?.format
                        try await tool.rebase(
                            RebaseRequest(
                                image: top, backingFile: name ?? "", backingFormat: format))
                    case .commit(let depth, let keeps):
                        let base = stack.layers[stack.layers.count - 1 - depth].name
                        try await tool.commit(
                            CommitRequest(
                                image: top, base: depth == 1 ? nil : base, keepsContents: keeps))
                    }
                    return nil
                } catch { return error }
            }
        } catch let error as SimulationFailure {
            if case .disordered(let rule) = error { throw Violation(rule, .unordered) }
            throw Violation("\(error)")
        } catch { throw Violation("\(error)") }
    }

    private func judge(_ state: [String: SparseBytes], isDone: Bool) throws(Violation) {
        try MoveJudge(stack, move).judge(state, isDone: isDone)
    }
}
