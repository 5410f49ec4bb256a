import Bytes

/// What an internal snapshot of a qcow2 image keeps, read from the image's bytes.
public struct KeptSnapshot: Equatable, Sendable {
    public var id: String
    /// Bytes of its disk.
    public var size: UInt64
    /// What it keeps for each guest cluster, as `MiniCheck.stored` tells it.
    public var stored: [UInt64: [UInt8]]

    public init(id: String, size: UInt64, stored: [UInt64: [UInt8]]) {
        (self.id, self.size, self.stored) = (id, size, stored)
    }
}

extension SnapshotForge {
    /// All snapshots of an image, in the order of their table.
    public static func snapshots(in image: SparseBytes) -> [KeptSnapshot] {
        entries(of: image).enumerated().map { index, id in
            let reverted = MiniCheck(reverting(image, to: index))
            return KeptSnapshot(id: id, size: reverted.size, stored: reverted.stored)
        }
    }
}
