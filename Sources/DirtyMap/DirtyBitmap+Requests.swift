public import Block
import Bytes

// What both the management protocol and the image tool ask of bitmaps, with QEMU's words where it cannot be.

extension DirtyBitmap {
    /// A new bitmap of a node of this length, clean. Beside `known`, which are the node's.
    public static func make(
        _ name: String, granularity: UInt64, length: UInt64, isEnabled: Bool, isPersistent: Bool,
        beside known: [DirtyBitmap], memory: BitmapMemory
    ) throws(OpenError) -> DirtyBitmap {
        guard name.utf8.count <= longestName else {
            throw OpenError("Bitmap name too long: \(name.prefix(longestName))")
        }
        guard known.count < NodeBitmaps.mostBitmaps else {
            throw OpenError("There are \(known.count) bitmaps already", cause: .limit)
        }
        let bits = granularity.trailingZeroBitCount
        let length = length.roundedUp(to: 512) ?? length
        guard let map = DirtyMap(length: length, granularityBits: bits, memory: memory) else {
            throw OpenError(
                "No memory for bitmap '\(name)': all bitmaps together take \(memory.limit) bytes at most; use a larger "
                    + "granularity", cause: .limit)
        }
        return DirtyBitmap(
            name: name, map: map, granularityBits: bits, isEnabled: isEnabled, isPersistent: isPersistent)
    }

    /// Whether a new bitmap may have this name and granularity, in bytes.
    public static func check(_ name: String, granularity: UInt64, beside known: [DirtyBitmap]) throws(OpenError) {
        guard granularity.nonzeroBitCount == 1, DirtyMap.granularityBits.contains(granularity.trailingZeroBitCount)
        else { throw OpenError("Granularity must be power of 2 and at least 512") }
        if known.contains(where: { $0.name == name }) { throw OpenError("Bitmap already exists: \(name)") }
    }

    /// A new bitmap's granularity where none is said: the cluster size, within QEMU's bounds.
    public static func defaultGranularity(clusterSize: UInt64?) -> UInt64 {
        min(max(clusterSize ?? .max, 4 << 10), 64 << 10)
    }

    /// Why `other` cannot be merged into this one; nil where it can.
    public func mergeRefusal(_ other: DirtyBitmap) -> OpenError? {
        if let refusal = refusal(of: .change) ?? other.refusal(of: .look) { return refusal }
        let (length, otherLength) = (map?.length ?? 0, other.map?.length ?? 0)
        guard length != otherLength else { return nil }
        return OpenError(
            "Bitmaps are of different sizes (destination size is \(length), source size is \(otherLength)) and can't be "
                + "merged")
    }
}

extension [DirtyBitmap] {
    /// The bitmap of this name.
    public func named(_ name: String) throws(OpenError) -> DirtyBitmap {
        guard let bitmap = first(where: { $0.name == name }) else {
            throw OpenError("Dirty bitmap '\(name)' not found")
        }
        return bitmap
    }
}
