import Block
import BlockTestKit
import Bytes
import Qcow2

extension Scenario {
    /// What a seed of the runs of verbs stands for: a short random program on a new image of any kind or a stored one, in which
    /// the image is told three to eight other things between a guest's requests. All that there is (`Verb`) comes up, in any
    /// company.
    public init(verbs seed: UInt64, on stored: [StartImage]) {
        var random = SeededRandom(seed: seed ^ 0x7E4B)
        var shape: Shape
        var start: StartImage?
        if random.chance(45) {
            let image = random.pick(stored)
            shape = image.shape
            shape.depth = random.pick([1, 2, 4, 8])
            shape.tinyCaches = random.chance(50)
            shape.filter = random.pick([.none, .none, .compress, image.base == nil ? .none : .copyOnRead])
            start = image
        } else {
            shape = Self.shape(seed, &random)
        }
        let program = Program(seed: seed, shape: shape, length: 3 + random.below(9))
        var steps = shape.dataFile == .none ? program.steps : program.onOneImage.steps
        var place = 0
        for _ in 0..<3 + random.below(6) {
            place = random.chance(60) ? random.below(steps.count + 1) : min(place + 1, steps.count)
            for step in Self.told(shape, &random).reversed() { steps.insert(step, at: place) }
        }
        self.init(
            Program(seed: seed, shape: shape, steps: steps.withVMStates(seed) + [.compare]),
            start ?? StartImage(shape, seed: seed))
    }

    /// A new image's.
    private static func shape(_ seed: UInt64, _ random: inout SeededRandom) -> Shape {
        var shape = Program(crash: seed ^ 0x7E4B_0000).shape
        shape.version = random.chance(25) && shape.refcountBits == 16 ? 2 : 3
        if shape.version == 2 { shape.lazyRefcounts = false }
        if shape.extendedL2 || shape.crowd != nil { shape.version = 3 }
        switch random.below(6) {
        case 0 where shape.crowd == nil:
            shape.compresses = false
            shape.divide()
        case 1 where shape.clusterBits > 9 && shape.crowd == nil: shape.compresses = true
        case 2 where !shape.extendedL2 || random.chance(50):
            (shape.version, shape.compresses, shape.crowd) = (3, false, nil)
            shape.dataFile = random.pick([.plain, .raw])
            if shape.dataFile == .raw { shape.backing = .none }
        default: break
        }
        if shape.crowd == nil, shape.backing == .none || shape.extendedL2 {
            shape.preallocation = random.pick([.off, .off, .metadata, .falloc, .full])
        }
        if shape.backing != .none, random.chance(50) {
            shape.filter = .copyOnRead
        } else if shape.dataFile == .none, shape.crowd == nil, random.chance(25) {
            (shape.filter, shape.compresses) = (.compress, false)
        }
        return shape
    }

    /// One thing that the image is told, or several that belong together.
    private static func told(_ shape: Shape, _ random: inout SeededRandom) -> [Step] {
        let choice = random.next()
        switch random.below(24) {
        case 0, 1: return [.snapshotCreate]
        case 2: return [.snapshotApply(choice)]
        case 3: return [.snapshotDelete(choice)]
        case 4, 5: return [.bitmap(bitmap(&random))]
        case 6: return [.bitmap(bitmap(&random)), .bitmap(bitmap(&random)), .reopen]
        case 7:
            let (target, source) = (random.below(2), 9 + random.below(5))
            return [
                .bitmap(.add("a", granularityBits: 9 + target, isEnabled: true)),
                .bitmap(.add("b", granularityBits: source, isEnabled: true)),
                .write(ByteRange(at: random.below(shape.size), count: 512), fua: false, fill: choice),
                .bitmap(.merge("a", from: "b")), .bitmap(random.chance(50) ? .remove("b") : .clear("b")),
            ]
        case 8: return [.bitmap(.setEnabled(random.pick(["changes", "a", "b"]), random.chance(50)))]
        case 9, 10: return [.refit(size(near: shape, &random), mode(&random))]
        case 11: return [.check, .check]
        case 12, 13: return [.check]
        case 14: return [.reopen]
        case 15: return [.amend(choice)]
        case 16: return shape.dataFile == .none ? [.snapshot(size(near: shape, &random))] : []
        default: return [.change(amendment(shape, &random))]
        }
    }

    private static func bitmap(_ random: inout SeededRandom) -> BitmapStep {
        let names = ["changes", "a", "b", String(repeating: "n", count: 300)]
        let name = random.pick(names)
        switch random.below(8) {
        case 0..<3: return .add(name, granularityBits: 9 + random.below(5), isEnabled: random.chance(80))
        case 3: return .remove(name)
        case 4: return .clear(name)
        case 5: return .merge(name, from: random.pick(names))
        default: return .setEnabled(name, random.chance(50))
        }
    }

    private static func amendment(_ shape: Shape, _ random: inout SeededRandom) -> Amendment {
        if shape.dataFile != .none, random.chance(50) {
            return random.chance(40)
                ? .dataFileIsRaw(random.chance(30))
                : .dataFile(random.pick(["data", "", "other", "a longer name.raw"]))
        }
        switch random.below(8) {
        case 0, 1: return .version(random.pick([.v2, .v3]))
        case 2, 3: return .refcountBits(random.pick([1, 2, 4, 8, 16, 16, 32, 64]))
        case 4: return .lazyRefcounts(random.chance(50))
        case 5, 6: return .size(size(near: shape, &random))
        default: return .backing(isRight: random.chance(50))
        }
    }
}
