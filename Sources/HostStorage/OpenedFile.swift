import Block
import CLinux
import Glibc
import HostIO

/// One open descriptor of a host file with its locks and what was learnt about it; closed when dropped.
///
/// Whoever makes a call on the descriptor that takes time says so with `beginCall` and `endCall`: the kernel gives a closed
/// descriptor's number to the next file that is opened, and the call would go there.
final class OpenedFile {
    /// -1 once closed.
    private(set) var descriptor: Int32
    /// Calls under way.
    private var calls = 0
    /// The descriptor that the last call closes.
    private var closing: (descriptor: Int32, origin: (sets: DescriptorSets, id: Int64)?)?
    let options: FileOptions
    /// Whether it is open for reading only, by wish or by fall-back.
    let isReadOnly: Bool
    let isDevice: Bool
    let identity: FileIdentity
    /// Its length when it was opened.
    let length: UInt64
    /// What direct I/O asks of offsets and memory; 1 through the page cache.
    let requestAlignment: UInt64
    let memoryAlignment: Int
    var lock: ImageLock

    /// The set of descriptors that it was opened from, until it is closed.
    private var origin: (sets: DescriptorSets, id: Int64)?

    /// Opens a host file. Errors read as QEMU's. With `sets`, a name `/dev/fdset/ID` is a descriptor of one of them.
    init(_ options: FileOptions, from sets: DescriptorSets? = nil) throws(OpenError) {
        if options.aio == .native, !options.direct {
            throw OpenError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
        }
        guard HostPath.isWhole(options.filename) else { throw Self.failure(options, ENOENT) }
        // Opening a pipe to read would wait for somebody who writes to it.
        if Self.isPipe(options.filename) { throw Self.wrongKind(options) }
        self.options = options
        // What only an image names is a file in the file system.
        if let sets, options.within == nil, let id = try sets.set(named: options.filename) {
            (descriptor, isReadOnly) = try sets.open(id, options)
            origin = (sets, id)
        } else {
            (descriptor, isReadOnly) = try Self.open(options)
        }
        lock = ImageLock(descriptor: descriptor)
        var info = stat()
        // Proof: one local structure.
        guard unsafe fstat(descriptor, &info) == 0 else {
            let code = nacre_errno()
            Self.close(descriptor, origin)
            throw Self.failure(options, code)
        }
        identity = FileIdentity(device: UInt64(info.st_dev), inode: UInt64(info.st_ino))
        let kind = info.st_mode & S_IFMT
        isDevice = kind == S_IFBLK || kind == S_IFCHR
        guard options.isDevice ? isDevice : kind == S_IFREG else {
            Self.close(descriptor, origin)
            throw Self.wrongKind(options)
        }
        length = isDevice ? Self.deviceLength(descriptor) : UInt64(clamping: info.st_size)
        (requestAlignment, memoryAlignment) = Self.alignment(descriptor, direct: options.direct, isDevice: isDevice)
    }

    deinit { close() }

    /// A call begins. Answers the descriptor, which stays open until the call has ended.
    func beginCall() -> Int32 {
        calls += 1
        return descriptor
    }

    func endCall() {
        calls -= 1
        guard calls == 0, let closing else { return }
        self.closing = nil
        Self.close(closing.descriptor, closing.origin)
    }

    /// Closes the descriptor, and with it its locks; under a call, when that has ended. Idempotent.
    func close() {
        guard descriptor >= 0 else { return }
        // The locks go first: while the ring still holds the file, closing the descriptor does not end them.
        lock.release(used: [], shared: .all)
        if calls > 0 { closing = (descriptor, origin) } else { Self.close(descriptor, origin) }
        descriptor = -1
        origin = nil
    }

    private static func close(_ descriptor: Int32, _ origin: (sets: DescriptorSets, id: Int64)?) {
        Glibc.close(descriptor)
        if let origin { origin.sets.closed(origin.id) }
    }

    private static func open(_ options: FileOptions) throws(OpenError) -> (Int32, isReadOnly: Bool) {
        let direct = options.direct ? nacre_o_direct() : 0
        if !options.isReadOnly {
            let descriptor = HostPath.open(options.filename, O_RDWR | direct, within: options.within)
            if descriptor >= 0 { return (descriptor, false) }
            guard options.autoReadOnly, [-EACCES, -EROFS, -EPERM].contains(descriptor) else {
                throw failure(options, -descriptor)
            }
        }
        let descriptor = HostPath.open(options.filename, O_RDONLY | direct, within: options.within)
        guard descriptor >= 0 else { throw failure(options, -descriptor) }
        return (descriptor, true)
    }

    private static func isPipe(_ path: String) -> Bool {
        var info = stat()
        // Proof: one local structure, and a string lent for the call.
        return unsafe stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFIFO
    }

    private static func wrongKind(_ options: FileOptions) -> OpenError {
        let name = options.filename
        return OpenError(
            options.isDevice
                ? "'\(options.isDisc ? "host_cdrom" : "host_device")' driver requires '\(name)' to be either a character or block device"
                : "'file' driver requires '\(name)' to be a regular file")
    }

    private static func failure(_ options: FileOptions, _ code: Int32) -> OpenError {
        if options.within != nil, code == EXDEV || code == ELOOP {
            return OpenError("Could not open '\(options.filename)': it lies outside the folders that are allowed")
        }
        return OpenError("Could not open '\(options.filename)': \(errnoText(code))", cause: BlockError(errno: code))
    }

    private static func deviceLength(_ descriptor: Int32) -> UInt64 {
        var bytes: UInt64 = 0
        // Proof: one local integer.
        if unsafe nacre_device_size(descriptor, &bytes) == 0 { return bytes }
        let end = lseek(descriptor, 0, SEEK_END)
        return end < 0 ? 0 : UInt64(end)
    }

    /// What the kernel says direct I/O needs, else the device's sector, else 4 KiB, which every host takes.
    private static func alignment(_ descriptor: Int32, direct: Bool, isDevice: Bool) -> (UInt64, Int) {
        guard direct else { return (1, 1) }
        var memory: UInt32 = 0
        var offset: UInt32 = 0
        // Proof: two local integers.
        if unsafe nacre_direct_alignment(descriptor, &memory, &offset) == 0,
            offset.nonzeroBitCount == 1, offset <= 65536, memory.nonzeroBitCount == 1, memory <= 65536
        {
            return (UInt64(offset), Int(memory))
        }
        var sector: Int32 = 0
        if isDevice, unsafe nacre_device_sector(descriptor, &sector) == 0, sector > 0, sector.nonzeroBitCount == 1 {
            return (UInt64(sector), Int(sector))
        }
        return (4096, 4096)
    }
}

/// What tells one host file from another, whatever its name: loop checks compare these.
public struct FileIdentity: Hashable, Sendable {
    public let device: UInt64
    public let inode: UInt64
}
