public import Block
import Graph
public import Qcow2

/// What `info` tells of one image. Made from the one file that was named; nothing that the image names is opened.
public struct ImageInfo: Equatable, Sendable {
    /// As the user wrote it, or `json:{…}`.
    public var filename: String
    /// `qcow2` or `raw`.
    public var format: String
    /// The virtual disk's size in bytes.
    public var virtualSize: UInt64
    /// Bytes that the file takes on the host.
    public var actualSize: UInt64?
    public var clusterSize: UInt64?
    /// Whether the image was not closed well.
    public var isDirty = false
    public var isEncrypted = false
    /// Word for word as the image states it.
    public var backingFilename: String?
    /// The same, seen from here; told where the image states a name.
    public var fullBackingFilename: String?
    public var backingFormat: String?
    public var snapshots: [Snapshot] = []
    /// What only qcow2 has.
    public var qcow2: Qcow2Info?
    /// The host file's path, which names in the image start from.
    var path: String?

    init(filename: String, format: String, virtualSize: UInt64, actualSize: UInt64?) {
        self.filename = filename
        self.format = format
        self.virtualSize = virtualSize
        self.actualSize = actualSize
    }
}

/// What `info` tells of qcow2 alone.
public struct Qcow2Info: Equatable, Sendable {
    /// `0.10` or `1.1`.
    public var compat: String
    public var compressionType: String
    public var refcountBits: UInt32
    /// The following are told from version 3 on.
    public var lazyRefcounts: Bool?
    public var isCorrupt: Bool?
    public var extendedL2: Bool?
    /// Where guest data lies in another file: its name, word for word, and whether it can be read as raw.
    public var dataFile: String?
    public var dataFileIsRaw: Bool?
    /// In the order of the image's directory.
    public var bitmaps: [StoredBitmapInfo] = []

    init(_ header: Header) {
        compat = header.compat
        compressionType = header.compressionType.name
        refcountBits = header.geometry.refcountBits
        guard header.version >= 3 else { return }
        lazyRefcounts = header.compatible.contains(.lazyRefcounts)
        isCorrupt = header.incompatible.contains(.corrupt)
        extendedL2 = header.incompatible.contains(.extendedL2)
        guard header.incompatible.contains(.externalDataFile) else { return }
        for case .other(HeaderExtension.dataFileType, let data) in header.extensions {
            dataFile = String(decoding: data, as: UTF8.self)
        }
        dataFileIsRaw = header.autoclear.contains(.rawExternalData)
    }
}

extension ImageInfo {
    /// Reads what an image says of itself. Where nobody said what it is, it is qcow2 if the magic says so, else raw; nothing
    /// is written, so a wrong guess harms nobody.
    public static func read(_ file: ImageFile) async throws(OpenError) -> ImageInfo {
        let kind = try await file.readKind()
        if kind == .qcow2 { return try await qcow2(file) }
        guard let size = file.storage.length.roundedUpToSector else { throw OpenError("Image is too big") }
        var info = ImageInfo(
            filename: file.filename(as: kind), format: kind.name, virtualSize: size, actualSize: file.allocatedBytes)
        info.clusterSize = file.clusterSize
        return info
    }

    private static func qcow2(_ file: ImageFile) async throws(OpenError) -> ImageInfo {
        let header = try await Qcow2Image.readHeader(file.storage).header
        var info = ImageInfo(
            filename: file.filename(as: .qcow2), format: "qcow2", virtualSize: header.size,
            actualSize: file.allocatedBytes)
        info.path = file.path
        info.clusterSize = header.geometry.clusterSize
        info.isDirty = header.incompatible.contains(.dirty)
        info.isEncrypted = header.cryptMethod != 0
        info.backingFilename = header.backingFile
        info.fullBackingFilename = header.backingFile.map { PathText.combine(file.path ?? "", $0) }
        info.backingFormat = header.backingFormat
        info.qcow2 = Qcow2Info(header)
        info.snapshots = try await Snapshot.list(header, file.storage)
        info.qcow2?.bitmaps = try await StoredBitmapInfo.list(header, file.storage)
        return info
    }
}
