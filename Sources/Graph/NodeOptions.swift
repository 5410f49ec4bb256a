public import NBDClient

/// What a node is asked to be: the arguments of `blockdev-add` and `blockdev-reopen`, checked for shape by the schema.
/// Nil means "not given": then the parent's value holds for a child defined inside it, or the default.
public struct NodeOptions: Equatable, Sendable {
    public var driver: DriverOptions
    public var nodeName: String?
    public var common: CommonOptions

    public init(_ driver: DriverOptions, nodeName: String? = nil, common: CommonOptions = CommonOptions()) {
        self.driver = driver
        self.nodeName = nodeName
        self.common = common
    }
}

/// The options that every driver has.
public struct CommonOptions: Equatable, Sendable {
    public enum Discard: String, Sendable { case ignore, unmap }
    public enum DetectZeroes: String, Sendable { case off, on, unmap }

    public var isReadOnly: Bool?
    public var autoReadOnly: Bool?
    public var forceShare: Bool?
    public var discard: Discard?
    public var detectZeroes: DetectZeroes?
    /// `cache.direct`.
    public var direct: Bool?
    /// `cache.no-flush`.
    public var noFlush: Bool?

    public init(
        isReadOnly: Bool? = nil, autoReadOnly: Bool? = nil, forceShare: Bool? = nil, discard: Discard? = nil,
        detectZeroes: DetectZeroes? = nil, direct: Bool? = nil, noFlush: Bool? = nil
    ) {
        self.isReadOnly = isReadOnly
        self.autoReadOnly = autoReadOnly
        self.forceShare = forceShare
        self.discard = discard
        self.detectZeroes = detectZeroes
        self.direct = direct
        self.noFlush = noFlush
    }
}

/// A child: a node that exists, or the definition of one that lives and dies with its parent.
public indirect enum ChildReference: Equatable, Sendable {
    case node(String)
    case options(NodeOptions)
}

/// What `backing` says. Where it is not given at all, the image's own backing file is opened, under the policy.
public enum BackingReference: Equatable, Sendable {
    /// `null`: without one.
    case none
    /// `""`: the same, in the deprecated spelling.
    case empty
    case child(ChildReference)
    /// The image's own, opened under the policy as where nothing is given: under this node name, as this format.
    case own(nodeName: String? = nil, format: String? = nil)
}

/// A driver and the options that are its own.
public enum DriverOptions: Equatable, Sendable {
    case file(FileDriverOptions)
    case hostDevice(FileDriverOptions)
    case nullCo(NullOptions)
    case nullAio(NullOptions)
    case nbd(NBDRemoteOptions)
    case raw(RawOptions)
    case qcow2(Qcow2Options)
    case blkdebug(BlkdebugOptions)
    case throttle(ThrottleOptions)
    case copyOnRead(CopyOnReadOptions)
    case compress(CompressOptions)
    case preallocate(PreallocateOptions)

    /// The driver's name on the wire.
    public var name: String {
        switch self {
        case .file: "file"
        case .hostDevice(let own): own.isDisc ? "host_cdrom" : "host_device"
        case .nullCo: "null-co"
        case .nullAio: "null-aio"
        case .nbd: "nbd"
        case .raw: "raw"
        case .qcow2: "qcow2"
        case .blkdebug: "blkdebug"
        case .throttle: "throttle"
        case .copyOnRead: "copy-on-read"
        case .compress: "compress"
        case .preallocate: "preallocate"
        }
    }
}

/// Options of `file`, `host_device` and `host_cdrom`.
public struct FileDriverOptions: Equatable, Sendable {
    public enum AIO: String, Sendable { case threads, native, ioUring = "io_uring" }
    public enum Locking: String, Sendable { case auto, on, off }
    public var filename: String
    public var aio: AIO?
    public var locking: Locking?
    /// Whether a device goes by the name `host_cdrom`.
    public var isDisc = false

    public init(filename: String, aio: AIO? = nil, locking: Locking? = nil) {
        self.filename = filename
        self.aio = aio
        self.locking = locking
    }
}

/// Options of `null-co` and `null-aio`.
public struct NullOptions: Equatable, Sendable {
    /// Bytes; 1 GiB where not given.
    public var size: UInt64?
    /// How long each request takes, in nanoseconds.
    public var latencyNs: UInt64?
    /// Whether it is promised that reads give zeros.
    public var readZeroes: Bool?

    public init(size: UInt64? = nil, latencyNs: UInt64? = nil, readZeroes: Bool? = nil) {
        self.size = size
        self.latencyNs = latencyNs
        self.readZeroes = readZeroes
    }
}

/// Options of `raw`: a window into its file, in bytes.
public struct RawOptions: Equatable, Sendable {
    public var file: ChildReference
    public var offset: UInt64?
    public var size: UInt64?

    public init(file: ChildReference, offset: UInt64? = nil, size: UInt64? = nil) {
        self.file = file
        self.offset = offset
        self.size = size
    }
}

/// Options of `qcow2`.
public struct Qcow2Options: Equatable, Sendable {
    public var file: ChildReference
    public var backing: BackingReference?
    /// What holds the data of an image whose data lies apart; nil: what the image names, under the policy for such names.
    public var dataFile: ChildReference?
    public var lazyRefcounts: Bool?
    public var passDiscardRequest: Bool?
    public var passDiscardSnapshot: Bool?
    public var passDiscardOther: Bool?
    /// Cache sizes in bytes.
    public var cacheSize: UInt64?
    public var l2CacheSize: UInt64?
    public var l2CacheEntrySize: UInt64?
    public var refcountCacheSize: UInt64?
    /// Seconds.
    public var cacheCleanInterval: UInt64?

    public init(file: ChildReference, backing: BackingReference? = nil) {
        self.file = file
        self.backing = backing
    }
}
