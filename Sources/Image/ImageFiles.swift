public import Block

/// The host's files, as the image tool reaches them. The program gives the real ones, tests those they make up.
public protocol ImageFiles: AnyObject {
    /// Opens `path` (a file or a block device). Fails with the host's words: `Could not open 'F': No such file or
    /// directory`.
    func open(_ path: String, _ use: FileUse) async throws(OpenError) -> ImageFile
    /// Makes `path`, empty, or empties it, and opens it for writing.
    func create(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> ImageFile
    /// As `create`, but what was not there before has its name only once it is `completed`: before that, an end of the
    /// process leaves nothing under it.
    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> ImageFile
    /// Standard input and output, for the name `-`.
    var input: any BytePipe { get }
    var output: any BytePipe { get }
}

/// How a file is opened.
public struct FileUse: Equatable, Sendable {
    public var isWritable: Bool
    /// Whether others may write meanwhile (`-U`).
    public var forceShare: Bool
    /// The path must lie in this folder or below it, links followed; nil where it was named by the user.
    public var below: String?
    public var cache: CacheMode

    public init(
        isWritable: Bool = false, forceShare: Bool = false, below: String? = nil, cache: CacheMode = .writeback
    ) {
        self.isWritable = isWritable
        self.cache = cache
        self.forceShare = forceShare
        self.below = below
    }
}

/// One open file of the image tool.
public struct ImageFile {
    /// Takes requests of any alignment.
    public let storage: any Storage
    /// Bytes that the file takes on the host, where that is known.
    public let allocatedBytes: UInt64?
    /// The same for two openings of one file, and for nothing else.
    public let identity: String
    /// Ends its use; what was written is flushed by whoever wrote it.
    public let close: () async -> Void
    /// As `close`, for a new image that could not be made: a file that was not there before goes again.
    public let abandon: () async -> Void
    /// Whether it was made now, under no name or an empty one.
    public let isNew: Bool
    /// Gives a file that was begun its name.
    public let complete: () async throws(OpenError) -> Void

    public init(
        storage: any Storage, allocatedBytes: UInt64?, identity: String, isNew: Bool = false,
        close: @escaping () async -> Void, abandon: (() async -> Void)? = nil,
        complete: @escaping () async throws(OpenError) -> Void = { () async throws(OpenError) in }
    ) {
        self.storage = storage
        self.allocatedBytes = allocatedBytes
        self.identity = identity
        self.close = close
        self.abandon = abandon ?? close
        self.isNew = isNew
        self.complete = complete
    }
}

/// Which backing files are opened that only an image names. A name in an image is a plain file name in any case.
public enum BackingRule: Sendable {
    /// In the image's own folder or below it.
    case ownFolder
    /// Whatever the image names, as QEMU does.
    case any
}
