import Block
import BlockTestKit

extension StartImage {
    /// The images of Tests/Fixtures/start, as its script made them with QEMU's tools. Opening `bitmap` for writing marks its
    /// bitmap as in use; opening `dirty`, whose refcounts are behind, repairs it.
    public static let storedNames = [
        "empty", "full", "backed", "compressed", "shared", "lazy", "bitmap", "dirty",
        "subclusters",
    ]

    /// A stored image; `read` answers the bytes of a file of that folder.
    public static func stored(_ name: String, _ read: (String) throws -> [UInt8]) rethrows -> StartImage {
        let size = name == "full" ? 121 << 10 : 132 << 10
        var contents = [UInt8](repeating: 0, count: size)
        // What the backing file holds past the image's end must never show.
        let isBacked = name == "backed" || name == "subclusters"
        let base = isBacked ? SparseBytes(try read("backing.raw") + repeatElement(0xBB, count: 8192)) : nil
        for offset in contents.indices {
            let isOwn = name == "full" || name == "compressed" || (name != "empty" && offset % 8192 < 4096)
            if isOwn {
                contents[offset] = pattern(offset, 37, 1)
            } else if base != nil {
                contents[offset] = pattern(offset, 91, 3)
            }
        }
        let image = SparseBytes(try read("\(name).qcow2"))
        return StartImage(
            name: name, image: image, base: base, contents: contents,
            snapshots: SnapshotForge.snapshots(in: image))
    }

    private static func pattern(_ offset: Int, _ perSector: Int, _ perByte: Int) -> UInt8 {
        UInt8(1 + (offset / 512 * perSector + offset * perByte) % 251)
    }

    /// How a stored image was made, as far as what is made on top of it is made alike.
    public var shape: Shape {
        var random = SeededRandom(seed: 0)
        var shape = Shape(seed: 0, &random)
        shape.version = 3
        shape.extendedL2 = name == "subclusters"
        shape.clusterBits = shape.extendedL2 ? 14 : 10
        shape.refcountBits = 16
        shape.size = UInt64(contents.count)
        shape.backing = base == nil ? .none : .longer
        shape.lazyRefcounts = name == "lazy" || name == "dirty"
        shape.tinyCaches = false
        shape.depth = 4
        shape.detectZeroes = .off
        shape.room = nil
        return shape
    }
}
