import BlockTestKit

extension HostileImage {
    /// Bitmaps of subclusters that contradict themselves or their descriptors, and the edges of both.
    static func subclusters() -> [HostileImage] { bitmaps() + dirtyBitmaps() + sizes() }

    private static let style = HostileCanvas.Style(clusterBits: 14, extendedL2: true)

    private static func bitmaps() -> [HostileImage] {
        let sound = HostileCanvas(style)
        let (copied, place) = (HostileCanvas.copied, sound.at(.data))
        let descriptors: [(String, UInt64)] = [
            ("nothing", 0), ("a place", place | copied), ("a shared place", place), ("only a flag", copied),
            ("the zero flag", 1), ("a place and the zero flag", place | copied | 1),
            ("an unaligned place", place | 512),
            ("a place past the end", copied | 1 << 40), ("a table", sound.at(.l1) | copied),
            ("reserved bits", place | 1 << 57), ("compressed data", sound.entry(compressedAt: place, sectors: 1)),
        ]
        let bitmaps: [(String, UInt64)] = [
            ("no bits", 0), ("all data", 0xFFFF_FFFF), ("all zeros", 0xFFFF_FFFF << 32), ("all of both", .max),
            ("the first is both", 1 | 1 << 32), ("the last is both", 1 << 31 | 1 << 63), ("the first is data", 1),
            ("the last is zeros", 1 << 63), ("every other is data, the others zeros", 0xAAAA_AAAA_5555_5555),
        ]
        return descriptors.flatMap { (what, descriptor) in
            bitmaps.map { name, bitmap in
                var canvas = sound
                canvas.set(descriptor, at: canvas.at(.l2))
                canvas.set(bitmap, at: canvas.at(.l2) + 8)
                return HostileImage(.r11, "subclusters of \(what), \(name)", canvas.bytes, .opens)
            }
        }
    }

    /// What a repair finds in the middle of its work.
    private static func dirtyBitmaps() -> [HostileImage] {
        let bitmaps: [UInt64] = [0, 1 | 1 << 32, .max]
        return bitmaps.map { bitmap in
            let image = HostileCanvas.changed(style) {
                $0.set(0b1_0001, at: 72)
                $0.set(bitmap, at: $0.at(.l2) + 8)
            }
            return HostileImage(.r12, "dirty, subclusters=\(Edge.name(bitmap))", image, .either)
        }
    }

    /// Subclusters are sectors at least.
    private static func sizes() -> [HostileImage] {
        (9...21).map { (bits: UInt64) in
            let canvas = HostileCanvas(.init(clusterBits: bits, extendedL2: true))
            return HostileImage(
                .r02, "subclusters of 2^\(bits)/32", canvas.bytes,
                bits < 14 ? .refused("Unsupported subcluster size: \(1 << bits / 32)") : .opens)
        }
    }
}
