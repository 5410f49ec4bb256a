public import Block
public import NBDClient

/// A host file or device to be opened.
public struct FileSpec: Equatable, Sendable {
    /// As it was given: absolute, or relative to the working folder.
    public var filename: String
    /// Whether it shall be a device (`host_device`) and not a regular file (`file`).
    public var isDevice: Bool
    /// Whether a device goes by the name `host_cdrom`.
    public var isDisc = false
    public var aio: FileDriverOptions.AIO
    public var locking: FileDriverOptions.Locking
    public var isReadOnly: Bool
    /// Falls back to read-only where writing is not permitted.
    public var autoReadOnly: Bool
    /// Past the page cache.
    public var direct: Bool
    /// Flushes are not passed to the host.
    public var noFlush: Bool
    /// The file must lie in one of these folders or below, symbolic links resolved, for only an image names it. Nil:
    /// anywhere.
    public var within: [String]?

    public init(
        filename: String, isDevice: Bool = false, aio: FileDriverOptions.AIO = .ioUring,
        locking: FileDriverOptions.Locking = .auto, isReadOnly: Bool = false, autoReadOnly: Bool = false,
        direct: Bool = false, noFlush: Bool = false, within: [String]? = nil
    ) {
        self.filename = filename
        self.isDevice = isDevice
        self.aio = aio
        self.locking = locking
        self.isReadOnly = isReadOnly
        self.autoReadOnly = autoReadOnly
        self.direct = direct
        self.noFlush = noFlush
        self.within = within
    }
}

/// Tells one host file from another, whatever its names.
public struct HostFileIdentity: Hashable, Sendable {
    public let device: UInt64
    public let inode: UInt64
    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}

/// How the graph reaches host files; it knows no host of its own.
public protocol StorageOpener: AnyObject {
    /// Opens a file. Errors in QEMU's words: `Could not open 'F': No such file or directory`.
    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile
    /// What relative names start from.
    var workingFolder: String { get }
    /// Whether `path` lies in one of `folders` or below. The default looks at the names only; a host resolves symbolic
    /// links.
    func contains(_ path: String, in folders: [String]) -> Bool
    /// Whether the path is a device; asked for names that stand in images, which do not say. False where it cannot be told.
    func isDevice(_ path: String) -> Bool
    /// Connects to an NBD server, in so many milliseconds, while the context goes on. Errors in QEMU's words: `Failed to
    /// connect to 'P': Connection refused`.
    func dial(_ address: NBDAddress, withinMs: UInt64) async throws(OpenError) -> any ByteStream
    /// How connections to a server are made private with these credentials, `hostname` being whom its certificate must be for. Errors
    /// in QEMU's words: `No TLS credentials with id 'C'`.
    func securing(with credentials: String, hostname: String?) throws(OpenError) -> (any ByteStream) -> any ByteStream
    /// A small file's bytes. The error's text says what is wrong with it.
    func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8]
}

extension StorageOpener {
    public func contains(_ path: String, in folders: [String]) -> Bool {
        let whole = PathText.absolute(path, from: workingFolder)
        return folders.contains { PathText.lies(whole, in: PathText.absolute($0, from: workingFolder)) }
    }

    public func isDevice(_ path: String) -> Bool { false }

    /// For hosts without a network.
    public func dial(_ address: NBDAddress, withinMs: UInt64) async throws(OpenError) -> any ByteStream {
        throw OpenError("Failed to connect to '\(address.text)': No such file or directory", cause: .system(2))
    }

    /// For hosts without credentials.
    public func securing(with credentials: String, hostname: String?) throws(OpenError)
        -> (any ByteStream) -> any ByteStream
    {
        throw OpenError("No TLS credentials with id '\(credentials)'")
    }

    public func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        throw OpenError("No such file or directory", cause: .system(2))
    }
}

/// An open host file.
public protocol HostFile: Storage {
    var filename: String { get }
    var identity: HostFileIdentity { get }
    /// Whether it was opened read-only, as asked or by falling back.
    var isReadOnly: Bool { get }
    /// Bytes that it takes on the host, where that is known.
    var allocatedSize: UInt64? { get }
    /// The end of the furthest write since it was opened, in bytes.
    var highestWrite: UInt64 { get }

    /// First phase: takes the image locks for these permissions, keeping what is held. Throws
    /// `Failed to get "write" lock` and its like with nothing changed.
    func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError)
    /// Second phase, or the way back: gives up the locks that these permissions do not need.
    func releasePermissions(used: Permissions, shared: Permissions)

    /// First phase of a reopen: opens the same file in another way. Nothing changes before `commit`.
    func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen
    /// No request is under way, and none will come.
    func close() async
}

extension HostFile {
    public var highestWrite: UInt64 { 0 }
}

/// A reopen that is ready.
public protocol HostFileReopen: AnyObject {
    /// Whether the file would be read-only.
    var isReadOnly: Bool { get }
    /// Requests have been drained; from here on they go the new way.
    func commit()
    /// Drops the new way.
    func cancel()
}

/// An image to be made for `blockdev-snapshot-sync`.
public struct CreationRequest: Equatable, Sendable {
    public var filename: String
    public var format: String
    /// Bytes.
    public var size: UInt64
    /// As it shall stand in the image.
    public var backingFile: String
    public var backingFormat: String
    /// Whether a file that exists and is not empty is overwritten. Otherwise that is an error that says how to force it.
    public var mayReplace: Bool

    public init(
        filename: String, format: String, size: UInt64, backingFile: String, backingFormat: String, mayReplace: Bool
    ) {
        self.filename = filename
        self.format = format
        self.size = size
        self.backingFile = backingFile
        self.backingFormat = backingFormat
        self.mayReplace = mayReplace
    }
}

/// Makes images. The graph has checked that the format is known and can have a backing file.
public protocol ImageCreator: AnyObject {
    /// Errors in QEMU's words: `Could not create 'F': No such file or directory`.
    func create(_ request: CreationRequest) async throws(OpenError)
}
