import BlockTestKit

extension Scenario {
    /// A random program in which persistent bitmaps come, go and are stored, on a new image or one that QEMU's tools made.
    /// A family of its own: its seeds have nothing to do with those of the others.
    public init(bitmaps seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0xB17A)
        var program = Program(crash: seed)
        var start = StartImage(program.shape, seed: seed)
        let wanted = random.pick(["bitmap", "bitmap", "backed", "full"])
        if random.chance(50), let image = stored.first(where: { $0.name == wanted }) {
            start = image
            var shape = image.shape
            shape.depth = random.pick([1, 2, 4, 8])
            program = Program(seed: seed, shape: shape, length: 4 + random.below(12))
        } else {
            var shape = program.shape
            shape.version = 3
            program = Program(seed: seed, shape: shape, length: 4 + random.below(12))
            start = StartImage(shape, seed: seed)
        }
        var steps = program.steps.filter { if case .snapshot = $0 { random.chance(30) } else { true } }
        for _ in 0..<2 + random.below(5) {
            steps.insert(.bitmap(Self.step(&random)), at: random.below(steps.count + 1))
        }
        for _ in 0..<1 + random.below(3) { steps.insert(.reopen, at: random.below(steps.count + 1)) }
        self.init(Program(seed: seed, shape: program.shape, steps: steps), start)
    }

    private static func step(_ random: inout SeededRandom) -> BitmapStep {
        // `changes` is what the stored image calls its own; a long name needs room in the header's cluster, or more sectors.
        let name = random.pick(["changes", "a", "b", String(repeating: "n", count: 300)])
        switch random.below(8) {
        case 0..<4:
            return .add(name, granularityBits: 9 + random.below(5), isEnabled: random.chance(80))
        case 4: return .remove(name)
        case 5: return .clear(name)
        default: return .setEnabled(name, random.chance(50))
        }
    }
}
