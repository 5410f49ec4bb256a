/// What `query-named-block-nodes` and `img info` tell of a qcow2 image.
public struct ImageInfo: Equatable, Sendable {
    /// Bytes.
    public var clusterSize: UInt64
    /// `0.10` or `1.1`.
    public var compat: String
    public var refcountBits: UInt32
    public var lazyRefcounts: Bool
    public var isCorrupt: Bool
    public var isDirty: Bool
    /// `zlib` or `zstd`.
    public var compressionType: String
    public var hasExtendedL2: Bool
    /// Where guest data lies in a file of its own: that file's name as it stands in the image, and whether it can be read as
    /// the disk by itself.
    public var dataFile: String?
    public var dataFileIsRaw: Bool?
    /// As they stand in the image.
    public var backingFile: String?
    public var backingFormat: String?
    public var snapshots: [Snapshot]
    /// The bitmaps as they stand in the file.
    public var bitmaps: [StoredBitmapInfo]
}

extension Qcow2Image {
    public var info: ImageInfo {
        ImageInfo(
            clusterSize: geometry.clusterSize, compat: header.compat, refcountBits: geometry.refcountBits,
            lazyRefcounts: header.compatible.contains(.lazyRefcounts), isCorrupt: isCorrupt,
            isDirty: header.incompatible.contains(.dirty), compressionType: header.compressionType.name,
            hasExtendedL2: geometry.hasExtendedL2, dataFile: header.hasDataFile ? header.dataFile : nil,
            dataFileIsRaw: header.hasDataFile ? isDataRaw : nil, backingFile: header.backingFile,
            backingFormat: header.backingFormat,
            snapshots: snapshots, bitmaps: storedBitmaps.map { StoredBitmapInfo($0) })
    }
}
