public import BlockTestKit

/// What a program starts on: an image and what lies below it, both closed and sound.
public struct StartImage: Sendable {
    public let name: String
    /// Nil: a new one of the program's shape.
    public let image: SparseBytes?
    /// The file for its data, where that lies apart.
    public let data: SparseBytes?
    /// A raw disk below all.
    public let base: SparseBytes?
    /// The qcow2 images between, from the bottom.
    public let below: [SparseBytes]
    /// What the guest's disk reads as.
    public let contents: [UInt8]
    /// What the image's internal snapshots keep.
    public let snapshots: [KeptSnapshot]

    public init(
        name: String, image: SparseBytes?, data: SparseBytes? = nil, base: SparseBytes? = nil,
        below: [SparseBytes] = [], contents: [UInt8], snapshots: [KeptSnapshot] = []
    ) {
        self.name = name
        self.image = image
        self.data = data
        self.base = base
        self.below = below
        self.contents = contents
        self.snapshots = snapshots
    }

    /// An image of a shape without data: a new one, over a raw disk where the shape asks for one, or a crowded one.
    public init(_ shape: Shape, seed: UInt64) {
        var contents = [UInt8](repeating: 0, count: Int(shape.size))
        var base: SparseBytes?
        if shape.backing != .none {
            let below = Self.backing(shape, seed)
            let shared = min(contents.count, below.count)
            contents.replaceSubrange(0..<shared, with: below[..<shared])
            base = SparseBytes(below)
        }
        let image = shape.crowd.map { Self.crowded(size: shape.size, used: $0) }
        self.init(name: image == nil ? "new" : "crowded", image: image, base: base, contents: contents)
    }

    private static func backing(_ shape: Shape, _ seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed ^ 0xBAC4)
        let length =
            switch shape.backing {
            case .shorter: max(512, shape.size / 2 & ~511)
            case .longer: shape.size + 5 * 4096
            default: shape.size
            }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        for _ in 0..<6 {
            let start = random.below(bytes.count)
            let part = random.bytes(min(bytes.count - start, 1 + random.below(200_000)))
            bytes.replaceSubrange(start..<start + part.count, with: part)
        }
        return bytes
    }
}
