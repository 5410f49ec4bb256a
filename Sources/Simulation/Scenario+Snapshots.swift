import Block
import BlockTestKit
import Bytes

extension Scenario {
    /// What a seed of the runs of internal snapshots stands for: a seed space of its own, so that the seeds of the other runs mean
    /// what they meant. A random program on a new image or a stored one, in which the image makes, applies and deletes
    /// snapshots, and is amended, between a guest's requests.
    public init(snapshots seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0x5A45)
        guard random.chance(50) else {
            let program = Program(crash: seed ^ 0x5A45_0000)
            self.init(program.withSnapshots(&random), StartImage(program.shape, seed: seed))
            return
        }
        let start = random.pick(stored)
        var shape = start.shape
        shape.depth = random.pick([1, 2, 4, 8, 16])
        shape.tinyCaches = random.chance(50)
        shape.detectZeroes = random.pick([.off, .off, .on, .unmap])
        let program = Program(seed: seed, shape: shape, length: 4 + random.below(12))
        self.init(program.withSnapshots(&random), start)
    }
}

extension Program {
    /// The program with two to seven steps of internal snapshots and amendments in it, the first of them one that makes one.
    fileprivate func withSnapshots(_ random: inout SeededRandom) -> Program {
        var steps = steps
        var place = random.below(steps.count / 2 + 1)
        steps.insert(.snapshotCreate, at: place)
        for _ in 0..<1 + random.below(6) {
            place = min(place + 1 + random.below(3), steps.count)
            let choice = random.next()
            let kinds: [Step] = [.snapshotCreate, .snapshotApply(choice), .snapshotDelete(choice), .amend(choice)]
            steps.insert(random.pick(kinds), at: place)
        }
        return Program(seed: seed, shape: shape, steps: steps.withVMStates(seed) + [.compare])
    }
}

extension [Step] {
    /// The steps, and between them up to two that save a machine's state: drawn apart, so that all else that a seed means stays.
    func withVMStates(_ seed: UInt64) -> [Step] {
        var random = SeededRandom(seed: seed ^ 0x5A45_7A7E)
        var steps = self
        for _ in 0..<random.below(3) {
            let start = random.pick([0, 0, 512 * random.below(64 as UInt64), 4 << 20])
            let range = ByteRange(at: start, count: 512 * (1 + random.below(12 as UInt64)))
            steps.insert(.vmState(range, fill: random.next()), at: random.below(steps.count + 1))
        }
        return steps
    }
}
