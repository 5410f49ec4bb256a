import Block
import BlockTestKit

// Families of programs about where an image's bytes lie. Each has a seed space of its own.
extension Scenario {
    /// A random program on a new image whose guest data lies in a file of its own, plain or raw: with new sizes, as the tool
    /// gives them, and amendments between a guest's requests.
    public init(dataFiles seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0xDA7A)
        var shape = Program(crash: seed ^ 0xDA7A_0000).shape
        (shape.version, shape.compresses, shape.crowd) = (3, false, nil)
        shape.dataFile = random.pick([.plain, .raw])
        if shape.dataFile == .raw { shape.backing = .none }
        if shape.backing == .none { shape.preallocation = random.pick([.off, .off, .metadata, .falloc, .full]) }
        var program = Program(seed: seed, shape: shape, length: 4 + random.below(16)).onOneImage
        program.insert(1 + random.below(4), &random) { random in
            random.chance(60) ? .refit(Self.size(near: shape, &random), Self.mode(&random)) : .amend(random.next())
        }
        self.init(program, StartImage(shape, seed: seed))
    }

    /// A random program with many new sizes, as the tool gives them: room for what is gained, and the file cut where the disk
    /// was. On a new image, which may have all its places from the start, or a stored one.
    public init(sizes seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0x512E)
        var program = Program(crash: seed ^ 0x512E_0000)
        var start = StartImage(program.shape, seed: seed)
        if random.chance(50) {
            start = random.pick(stored)
            var shape = start.shape
            shape.depth = random.pick([1, 2, 4, 8])
            shape.tinyCaches = random.chance(50)
            program = Program(seed: seed, shape: shape, length: 4 + random.below(12))
        } else if program.shape.crowd == nil, program.shape.backing == .none {
            var shape = program.shape
            shape.preallocation = random.pick([.off, .metadata, .falloc, .full])
            program = Program(seed: seed, shape: shape, steps: program.steps)
        }
        let shape = program.shape
        program.insert(2 + random.below(5), &random) { .refit(Self.size(near: shape, &$0), Self.mode(&$0)) }
        self.init(program, start)
    }

    /// A random program that does to one image all that there is: bitmaps, internal snapshots, amendments and new sizes
    /// beside each other.
    public init(mixed seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0x313D)
        let base = Scenario(bitmaps: seed ^ 0x313D_0000, on: stored)
        let shape = base.program.shape
        var program = Program(seed: seed, shape: shape, steps: base.program.steps)
        program.insert(3 + random.below(5), &random) { random in
            let choice = random.next()
            return random.pick([
                .snapshotCreate, .snapshotApply(choice), .snapshotDelete(choice), .amend(choice), .amend(choice),
                .refit(Self.size(near: shape, &random), Self.mode(&random)),
            ])
        }
        self.init(program, base.start)
    }

    /// A size a little or much smaller or larger.
    static func size(near shape: Shape, _ random: inout SeededRandom) -> UInt64 {
        let cluster = shape.clusterSize
        switch random.below(4) {
        case 0: return shape.size + random.below(12 * cluster)
        case 1: return shape.size - min(shape.size, random.below(12 * cluster))
        case 2: return random.below(shape.size)
        default: return shape.size
        }
    }

    static func mode(_ random: inout SeededRandom) -> Preallocation {
        random.pick([.off, .off, .metadata, .falloc, .full])
    }
}

extension Program {
    /// The program without overlays and snapshots made by hand.
    var onOneImage: Program {
        let kept = steps.filter {
            switch $0 {
            case .snapshot, .internalSnapshot: false
            default: true
            }
        }
        return Program(seed: seed, shape: shape, steps: kept)
    }

    /// Puts `count` steps in random places, and compares at the end.
    fileprivate mutating func insert(
        _ count: Int, _ random: inout SeededRandom, _ step: (inout SeededRandom) -> Step
    ) {
        var steps = steps
        for _ in 0..<count { steps.insert(step(&random), at: random.below(steps.count + 1)) }
        self = Program(seed: seed, shape: shape, steps: steps + [.compare])
    }
}

extension FaultExamination {
    /// What the long runs do with the scenario of a seed.
    public init(_ scenario: Scenario, seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0xFA17)
        self.init(scenario.program, on: scenario.start)
        disk.stickyFlush = random.chance(50)
        disk.sectorSize = random.chance(25) ? 4096 : 512
    }
}
