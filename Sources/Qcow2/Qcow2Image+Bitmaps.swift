public import Block
import Bytes
public import DirtyMap

// Persistent bitmaps, from the image into memory. While the image is open for writing memory has them, and what the file
// has is marked as in use; a program that finds them so after a crash knows that changes are missing (D6).

extension Qcow2Image {
    /// Reads the bitmaps of an image that is being opened.
    static func readBitmaps(_ file: any Storage, _ header: Header, _ memory: BitmapMemory, withData: Bool)
        async throws(OpenError) -> (stored: [StoredBitmap], bitmaps: NodeBitmaps)
    {
        let bitmaps = NodeBitmaps(memory: memory)
        guard let extent = try header.bitmapExtension() else { return ([], bitmaps) }
        var reader = BitmapDirectoryReader(file: file, header: header, extent)
        let stored = try await reader.read()
        var names = Set<String>()
        for entry in stored {
            guard names.insert(entry.name).inserted else { throw OpenError("Bitmap already exists: \(entry.name)") }
            guard withData else { continue }
            let map = try await readBits(file, header, entry, memory)
            let bitmap = DirtyBitmap(
                name: entry.name, map: map, granularityBits: entry.granularityBits,
                isEnabled: entry.flags.contains(.auto), isPersistent: true)
            bitmaps.add(bitmap)
        }
        bitmaps.setReadOnly(true)
        return (stored, bitmaps)
    }

    /// The bits of a bitmap; nil where it was in use, for they are not to be trusted.
    private static func readBits(_ file: any Storage, _ header: Header, _ entry: StoredBitmap, _ memory: BitmapMemory)
        async throws(OpenError) -> DirtyMap?
    {
        if entry.flags.contains(.inUse) { return nil }
        let (geometry, length) = (header.geometry, header.size & ~511)
        let clusters = StoredBitmap.clusters(length: length, granularityBits: entry.granularityBits, geometry)
        guard max(clusters, 1) == UInt64(entry.tableSize) else {
            throw OpenError(
                "Could not read bitmap '\(entry.name)' from image: its table has \(entry.tableSize) entries, not \(clusters)"
            )
        }
        let noMemory = OpenError(
            "No memory for bitmap '\(entry.name)': all bitmaps together take \(memory.limit) bytes at most",
            cause: .limit)
        guard let map = DirtyMap(length: length, granularityBits: entry.granularityBits, memory: memory) else {
            throw noMemory
        }
        let table = try await readTable(
            "bitmap_table table from image for bitmap '\(entry.name)'", file, at: entry.tableOffset,
            count: Int(entry.tableSize))
        // Dirty clusters in a row are restored as one: a part of a page takes memory that the whole page does not.
        var dirty = ByteRange(at: 0, count: 0)
        func restoreDirty() throws(OpenError) {
            guard map.restoreDirty(at: dirty.start, count: dirty.count) else { throw noMemory }
            dirty = ByteRange(at: dirty.end, count: 0)
        }
        for (index, value) in table.enumerated() {
            let start = UInt64(index) << UInt64(geometry.clusterBits)
            let cluster = BitmapCluster(value, geometry)
            if case .dirty = cluster {
                dirty = ByteRange(from: dirty.isEmpty ? start : dirty.start, to: start + geometry.clusterSize)
                continue
            }
            if !dirty.isEmpty { try restoreDirty() }
            switch cluster {
            case .clean, .dirty: break
            case .stored(let offset):
                guard file.length >= geometry.clusterSize, offset <= file.length - geometry.clusterSize else {
                    throw OpenError(
                        "Could not read bitmap '\(entry.name)' from image: its data at \(hex(offset)) ends past the end "
                            + "of the file")
                }
                var buffer = AlignedBuffer(byteCount: Int(geometry.clusterSize))
                do {
                    var span = buffer.mutableBytes
                    try await file.read(at: offset, into: &span)
                } catch { throw OpenError("Could not read bitmap '\(entry.name)' from image", cause: error) }
                guard map.restore(buffer.bytes, at: start) else { throw noMemory }
            case nil:
                throw OpenError(
                    "Could not read bitmap_table table from image for bitmap '\(entry.name)': entry \(index) is \(hex(value))"
                )
            }
        }
        if !dirty.isEmpty { try restoreDirty() }
        return map
    }

