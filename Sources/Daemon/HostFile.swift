public import Block
public import Graph
import HostIO
public import HostStorage

// The host's files as the graph reaches them.

extension FileStorage: HostFile {
    public var identity: HostFileIdentity {
        HostFileIdentity(device: fileIdentity.device, inode: fileIdentity.inode)
    }

    public func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError) {
        try acquirePermissions(used: LockPermissions(used), shared: LockPermissions(shared))
    }

    public func releasePermissions(used: Permissions, shared: Permissions) {
        releasePermissions(used: LockPermissions(used), shared: LockPermissions(shared))
    }

    public func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen {
        FileReopen(self, try prepareReopen(FileOptions(spec)))
    }

    public var allocatedSize: UInt64? { allocatedBytes }

    public func close() async { closeFile() }
}

/// A reopen of a host file that is ready.
private final class FileReopen: HostFileReopen {
    private let storage: FileStorage
    private let reopened: FileStorage.Reopened

    init(_ storage: FileStorage, _ reopened: FileStorage.Reopened) {
        self.storage = storage
        self.reopened = reopened
    }

    var isReadOnly: Bool { reopened.isReadOnly }
    func commit() { storage.commit(reopened) }
    func cancel() {}
}

extension LockPermissions {
    /// Both are numbered as QEMU's image locks.
    init(_ permissions: Permissions) { self.init(rawValue: permissions.rawValue) }
}

extension FileOptions {
    init(_ spec: FileSpec) {
        let aio: AIO =
            switch spec.aio {
            case .threads: .threads
            case .native: .native
            case .ioUring: .ioUring
            }
        let locking: Locking =
            switch spec.locking {
            case .auto: .auto
            case .on: .on
            case .off: .off
            }
        self.init(
            filename: spec.filename, isDevice: spec.isDevice, aio: aio, isReadOnly: spec.isReadOnly,
            autoReadOnly: spec.autoReadOnly, direct: spec.direct, noFlush: spec.noFlush, locking: locking,
            within: spec.within)
        isDisc = spec.isDisc
    }
}
