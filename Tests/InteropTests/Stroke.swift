/// One thing that a client does to a disk, as a command of qemu-io.
enum Stroke: Sendable {
    case write(pattern: UInt8, at: UInt64, count: UInt64, fua: Bool)
    case zero(at: UInt64, count: UInt64, unmap: Bool)
    case discard(at: UInt64, count: UInt64)
    case flush

    /// The command for a client of the disk.
    var command: String {
        switch self {
        case .write(let pattern, let at, let count, let fua):
            "write \(fua ? "-f " : "")-P \(pattern) \(at) \(count)"
        case .zero(let at, let count, let unmap): "write -z \(unmap ? "-u " : "")\(at) \(count)"
        case .discard(let at, let count): "discard \(at) \(count)"
        case .flush: "flush"
        }
    }

    /// The command that makes a raw file of what the disk has to read as afterwards. A discard of whole clusters reads
    /// as zeros, unless the format cannot say so.
    func commandOnRaw(discardZeroes: Bool) -> String? {
        switch self {
        case .write(let pattern, let at, let count, _): "write -P \(pattern) \(at) \(count)"
        case .zero(let at, let count, _): "write -z \(at) \(count)"
        case .discard(let at, let count): discardZeroes ? "write -z \(at) \(count)" : nil
        case .flush: nil
        }
    }

    /// A repeatable mixture for a disk of `size` bytes, with pieces of all shapes around the clusters' borders.
    static func mixture(seed: UInt64, size: UInt64, clusterSize: UInt64, count: Int) -> [Stroke] {
        var random = SplitMix(state: seed)
        return (0..<count).map { index in
            let kind = random.next() % 10
            let length = min(1 + random.next() % (clusterSize * 3), size / 2)
            let start = random.next() % (size - length)
            // Sector aligned for half of them, for clients mostly are.
            let (at, bytes) =
                random.next() % 2 == 0 ? (start, length) : (start / 512 * 512, max(512, length / 512 * 512))
            switch kind {
            case 0...5:
                return .write(pattern: UInt8(1 + (index + Int(seed)) % 255), at: at, count: bytes, fua: kind == 5)
            case 6, 7: return .zero(at: at, count: bytes, unmap: kind == 7)
            case 8:
                let clusters = 1 + random.next() % 3
                let first = random.next() % max(1, size / clusterSize - clusters)
                return .discard(at: first * clusterSize, count: clusters * clusterSize)
            default: return .flush
            }
        }
    }
}

/// The generator of Steele, Lea and Flood: any seed gives a good, repeatable sequence.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension Scratch {
    /// Does the strokes to an image (or a URI) with qemu-io.
    func strike(_ strokes: [Stroke], _ target: String, format: String = "raw") async throws {
        try await io(strokes.map(\.command), target, format: format)
    }

    /// Does to a raw file what a disk would have gone through.
    func strikeRaw(_ strokes: [Stroke], _ file: String, discardZeroes: Bool = true) async throws {
        try await io(strokes.compactMap { $0.commandOnRaw(discardZeroes: discardZeroes) }, file, format: "raw")
    }

    /// Runs commands of qemu-io, all of which have to succeed.
    @discardableResult
    func io(_ commands: [String], _ target: String, format: String = "raw", options: [String] = []) async throws
        -> String
    {
        try await ok(
            ["qemu-io", "-f", format, "-d", "unmap"] + options + commands.flatMap { ["-c", $0] } + [target],
            seconds: 180)
    }
}