    /// Marks every bitmap as in use, durably, before anything is written that they would have to record (O10). The directory
    /// is written where it is: nothing in it changes but these bits.
    func markBitmapsInUse() async throws(BlockError) {
        guard let extent = storedExtension, storedBitmaps.contains(where: { !$0.flags.contains(.inUse) }) else {
            return
        }
        var marked = storedBitmaps
        for index in marked.indices { marked[index].flags.insert(.inUse) }
        let directory = AlignedBuffer(copying: StoredBitmap.directory(marked))
        try await file.write(at: extent.directoryOffset, from: directory.bytes, flags: [])
        try await flushFile()
        storedBitmaps = marked
    }

    /// The directory in the file; nil where there is none.
    var storedExtension: BitmapExtension? {
        do throws(OpenError) { return try diskHeader.bitmapExtension() } catch { return nil }
    }

    /// Lets the image keep these bitmaps from now on, the same as those it was opened with: it was opened in another's place.
    public func adopt(_ bitmaps: NodeBitmaps) { self.bitmaps = bitmaps }

    /// Why the image cannot keep what its bitmaps have in memory any more; nil where it can. The file may say, as it was stored
    /// last, that a bitmap is consistent: what is marked only in memory would be missing when the image is opened again (D6).
    public var bitmapsRefusal: OpenError? {
        guard isFenced else { return nil }
        return OpenError(
            "Bitmaps cannot be stored: an earlier write to the image failed; open it again", cause: .fenced)
    }

    /// Why the image cannot keep a bitmap more; nil where it can. In QEMU's words.
    public func bitmapRefusal(_ name: String, granularityBits: Int) -> OpenError? {
        if let bitmapsRefusal { return bitmapsRefusal }
        if header.version < 3 { return OpenError("Cannot store dirty bitmaps in qcow2 v2 files", cause: .unsupported) }
        if header.extensions.allSatisfy({ $0.type != HeaderExtension.bitmapsType }), !hasHeaderRoom {
            return OpenError("qcow2 header exceeds cluster size", cause: .limit)
        }
        if isReadOnly { return OpenError("the image is read-only", cause: .readOnly) }
        if name.utf8.count > Limits.bitmapNameBytes {
            return OpenError("Name length exceeds maximum (\(Limits.bitmapNameBytes) characters)", cause: .limit)
        }
        let clusters = StoredBitmap.clusters(length: length, granularityBits: granularityBits, geometry)
        if clusters > Limits.bitmapBytes >> UInt64(geometry.clusterBits) {
            return OpenError("Too much space will be occupied by the bitmap. Use larger granularity", cause: .limit)
        }
        let kept = bitmaps.all.filter(\.isPersistent).compactMap(\.name)
        if kept.count >= Limits.bitmaps {
            return OpenError("Maximum number of persistent bitmaps is already reached", cause: .limit)
        }
        let bytes = (kept + [name]).reduce(0) { $0 + StoredBitmap.headBytes + $1.utf8.count + 7 }
        if bytes > Limits.bitmapListBytes { return OpenError("No space in bitmap directory", cause: .limit) }
        return nil
    }
}

extension Qcow2Image {
    /// Whether an extension more fits into the header's cluster, wherever the backing file's name must go for it.
    private var hasHeaderRoom: Bool {
        let extensions = header.extensions.reduce(0) { $0 + HeaderArea.headBytes + ($1.data.count + 7) & ~7 }
        let name = header.backingFileName?.count ?? 0
        let needed = Int(header.encodedLength) + extensions + HeaderArea.bitmapBytes + HeaderArea.headBytes
        return needed + 2 * (name + 7) <= Int(geometry.clusterSize)
    }
}

/// How a cluster of a bitmap's bits is kept: an entry of a bitmap table ("Bitmap table" in the specification).
enum BitmapCluster: Equatable {
    case clean, dirty
    /// At this offset in the file.
    case stored(UInt64)

    /// Nil for an entry that contradicts itself.
    init?(_ entry: UInt64, _ geometry: Geometry) {
        let offset = entry & L2Entry.offsetMask
        guard entry & ~(L2Entry.offsetMask | 1) == 0, offset & geometry.clusterMask == 0 else { return nil }
        switch (offset, entry & 1) {
        case (0, 0): self = .clean
        case (0, _): self = .dirty
        case (_, 0): self = .stored(offset)
        default: return nil
        }
    }

    var entry: UInt64 {
        switch self {
        case .clean: 0
        case .dirty: 1
        case .stored(let offset): offset
        }
    }
}
