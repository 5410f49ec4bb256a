import Bytes

/// All programs of up to three steps from a small alphabet, each ended by a flush of all of it: after ACE, short programs on
/// a fresh disk with a crash at a flush find most of what there is to find. Each of them twice: one request after the other, and
/// all at once.
public struct ExhaustivePrograms: RandomAccessCollection, Sendable {
    private let shape: Shape
    private let alphabet: [Step]

    public init(_ start: StartImage) {
        shape = start.shape
        alphabet = Self.alphabet(size: shape.size, cluster: shape.subclusterSize)
    }

    /// Clusters 4 and 5 lie side by side in one table, one of them held by the guest's own data in most images and the other
    /// not; the border of the first and second table is crossed too where there is one.
    private static func alphabet(size: UInt64, cluster: UInt64) -> [Step] {
        let (first, second) = (4 * cluster, 8 * cluster)
        let border = Swift.min(cluster * cluster / 8, size / 2)
        return [
            .write(ByteRange(at: first + 100, count: 600), fua: false, fill: 1),
            .write(ByteRange(at: first, count: cluster), fua: false, fill: 2),
            .write(ByteRange(at: second - 512, count: 1024), fua: false, fill: 3),
            .write(ByteRange(at: border - 512, count: 1024), fua: false, fill: 4),
            .write(ByteRange(at: second + 512, count: 512), fua: true, fill: 5),
            .zero(ByteRange(at: second - cluster, count: 2 * cluster), mayUnmap: true, fua: false),
            .zero(ByteRange(at: second, count: cluster), mayUnmap: false, fua: false),
            .zero(ByteRange(at: first + 256, count: 512), mayUnmap: true, fua: false),
            .discard(ByteRange(at: first, count: 5 * cluster)),
            .flush, .snapshot(size), .resize(size + 2 * cluster + 512), .resize(size + 512), .resize(first + 512),
            .reopen,
        ]
    }

    /// What the disk of this program writes as one: 4 KiB for one program in four, which is four clusters.
    public func sectorSize(at position: Int) -> UInt64 { position / 2 % 4 == 3 ? 4096 : 512 }

    public var startIndex: Int { 0 }

    public var endIndex: Int {
        let count = alphabet.count
        return 2 * (count + count * count + count * count * count)
    }

    public subscript(position: Int) -> Program {
        var shape = shape
        shape.depth = position % 2 == 0 ? 1 : 4
        var (rest, length, most) = (position / 2, 1, alphabet.count)
        while rest >= most {
            rest -= most
            length += 1
            most *= alphabet.count
        }
        var steps: [Step] = []
        for _ in 0..<length {
            steps.append(alphabet[rest % alphabet.count])
            rest /= alphabet.count
        }
        return Program(seed: UInt64(position), shape: shape, steps: steps + [.compare, .flush])
    }
}
