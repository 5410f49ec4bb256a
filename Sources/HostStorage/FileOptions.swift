import HostIO

/// How a host file is opened: the options of the drivers `file`, `host_device` and `host_cdrom`.
public struct FileOptions: Equatable, Sendable {
    /// Which way requests go; `native` goes the ring's way.
    public enum AIO: String, Sendable { case threads, native, ioUring = "io_uring" }
    /// Whether QEMU's image locks are taken; `auto`: where the host has them.
    public enum Locking: String, Sendable { case auto, on, off }

    public var filename: String
    public var isDevice: Bool
    /// Whether a device goes by the name `host_cdrom`; only messages tell.
    public var isDisc = false
    public var aio: AIO
    public var isReadOnly: Bool
    /// Falls back to read-only where writing is not permitted.
    public var autoReadOnly: Bool
    /// Past the page cache (O_DIRECT).
    public var direct: Bool
    /// Flushes are not passed to the host.
    public var noFlush: Bool
    public var locking: Locking
    /// Whether a refusal for somebody else's lock names the programs that hold it, which takes a walk through /proc.
    public var namesHolders = false
    /// What is opened lies in one of these folders or below, links followed. Nil: anywhere.
    public var within: [String]?

    public init(
        filename: String, isDevice: Bool = false, aio: AIO = .ioUring, isReadOnly: Bool = false,
        autoReadOnly: Bool = false, direct: Bool = false, noFlush: Bool = false, locking: Locking = .auto,
        within: [String]? = nil
    ) {
        self.filename = filename
        self.isDevice = isDevice
        self.aio = aio
        self.isReadOnly = isReadOnly
        self.autoReadOnly = autoReadOnly
        self.direct = direct
        self.noFlush = noFlush
        self.locking = locking
        self.within = within
    }

    var engine: FileEngine { aio == .threads ? .threads : .ring }
}
