import Bytes

/// What an internal snapshot of a qcow2 image keeps, read from the image's bytes.
public struct KeptSnapshot: Equatable, Sendable {
    public var id: String
    /// Bytes of its disk.
    public var size: UInt64
    /// What it keeps for each guest cluster, as `MiniCheck.stored` tells it; zeros are the same however they are said.
    public var stored: [UInt64: [UInt8]]

    /// What the active tables of an image keep, under the id of a snapshot.
    public init(id: String, of image: SparseBytes) {
        let check = MiniCheck(image)
        let hasBacking = image.bytes(ByteRange(at: 8, count: 8)).contains { $0 != 0 }
        (self.id, size, stored) = (id, check.size, [:])
        for (guest, bytes) in check.stored {
            let isZero = bytes.allSatisfy { $0 == 0 }
            if !isZero { stored[guest] = bytes } else if hasBacking { stored[guest] = [] }
        }
    }
}

extension KeptSnapshot {
    public static func == (left: KeptSnapshot, right: KeptSnapshot) -> Bool {
        guard left.id == right.id, left.size == right.size, left.stored.count == right.stored.count else {
            return false
        }
        return left.stored.allSatisfy { guest, bytes in
            right.stored[guest].map { $0.count == bytes.count && $0.rawBytes.isSame(as: bytes.rawBytes) } ?? false
        }
    }
}

extension SnapshotForge {
    /// All snapshots of an image, in the order of their table.
    public static func snapshots(in image: SparseBytes) -> [KeptSnapshot] {
        entries(of: image).enumerated().map { index, id in
            KeptSnapshot(id: id, of: reverting(image, to: index))
        }
    }
}
