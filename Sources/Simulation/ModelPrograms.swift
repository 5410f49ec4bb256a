import BlockTestKit

/// The programs that run against a flat model of the disk, by what they are about; each kind has seeds of its own.
public enum ModelPrograms: String, CaseIterable, Sendable {
    /// Every cluster size and refcount width, over backing files of all lengths; 91 seeds go through all of them.
    case plain
    /// Clusters with subclusters, of every size that they can have.
    case subclusters
    /// Data in a file of its own, plain and raw, with subclusters and without.
    case dataFiles
    /// Whole clusters written compressed, over and under others.
    case compressed
    /// A disk that is full after a few clusters.
    case fullDisk
    /// An internal snapshot, made early.
    case internalSnapshots

    public func program(_ seed: UInt64) -> Program {
        switch self {
        case .plain: Program(seed: seed, length: 80)
        case .subclusters: Self.subclusters(seed)
        case .dataFiles: Self.dataFiles(seed)
        case .compressed: Self.compressed(seed)
        case .fullDisk: Self.fullDisk(seed)
        case .internalSnapshots: Self.internalSnapshots(seed)
        }
    }

    /// Every third seed gets an internal snapshot early, so that clusters with subclusters are shared.
    private static func subclusters(_ seed: UInt64) -> Program {
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: 5 + seed % 8 + 13 * (seed / 8), &random)
        shape.refcountBits = 16 << (seed % 3)
        shape.divide()
        var steps = Program(seed: 3000 + seed, shape: shape, length: 70).steps
        if seed % 3 == 0 { steps.insert(.internalSnapshot, at: 20) }
        return Program(seed: 3000 + seed, shape: shape, steps: steps)
    }

    private static func dataFiles(_ seed: UInt64) -> Program {
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: seed % 8 + 13 * (seed % 7), &random)
        shape.version = 3
        shape.dataFile = seed % 2 == 0 ? .raw : .plain
        if seed % 4 > 1 { shape.divide() }
        if seed % 2 == 0 { shape.backing = .none }
        return Program(seed: 4000 + seed, shape: shape, length: 70)
    }

    private static func compressed(_ seed: UInt64) -> Program {
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: 1 + seed % 8 + 13 * (seed % 7), &random)
        shape.compresses = true
        if seed % 8 == 7 { shape.divide() }
        if seed % 6 == 5 { shape.room = 10 + seed }
        var steps = Program(seed: 4000 + seed, shape: shape, length: 70).steps
        if seed % 3 == 0, shape.refcountBits > 2 { steps.insert(.internalSnapshot, at: 20) }
        return Program(seed: 4000 + seed, shape: shape, steps: steps)
    }

    private static func fullDisk(_ seed: UInt64) -> Program {
        let seed = 1000 + seed
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: seed % 7, &random)
        shape.room = 3
        return Program(seed: seed, shape: shape, steps: Program(seed: seed % 7, length: 60).steps)
    }

    /// Small clusters, widths that can count a second reference.
    private static func internalSnapshots(_ seed: UInt64) -> Program {
        let seed = 2000 + seed
        var random = SeededRandom(seed: seed)
        var shape = Shape(seed: seed % 6 + 13 * (1 + seed % 6), &random)
        shape.room = nil
        var steps = Program(seed: seed, shape: shape, length: 70).steps
        steps.insert(.internalSnapshot, at: 20)
        return Program(seed: seed, shape: shape, steps: steps)
    }
}
