public import Block
public import Graph

/// The host's files, as the image tool reaches them: what its graph opens, and what it makes and removes. The program
/// gives the real ones, tests those they make up.
public protocol ImageFiles: StorageOpener {
    /// Makes `path`, empty, or empties it where nobody uses it. A device keeps its length; its old contents are the
    /// format's to clear. Answers whether it was not there before.
    func makeFile(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> Bool
    /// Removes what could not be finished.
    func removeFile(_ path: String)
    /// Makes a file that has its name only once it is completed, where nothing had that before: before that, an end of the
    /// process leaves nothing under it. What is there already is emptied, as by `makeFile`.
    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> BegunFile
    /// Standard input and output, for the name `-`.
    var input: any BytePipe { get }
    var output: any BytePipe { get }
}

/// A file that is being made.
public struct BegunFile {
    public let storage: any Storage
    /// Whether it was made now, under no name or an empty one.
    public let isNew: Bool
    /// Ends its use as it is.
    public let close: () async -> Void
    /// As `close`; a file that was not there before goes again.
    public let abandon: () async -> Void
    /// Gives a file that was begun its name.
    public let complete: () async throws(OpenError) -> Void

    public init(
        storage: any Storage, isNew: Bool, close: @escaping () async -> Void,
        abandon: (() async -> Void)? = nil,
        complete: @escaping () async throws(OpenError) -> Void = { () async throws(OpenError) in }
    ) {
        self.storage = storage
        self.isNew = isNew
        self.close = close
        self.abandon = abandon ?? close
        self.complete = complete
    }
}

/// What holds the bytes of an image, open: a node of the tool's graph, in most cases a file. Nothing that an image names
/// belongs to it.
public struct ImageFile {
    /// Takes requests of any alignment.
    public let storage: BlockRoot
    /// The node as a file name: plain where opening that gives it again, else `json:{…}`.
    let name: String
    /// The host file's path; nil where there is none.
    public let path: String?
    /// Bytes that the file takes on the host, where that is known.
    public let allocatedBytes: UInt64?
    /// Of an image behind filters; nil where there is none.
    let clusterSize: UInt64?
    /// The same for two openings of one file, and for nothing else; nil where there is no file.
    public let identity: HostFileIdentity?
    /// What the bytes are to be read as; nil: they tell themselves.
    let kind: ImageKind?
    /// Ends its use; what was written is flushed by whoever wrote it.
    public let close: () async -> Void

    /// As reports call the image where its bytes are of this kind: a plain name where opening that gives it again, else
    /// `json:{…}`.
    func filename(as kind: ImageKind) -> String {
        guard name.hasPrefix("json:"), kind == .qcow2 else { return name }
        return "json:{\"driver\": \"qcow2\", \"file\": \(name.dropFirst("json:".count))}"
    }

    /// What the bytes are: as the user said, or by the magic number.
    func readKind() async throws(OpenError) -> ImageKind {
        if let kind { return kind }
        return try await FormatProbe.format(of: storage) == "qcow2" ? .qcow2 : .plain("raw")
    }
}

/// What an image's bytes are.
enum ImageKind: Equatable, Sendable {
    case qcow2
    /// The disk itself. The name of what says so: `raw`, or a driver that is no format.
    case plain(String)

    /// By a format's name, as `-f` gives it.
    init(_ format: String) throws(OpenError) {
        switch format {
        case "qcow2": self = .qcow2
        case "raw", "file", "host_device": self = .plain(format)
        default: throw OpenError("Unknown driver '\(format)'")
        }
    }

    var name: String {
        switch self {
        case .qcow2: "qcow2"
        case .plain(let name): name
        }
    }
}

/// Which files are opened that only an image names. A name in an image is a plain file name in any case.
public enum BackingRule: Sendable {
    /// In the image's own folder or below it.
    case ownFolder
    /// Whatever the image names, as QEMU does.
    case any

    var policy: BackingPolicy { self == .any ? .qemu : .ownFolder }
}
