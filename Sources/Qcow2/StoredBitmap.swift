import Block
import Bytes

/// What the header says of an image's bitmaps ("Bitmaps extension" in the specification): how many there are, and where
/// the directory lies that lists them.
struct BitmapExtension: Equatable, Sendable {
    /// Bytes of the extension's data.
    static let byteCount = 24

    var count: UInt32
    /// Bytes of the directory.
    var directorySize: UInt64
    var directoryOffset: UInt64

    var data: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.byteCount)
        bytes.withMutableBytes { (span: inout MutableRawSpan) in
            span.storeBigEndian(count, at: 0)
            span.storeBigEndian(directorySize, at: 8)
            span.storeBigEndian(directoryOffset, at: 16)
        }
        return bytes
    }
}

extension Header {
    /// The bitmaps that the image has, or nil: also where a program that knows none has written to the image since, for they
    /// are out of date then. A contradiction is refused in QEMU's words.
    func bitmapExtension() throws(OpenError) -> BitmapExtension? {
        guard let part = extensions.first(where: { $0.type == HeaderExtension.bitmapsType }) else { return nil }
        let data = part.data
        guard data.count == BitmapExtension.byteCount else {
            throw OpenError("bitmaps_ext: Invalid extension length (\(data.count))")
        }
        guard autoclear.contains(.bitmaps) else { return nil }
        let bytes = data.byteSpan
        let found = BitmapExtension(
            count: bytes.bigEndian(at: 0), directorySize: bytes.bigEndian(at: 8),
            directoryOffset: bytes.bigEndian(at: 16))
        if bytes.bigEndian(UInt32.self, at: 4) != 0 { throw OpenError("bitmaps_ext: Reserved field is not zero") }
        guard found.count <= Limits.bitmaps else {
            throw OpenError(
                "bitmaps_ext: image has \(found.count) bitmaps, exceeding the QEMU supported maximum of \(Limits.bitmaps)"
            )
        }
        if found.count == 0 { throw OpenError("bitmaps_ext: found bitmaps extension with zero bitmaps") }
        guard found.directoryOffset & geometry.clusterMask == 0, found.directoryOffset != 0,
            found.directoryOffset < Limits.hostOffset
        else { throw OpenError("bitmaps_ext: invalid bitmap directory offset (\(hex(found.directoryOffset)))") }
        guard found.directorySize <= Limits.bitmapDirectoryBytes else {
            throw OpenError(
                "bitmaps_ext: bitmap directory size (\(found.directorySize)) exceeds the maximum supported size "
                    + "(\(Limits.bitmapDirectoryBytes))")
        }
        if found.directorySize == 0 { throw OpenError("Requested bitmap_directory_size is zero") }
        return found
    }

    mutating func setBitmapExtension(_ new: BitmapExtension?) {
        let position = extensions.firstIndex { $0.type == HeaderExtension.bitmapsType }
        switch (position, new) {
        case (let position?, let new?):
            extensions[position] = .other(type: HeaderExtension.bitmapsType, data: new.data)
        case (nil, let new?): extensions.append(.other(type: HeaderExtension.bitmapsType, data: new.data))
        case (let position?, nil): extensions.remove(at: position)
        case (nil, nil): break
        }
    }
}

/// One bitmap as the image keeps it: an entry of the bitmap directory ("Bitmap directory" in the specification).
struct StoredBitmap: Equatable, Sendable {
    struct Flags: OptionSet, Sendable {
        let rawValue: UInt32
        /// Somebody has the image open and keeps the bitmap, or did not close it: what the table says is out of date.
        static let inUse = Flags(rawValue: 1)
        /// Changes are recorded.
        static let auto = Flags(rawValue: 2)
    }

    var tableOffset: UInt64
    /// Entries of the table, each for a cluster of bits.
    var tableSize: UInt32
    var flags: Flags
    /// log2 of the bytes that a bit stands for.
    var granularityBits: Int
    var name: String

    /// Bytes of an entry without its name.
    static let headBytes = 24
    /// The only type there is: a bitmap that tracks changes.
    static let dirtyTracking: UInt8 = 1

    /// Bytes that the entry takes in the directory.
    var byteCount: Int { (Self.headBytes + name.utf8.count + 7) & ~7 }

    /// Clusters of bits that a disk of `length` bytes has.
    static func clusters(length: UInt64, granularityBits: Int, _ geometry: Geometry) -> UInt64 {
        let perCluster = UInt64(granularityBits) + UInt64(geometry.clusterBits) + 3
        return length >> perCluster + (length & ((1 << perCluster) - 1) == 0 ? 0 : 1)
    }

    /// The directory's bytes.
    static func directory(_ list: [StoredBitmap]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: list.reduce(0) { $0 + $1.byteCount })
        var offset = 0
        for bitmap in list {
            bytes.withMutableBytes { (span: inout MutableRawSpan) in
                span.storeBigEndian(bitmap.tableOffset, at: offset)
                span.storeBigEndian(bitmap.tableSize, at: offset + 8)
                span.storeBigEndian(bitmap.flags.rawValue, at: offset + 12)
                span.storeBigEndian(Self.dirtyTracking, at: offset + 16)
                span.storeBigEndian(UInt8(bitmap.granularityBits), at: offset + 17)
                span.storeBigEndian(UInt16(bitmap.name.utf8.count), at: offset + 18)
            }
            let name = Array(bitmap.name.utf8)
            bytes.replaceSubrange(offset + Self.headBytes..<offset + Self.headBytes + name.count, with: name)
            offset += bitmap.byteCount
        }
        return bytes
    }
}

