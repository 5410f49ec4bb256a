import Block
public import BlockTestKit
import Bytes
import Qcow2

/// What can be read of an image's disks, cluster by cluster: nil stands for what cannot be.
public struct DiskContents: Equatable {
    /// The active disk's; empty where nothing says how large it is.
    public private(set) var active: [[UInt8]?]
    /// The first internal snapshot's, nil where there is none.
    public private(set) var snapshot: [[UInt8]?]?

    /// Reads all, by fresh code on an image that is opened for reading.
    public init(_ image: SparseBytes, over base: SparseBytes?) {
        // A snapshot table that cannot be true keeps the image from opening; what it tells of is another question.
        active = Self.read(Self.withoutSnapshots(image), base)
        snapshot = nil
        guard image.bytes(ByteRange(at: 60, count: 4)) != [0, 0, 0, 0], Self.tellsSize(image) else { return }
        snapshot = Self.read(Self.withoutSnapshots(SnapshotForge.reverting(image)), base)
    }

    /// Whether the first snapshot says how large its disk is; else it is not looked at.
    private static func tellsSize(_ image: SparseBytes) -> Bool {
        let table = image.bytes(ByteRange(at: 64, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
        guard let extra = ByteRange(checked: table, count: 40) else { return false }
        return image.bytes(extra)[36...].reduce(0) { $0 << 8 | UInt64($1) } >= 16
    }

    private static func withoutSnapshots(_ image: SparseBytes) -> SparseBytes {
        var image = image
        image.write([UInt8](repeating: 0, count: 12).rawBytes, at: 60)
        // So do its bitmaps, where there are such features.
        if image.bytes(ByteRange(at: 7, count: 1)) == [3] {
            image.write([UInt8](repeating: 0, count: 8).rawBytes, at: 88)
        }
        return image
    }

    private static func read(_ bytes: SparseBytes, _ base: SparseBytes?) -> [[UInt8]?] {
        let context = SimulatedContext(seed: 1, order: .fifo)
        guard let header = try? Header.decode(bytes.bytes(ByteRange(at: 0, count: min(bytes.length, 2 << 20))).rawBytes)
        else { return [] }
        let cluster = header.geometry.clusterSize
        let count = Int(header.geometry.clusters(for: min(header.size, 64 << 20)))
        let disk = BlockIO(context: context, driver: .storage(MemoryStorage(bytes)))
        let contents = try? context.complete {
            let image = try await Qcow2Image.open(file: disk, options: Options(isReadOnly: true))
            let below = base.map {
                BlockIO(context: context, driver: .storage(MemoryStorage($0)), options: .init(isReadOnly: true))
            }
            let io = BlockIO(
                context: context, driver: .format(image), file: disk, backing: below, options: .init(isReadOnly: true))
            var contents: [[UInt8]?] = []
            for index in 0..<count {
                let start = UInt64(index) * cluster
                contents.append(try? await io.bytes(at: start, count: Int(min(cluster, header.size - start))))
            }
            io.retire()
            return contents
        }
        return contents ?? Array(repeating: nil, count: count)
    }
}
