import Block
import BlockTestKit
import Bytes

/// What a seed of the long runs stands for: a random program and what it starts on. Half of the seeds start on a new image
/// or a crowded one, the others on an image that QEMU's tools made, in any state, often with overlays on it and an internal
/// snapshot inside.
public struct Scenario: Sendable {
    public let program: Program
    public let start: StartImage

    /// `stored` are the images to choose from.
    public init(seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0x5CE4)
        guard random.chance(50) else {
            program = Program(crash: seed)
            start = StartImage(program.shape, seed: seed)
            return
        }
        start = random.pick(stored)
        program = Program(stored: start.shape, seed: seed, &random)
    }

    init(_ program: Program, _ start: StartImage) { (self.program, self.start) = (program, start) }

    /// Another program on the same start, for shrinking.
    public func with(_ program: Program) -> Scenario { Scenario(program, start) }
}

extension Program {
    /// A random program for a stored image; in its first half it may get an internal snapshot and up to two overlays.
    fileprivate init(stored shape: Shape, seed: UInt64, _ random: inout SeededRandom) {
        var shape = shape
        shape.depth = random.pick([1, 2, 4, 8, 16])
        shape.tinyCaches = random.chance(50)
        shape.detectZeroes = random.pick([.off, .off, .on, .unmap])
        let length = 4 + random.below(16)
        var steps = Program(seed: seed, shape: shape, length: length).steps
        let overlays = [Step](repeating: .snapshot(shape.size), count: random.pick([0, 0, 0, 1, 2]))
        for step in overlays + (random.chance(35) ? [.internalSnapshot] : []) {
            steps.insert(step, at: random.below(steps.count / 2 + 1))
        }
        self.init(seed: seed, shape: shape, steps: steps)
    }
}

extension CrashExamination {
    /// How the long runs look at a scenario: half of the seeds at one of ten points with up to 48 subsets each, the other
    /// half at one of 25 with up to 1,024, which is all subsets of ten pending changes.
    public init(_ scenario: Scenario) {
        self.init(scenario.program, on: scenario.start)
        var random = SeededRandom(seed: scenario.program.seed ^ 0x5A3E)
        (pointShare, statesPerPoint) = random.chance(50) ? (10, 48) : (4, 1024)
        everyEvent = true
        everySecondCrash = 200
        disk.sectorSize = random.chance(25) ? 4096 : 512
    }
}

extension FaultExamination {
    /// What the long runs do with a seed: even ones are the scenarios of the crash runs, odd ones short programs on a stored
    /// image. Half of the disks tell of a failed flush once only, a fourth have sectors of 4 KiB.
    public init(seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0xFA17)
        if seed % 2 == 0 {
            let scenario = Scenario(seed: seed, on: stored)
            self.init(scenario.program, on: scenario.start)
        } else {
            let start = random.pick(stored)
            let programs = ExhaustivePrograms(start)
            self.init(programs[random.below(programs.count)], on: start)
        }
        disk.stickyFlush = random.chance(50)
        disk.sectorSize = random.chance(25) ? 4096 : 512
    }
}
