public import BlockTestKit
import Bytes

/// A sound image of any shape, and the same after a few random edits of its metadata.
public struct DamagedImage: Sendable, CustomStringConvertible {
    public let sound: SparseBytes
    public private(set) var damaged: SparseBytes
    /// A raw disk below it.
    public let base: SparseBytes?
    /// What was done to it.
    public private(set) var edits: [String] = []
    private let name: String

    public var description: String { "\(name):\n  " + edits.joined(separator: "\n  ") }

    /// Half of the seeds damage one of `stored`, as QEMU's tools made them; the others what a random program leaves. `small`
    /// keeps images to a few clusters of a few KiB.
    public init(seed: UInt64, on stored: [StartImage], small: Bool = false) throws(Violation) {
        var random = SeededRandom(seed: seed ^ 0xDA3A6E)
        var start = try Self.start(seed, stored, small, &random)
        if random.chance(40), let shared = SnapshotForge.adding(to: start.image) {
            start.image = shared
            start.name += " with a snapshot"
        }
        name = "seed \(seed), \(start.name)"
        sound = start.image
        damaged = start.image
        base = start.base
        let places = Places(MiniCheck(sound))
        for _ in 0..<random.pick([1, 1, 1, 2, 2, 3, 5]) { edit(places, &random) }
    }

    private struct Start {
        var name: String
        var image: SparseBytes
        let base: SparseBytes?
    }

    private static func start(_ seed: UInt64, _ stored: [StartImage], _ small: Bool, _ random: inout SeededRandom)
        throws(Violation) -> Start
    {
        if random.chance(40), !stored.isEmpty {
            let chosen = random.pick(stored)
            if let image = chosen.image { return Start(name: chosen.name, image: image, base: chosen.base) }
        }
        return try written(seed, small, &random)
    }

    /// What a random program leaves on a new image when it is closed.
    private static func written(_ seed: UInt64, _ small: Bool, _ random: inout SeededRandom) throws(Violation)
        -> Start
    {
        var shape = small ? Program(crash: seed).shape : Shape(seed: seed, &random)
        shape.size = min(shape.size, 24 * shape.clusterSize, 2 << 20)
        (shape.room, shape.crowd, shape.lazyRefcounts) = (nil, nil, false)
        let steps = Program(seed: seed, shape: shape, length: 14).steps.filter {
            switch $0 {
            case .snapshot, .resize: false
            default: true
            }
        }
        let program = Program(seed: seed, shape: shape, steps: steps + [.reopen])
        let run = CrashRun(program, on: StartImage(shape, seed: seed))
        try run.run()
        guard let end = run.end else { throw Violation("the program left no image") }
        return Start(name: "\(shape)", image: end.killed.image, base: end.base)
    }

    /// Where the metadata is.
    private struct Places {
        let cluster: UInt64
        let clusters: UInt64
        /// By what it is for.
        var metadata: [(use: MiniCheck.Use, clusters: [UInt64])] = []

        init(_ check: MiniCheck) {
            cluster = check.clusterSize
            clusters = (check.references.keys.max() ?? 0) + 1
            for use in [MiniCheck.Use.refcountTable, .refcountBlock, .l1, .l2, .l2, .l2, .snapshots, .bitmaps] {
                let list = check.owners.filter { $0.value == use }.keys.sorted()
                if !list.isEmpty { metadata.append((use, list)) }
            }
        }
    }

    private mutating func edit(_ places: Places, _ random: inout SeededRandom) {
        switch random.below(100) {
        case 0..<86: editEntry(places, &random)
        case 86..<90: editHeader(places, &random)
        case 90..<93: overwriteTable(places, &random)
        case 93..<96:
            let length = places.cluster * (1 + random.below(places.clusters)) + random.pick([0, 0, 512])
            guard length < damaged.length else { return }
            damaged.resize(to: length)
            edits.append("cut to \(length) bytes")
        default:
            let length = damaged.length + 1 + random.below(3 * places.cluster)
            damaged.write(random.bytes(Int(length - damaged.length)).rawBytes, at: damaged.length)
            edits.append("garbage up to \(length)")
        }
    }

    private func number(at offset: UInt64) -> UInt64 {
        damaged.bytes(ByteRange(at: offset, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func set(_ value: UInt64, at offset: UInt64, _ what: String) {
        edits.append("\(what) at \(offset): \(String(number(at: offset), radix: 16)) -> \(String(value, radix: 16))")
        let bytes: [UInt8] = (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - UInt64($0) * 8)) }
        damaged.write(bytes.rawBytes, at: offset)
    }

    private mutating func editEntry(_ places: Places, _ random: inout SeededRandom) {
        let (use, clusters) = random.pick(places.metadata)
        let table = random.pick(clusters) * places.cluster
        let slots = places.cluster / 8
        var offset = table + random.below(slots) * 8
        // Most of a table is empty; what stands in it is more worth an edit.
        let used = (0..<slots).filter { number(at: table + $0 * 8) != 0 }
        if !used.isEmpty, random.chance(85) { offset = table + random.pick(used) * 8 }
        let old = number(at: offset)
        let somewhere = random.below(places.clusters + 1) * places.cluster
        let flags = random.pick([0, 1 << 63, 1 << 63, 1, 1 << 62] as [UInt64])
        let value: UInt64 =
            switch random.below(100) {
            case 0..<30: old ^ 1 << random.below(64)
            case 30..<55: somewhere | flags
            case 55..<65: 0
            case 65..<75: number(at: table + random.below(slots) * 8)
            case 75..<83: (places.clusters + random.below(1 << 20)) * places.cluster | flags
            case 83..<92: old ^ (512 << random.below(UInt64(places.cluster.trailingZeroBitCount - 8)))
            default: random.next()
            }
        set(value, at: offset, use.rawValue)
    }

    private mutating func editHeader(_ places: Places, _ random: inout SeededRandom) {
        let somewhere = (1 + random.below(places.clusters)) * places.cluster
        switch random.below(6) {
        case 0, 1: set(somewhere, at: 48, "refcount table's offset")
        case 2: set(somewhere, at: 40, "L1 table's offset")
        case 3 where number(at: 0) & 0xFF == 3: set(number(at: 72) | random.pick([1, 2, 3]), at: 72, "features")
        default: set(somewhere, at: 64, "snapshot table's offset")
        }
    }

    private mutating func overwriteTable(_ places: Places, _ random: inout SeededRandom) {
        let (use, clusters) = random.pick(places.metadata)
        let table = random.pick(clusters) * places.cluster
        let zeros = random.chance(50)
        let bytes = zeros ? [UInt8](repeating: 0, count: Int(places.cluster)) : random.bytes(Int(places.cluster))
        damaged.write(bytes.rawBytes, at: table)
        edits.append("\(use.rawValue) at \(table) is \(zeros ? "zeros" : "garbage")")
    }
}
