public import Block
public import Bytes

/// The bitmaps of one node. Its walker tells it of every change; the ones that record mark it.
public final class NodeBitmaps: ChangeTracker {
    /// So many bitmaps a node has at most, as many as qcow2 can keep.
    public static let mostBitmaps = 65535

    public let memory: BitmapMemory
    /// The newest first.
    public private(set) var all: [DirtyBitmap] = []
    /// Those that record.
    private var recording: [DirtyMap] = []

    public init(memory: BitmapMemory) { self.memory = memory }

    public func find(_ name: String) -> DirtyBitmap? { all.first { $0.name == name } }

    public func add(_ bitmap: DirtyBitmap) {
        all.insert(bitmap, at: 0)
        // An image may bring many, and not one of them that records.
        if bitmap.records, let map = bitmap.map { recording.insert(map, at: 0) }
    }

    public func remove(_ bitmap: DirtyBitmap) {
        all.removeAll { $0 === bitmap }
        collect()
    }

    public func setEnabled(_ bitmap: DirtyBitmap, _ isEnabled: Bool) {
        bitmap.isEnabled = isEnabled
        collect()
    }

    /// The node can be written, or not: so can what it keeps.
    public func setReadOnly(_ isReadOnly: Bool) {
        for bitmap in all where bitmap.isPersistent { bitmap.isReadOnly = isReadOnly }
        collect()
    }

    private func collect() { recording = all.filter(\.records).compactMap(\.map) }

    /// The node's image was opened anew: these are its bitmaps now. Who used the old ones goes on with them, as the image
    /// says they are; those that no image keeps stay.
    public func replace(with opened: [DirtyBitmap]) {
        let old = all.filter(\.isPersistent)
        let kept = opened.map { bitmap in
            guard let known = old.first(where: { $0.name == bitmap.name }) else { return bitmap }
            known.follow(bitmap)
            return known
        }
        all = all.filter { !$0.isPersistent } + kept
        collect()
    }

    /// Where a node can grow, writes make it; its bitmaps follow.
    public func changed(_ range: ByteRange) {
        for map in recording {
            if range.end > map.length { return grow(for: range) }
            map.set(range)
        }
    }

    private func grow(for range: ByteRange) {
        resize(to: max(range.end, all.compactMap { $0.map?.length }.max() ?? 0))
        for map in recording { map.set(range) }
    }

    /// The node has another length; bitmaps have whole sectors, as QEMU counts them. A bitmap for which there is no memory is
    /// not to be trusted any more.
    public func resize(to length: UInt64) {
        let length = length.roundedUp(to: 512) ?? length
        for bitmap in all {
            guard let map = bitmap.map, map.length != length, !map.resize(to: length) else { continue }
            bitmap.invalidate()
        }
        collect()
    }
}
