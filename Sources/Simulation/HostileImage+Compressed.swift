import BlockTestKit

extension HostileImage {
    /// Compressed clusters that expand to more or less than a cluster, whose input is cut short, or that lie astray.
    static func compressedClusters() -> [HostileImage] { streams() + [cutShort()] + entries() }

    private static func streams() -> [HostileImage] {
        var images: [HostileImage] = []
        for bits: UInt64 in [9, 12, 16, 21] {
            for isZstd in [false, true] {
                let style = HostileCanvas.Style(clusterBits: bits, isZstd: isZstd)
                let kind = isZstd ? "zstd" : "deflate"
                let size = 1 << Int(bits)
                func squeeze(_ count: Int, ends: Bool = true) -> [UInt8] {
                    isZstd ? Squeezed.zstd(count, ends: ends) : Squeezed.deflate(count, ends: ends)
                }
                let bomb = min(size << 8, 1 << 25)
                var streams: [(String, [UInt8])] = [
                    ("nothing", squeeze(0)), ("one byte", squeeze(1)), ("a byte less", squeeze(size - 1)),
                    ("a byte more", squeeze(size + 1)), ("twice a cluster", squeeze(2 * size)),
                    ("no end", squeeze(size, ends: false)), ("zeros", [UInt8](repeating: 0, count: 512)),
                    ("ones", [UInt8](repeating: 0xFF, count: 512)),
                    ("cut in the middle", Array(squeeze(size).prefix(3)) + [UInt8](repeating: 0xFF, count: 509)),
                ]
                // As much as two clusters of input can hold at most.
                streams.append(("a bomb", Array(squeeze(isZstd ? 1 << 30 : bomb).prefix(2 * size))))
                if isZstd { streams.append(("a window of 2^41", Squeezed.zstd(size, window: 0xF8))) }
                // The largest clusters take long: only what expands.
                for (name, stream) in streams where bits < 21 || name == "a bomb" || name == "a byte more" {
                    var canvas = HostileCanvas(style)
                    canvas.setCompressed(stream, sectors: min(UInt64(stream.count + 511) / 512, 1 << (bits - 8)))
                    images.append(
                        HostileImage(.r16, "\(kind) \(name), clusters=2^\(bits)", canvas.bytes, .opens))
                }
            }
        }
        return images
    }

    /// A stored block of a whole cluster, of which the entry names only a few sectors.
    private static func cutShort() -> HostileImage {
        let size = 4096
        let stream = [0x01, 0x00, 0x10, 0xFF, 0xEF] + [UInt8](repeating: 0x41, count: size)
        let image = HostileCanvas.changed { $0.setCompressed(stream, sectors: 4) }
        return HostileImage(.r16, "deflate too few sectors, clusters=2^12", image, .opens)
    }

    private static func entries() -> [HostileImage] {
        let sound = HostileCanvas()
        let flag = HostileCanvas.compressedFlag
        var values: [(String, UInt64)] = Edge.values(width: 8).map { ("entry=\(Edge.name($0 | flag))", $0 | flag) }
        for sectors: UInt64 in [1, 2, 15, 16] {
            for offset in [
                0, 1, 511, sound.at(.l1), sound.at(.compressed) + 1, sound.bytes.length - 1,
                sound.bytes.length, 1 << 57, (1 << 58) - 1,
            ] as [UInt64] {
                values.append(
                    ("\(sectors) sectors at \(Edge.name(offset))", sound.entry(compressedAt: offset, sectors: sectors)))
            }
        }
        return values.map { name, value in
            var canvas = sound
            canvas.set(value, at: canvas.at(.l2))
            return HostileImage(.r16, name, canvas.bytes, .opens)
        }
    }
}