/// Reads the bitmap directory piece by piece; every entry is checked before anything depends on it.
struct BitmapDirectoryReader {
    let file: any Storage
    let header: Header
    let extent: BitmapExtension
    private var consumed: UInt64 = 0
    private var buffer: [UInt8] = []
    private var position = 0
    private var kept = 0

    private static let piece: UInt64 = 64 << 10

    init(file: any Storage, header: Header, _ extent: BitmapExtension) {
        self.file = file
        self.header = header
        self.extent = extent
    }

    mutating func read() async throws(OpenError) -> [StoredBitmap] {
        var list: [StoredBitmap] = []
        while extent.directorySize - consumed >= UInt64(StoredBitmap.headBytes) {
            guard list.count < extent.count else {
                throw OpenError("More bitmaps found than specified in header extension")
            }
            list.append(try await readEntry())
        }
        guard consumed == extent.directorySize else { throw OpenError("Broken bitmap directory") }
        guard list.count == extent.count else {
            throw OpenError("Less bitmaps found than specified in header extension")
        }
        return list
    }

    private mutating func readEntry() async throws(OpenError) -> StoredBitmap {
        let head = try await take(StoredBitmap.headBytes)
        let bytes = head.byteSpan
        let nameSize = bytes.bigEndian(UInt16.self, at: 18)
        let extra = bytes.bigEndian(UInt32.self, at: 20)
        guard UInt64(extra) <= extent.directorySize else { throw OpenError("Broken bitmap directory") }
        if extra != 0 { throw OpenError("Bitmap extra data is not supported") }
        let whole = (StoredBitmap.headBytes + Int(nameSize) + 7) & ~7
        let name = String(decoding: try await take(whole - StoredBitmap.headBytes).prefix(Int(nameSize)), as: UTF8.self)
        let bitmap = StoredBitmap(
            tableOffset: bytes.bigEndian(at: 0), tableSize: bytes.bigEndian(at: 8),
            flags: StoredBitmap.Flags(rawValue: bytes.bigEndian(at: 12)), granularityBits: Int(bytes.byte(at: 17)),
            name: name)
        guard bytes.byte(at: 16) == StoredBitmap.dirtyTracking, nameSize == UInt16(name.utf8.count), isSound(bitmap)
        else {
            throw OpenError("Bitmap '\(name)' doesn't satisfy the constraints")
        }
        kept += MemoryLayout<StoredBitmap>.stride + name.utf8.count
        guard kept <= Limits.bitmapListBytes else {
            throw OpenError("The bitmap directory takes more than \(Limits.bitmapListBytes) bytes of memory")
        }
        return bitmap
    }

    private func isSound(_ bitmap: StoredBitmap) -> Bool {
        let geometry = header.geometry
        let bytes = UInt64(bitmap.tableSize) << UInt64(geometry.clusterBits)
        guard bitmap.tableSize > 0, bitmap.tableOffset != 0, bitmap.tableOffset & geometry.clusterMask == 0,
            bitmap.tableOffset < Limits.hostOffset, bytes <= Limits.bitmapBytes,
            Limits.bitmapGranularityBits.contains(bitmap.granularityBits), bitmap.flags.rawValue & ~3 == 0,
            !bitmap.name.isEmpty, bitmap.name.utf8.count <= Limits.bitmapNameBytes
        else { return false }
        // A bitmap in use may be of another size: the disk's was changed meanwhile.
        return bitmap.flags.contains(.inUse)
            || StoredBitmap.clusters(length: header.size, granularityBits: bitmap.granularityBits, geometry)
                <= UInt64(bitmap.tableSize)
    }

    private mutating func take(_ count: Int) async throws(OpenError) -> [UInt8] {
        guard UInt64(count) <= extent.directorySize - consumed else { throw OpenError("Broken bitmap directory") }
        while buffer.count - position < count { try await readPiece() }
        defer {
            position += count
            consumed += UInt64(count)
        }
        return Array(buffer[position..<position + count])
    }

    private mutating func readPiece() async throws(OpenError) {
        buffer.removeSubrange(0..<position)
        position = 0
        let start = consumed + UInt64(buffer.count)
        let length = min(Self.piece, extent.directorySize - start)
        guard let range = ByteRange(checked: extent.directoryOffset + start, count: length), range.end <= file.length
        else { throw OpenError("Failed to read bitmap directory: it ends past the end of the file") }
        var piece = AlignedBuffer(byteCount: Int(length))
        do {
            var span = piece.mutableBytes
            try await file.read(at: range.start, into: &span)
        } catch { throw OpenError("Failed to read bitmap directory", cause: error) }
        buffer.append(contentsOf: piece.bytes.array)
    }
}
