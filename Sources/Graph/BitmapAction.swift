import DirtyMap

/// A command on dirty bitmaps, alone or in a transaction.
public enum BitmapAction: Equatable, Sendable {
    /// `block-dirty-bitmap-add`.
    case add(BitmapRequest)
    case remove(BitmapName)
    case clear(BitmapName)
    case enable(BitmapName)
    case disable(BitmapName)
    /// Marks in the first what any of the others has; one without a node is of the first one's.
    case merge(into: BitmapName, [BitmapSource])
}

/// A bitmap of a node.
public struct BitmapName: Equatable, Sendable {
    /// A node's name, or a device's.
    public var node: String
    public var name: String

    public init(node: String, name: String) {
        self.node = node
        self.name = name
    }
}

/// A bitmap to look at: of a node that is said, or of one that goes without saying.
public struct BitmapSource: Equatable, Sendable {
    public var node: String?
    public var name: String

    public init(node: String? = nil, name: String) {
        self.node = node
        self.name = name
    }
}

/// The arguments of `block-dirty-bitmap-add`.
public struct BitmapRequest: Equatable, Sendable {
    public var bitmap: BitmapName
    /// Bytes; where it is left out the node's cluster size, but 4 KiB to 64 KiB, and 64 KiB where it has none.
    public var granularity: UInt32?
    public var isPersistent: Bool
    public var isDisabled: Bool

    public init(_ bitmap: BitmapName, granularity: UInt32? = nil, isPersistent: Bool = false, isDisabled: Bool = false)
    {
        self.bitmap = bitmap
        self.granularity = granularity
        self.isPersistent = isPersistent
        self.isDisabled = isDisabled
    }
}

/// What is told of a bitmap.
public struct BitmapInfo: Equatable, Sendable {
    /// Nil for one that a job made for itself.
    public var name: String?
    public var granularity: UInt64
    /// Bytes of all dirty granules.
    public var dirtyBytes: UInt64
    public var isRecording: Bool
    public var isBusy: Bool
    public var isPersistent: Bool
    public var isInconsistent: Bool

    init(_ bitmap: DirtyBitmap) {
        name = bitmap.name
        granularity = bitmap.granularity
        dirtyBytes = bitmap.dirtyBytes
        isRecording = bitmap.isEnabled
        isBusy = bitmap.isBusy
        isPersistent = bitmap.isPersistent
        isInconsistent = bitmap.isInconsistent
    }
}
