public import Qcow2

/// What is told of a node: the facts behind `query-named-block-nodes`.
public struct NodeInfo: Sendable {
    public var nodeName: String
    public var driver: String
    /// The plain file name where opening that gives this node, else `json:{…}`.
    public var filename: String
    public var isReadOnly: Bool
    public var direct: Bool
    public var noFlush: Bool
    public var detectZeroes: CommonOptions.DetectZeroes
    public var isMonitorOwned: Bool
    /// How many images lie below this one.
    public var backingDepth: Int
    /// The node below and its file name.
    public var backingNode: String?
    public var backingFile: String?
    /// The node that holds the data: `file`, or a filter's child.
    public var dataNode: String?
    public var children: [(name: String, nodeName: String)]
    public var image: ImageDetails
    /// The end of the furthest write since the node was opened, in bytes; 0 where it is not counted.
    public var highestWrite: UInt64
    /// The newest first.
    public var bitmaps: [BitmapInfo]
}

/// What is told of a node's image (QMP's ImageInfo), without what lies below it.
public struct ImageDetails: Sendable {
    public var filename: String
    public var format: String
    /// Bytes; as QEMU tells them, whole sectors.
    public var virtualSize: UInt64
    /// Bytes that its file takes on the host, where that is known.
    public var actualSize: UInt64?
    public var clusterSize: UInt64?
    /// Whether it was not closed properly; nil where the driver cannot say.
    public var dirtyFlag: Bool?
    public var isEncrypted: Bool
    /// As recorded in the image.
    public var backingFilename: String?
    public var backingFormat: String?
    /// `backingFilename` made whole with the image's own folder.
    public var fullBackingFilename: String?
    public var snapshots: [Snapshot]
    /// Nil for other formats.
    public var qcow2: ImageInfo?
}
