public import Block
public import BlockTestKit
public import Bytes
public import Graph
import Qcow2

/// A host in memory: files by path, with QEMU's image locks between those who have them open.
public final class MemoryHost: StorageOpener {
    public init() {}

    public final class File {
        public let inode: UInt64
        public let storage: FaultyStorage
        public var isWritable = true
        public var handles: [MemoryFile] = []
        init(inode: UInt64, _ storage: FaultyStorage) {
            self.inode = inode
            self.storage = storage
        }
    }

    public let workingFolder = "/here"
    public private(set) var files: [String: File] = [:]
    /// Every spec that was opened, in order.
    public private(set) var specs: [FileSpec] = []
    public var devices: Set<String> = []
    /// Files that were reopened or closed while requests on them were under way; none may be.
    public fileprivate(set) var disturbed: [String] = []
    private var nextInode: UInt64 = 1

    @discardableResult
    public func add(_ path: String, _ storage: any Storage) -> File {
        defer { nextInode += 1 }
        let file = File(inode: nextInode, FaultyStorage(storage))
        files[path] = file
        return file
    }

    public func link(_ path: String, to other: String) { files[path] = files[other] }

    @discardableResult
    public func addRaw(_ path: String, bytes: UInt64) -> File {
        add(path, MemoryStorage(length: bytes, growable: true))
    }

    /// Makes a qcow2 image, with what a backing file shall be called in it.
    @discardableResult
    public func addQcow2(
        _ path: String, size: UInt64 = 1 << 20, backing: String? = nil, format: String? = "qcow2", v2: Bool = false,
        dataFile: String? = nil
    ) async throws -> File {
        let storage = MemoryStorage(length: 0, growable: true)
        var options = CreateOptions(size: size)
        if v2 { options.version = .v2 }
        options.backingFile = backing
        options.backingFormat = backing == nil ? nil : format
        options.dataFile = dataFile
        try await Qcow2Create.create(on: storage, data: MemoryStorage(length: 0, growable: true), options)
        return add(path, storage)
    }

    /// How many handles are open.
    public var openCount: Int { files.values.reduce(0) { $0 + $1.handles.count } }

    public func isDevice(_ path: String) -> Bool { devices.contains(path) }

    public func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        guard let file = files[spec.filename] else {
            throw OpenError("Could not open '\(spec.filename)': No such file or directory")
        }
        var isReadOnly = spec.isReadOnly
        if !isReadOnly, !file.isWritable {
            guard spec.autoReadOnly else {
                throw OpenError("Could not open '\(spec.filename)': Permission denied", cause: .permission)
            }
            isReadOnly = true
        }
        specs.append(spec)
        let handle = MemoryFile(spec, file, on: self, isReadOnly: isReadOnly)
        file.handles.append(handle)
        return handle
    }
}

/// One open file of a `MemoryHost`.
public final class MemoryFile: HostFile {
    public let file: MemoryHost.File
    private let host: MemoryHost
    public private(set) var spec: FileSpec
    public private(set) var isReadOnly: Bool
    public private(set) var isClosed = false
    /// Requests under way.
    private var requests = 0
    public var used: Permissions = []
    public var unshared: Permissions = []
    public var refusesReopen = false

    init(_ spec: FileSpec, _ file: MemoryHost.File, on host: MemoryHost, isReadOnly: Bool) {
        self.spec = spec
        self.file = file
        self.host = host
        self.isReadOnly = isReadOnly
    }

    public var filename: String { spec.filename }
    public var identity: HostFileIdentity { HostFileIdentity(device: 1, inode: file.inode) }
    public var allocatedSize: UInt64? { file.storage.length }
    public var length: UInt64 { file.storage.length }
    public var limits: StorageLimits { file.storage.limits }

    public func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError) {
        let unshared = Permissions.all.subtracting(shared)
        for other in file.handles where other !== self {
            let taken = used.intersection(other.unshared)
            if !taken.isEmpty { throw OpenError("Failed to get \"\(first(taken))\" lock", cause: .busy) }
            let refused = unshared.intersection(other.used)
            if !refused.isEmpty { throw OpenError("Failed to get shared \"\(first(refused))\" lock", cause: .busy) }
        }
        self.used.formUnion(used)
        self.unshared.formUnion(unshared)
    }

    private func first(_ permissions: Permissions) -> String {
        String(permissions.text.prefix { $0 != "," })
    }

    public func releasePermissions(used: Permissions, shared: Permissions) {
        self.used.formIntersection(used)
        unshared.formIntersection(Permissions.all.subtracting(shared))
    }

    public final class Reopen: HostFileReopen {
        let file: MemoryFile
        let spec: FileSpec
        public var isReadOnly: Bool { spec.isReadOnly }
        init(_ file: MemoryFile, _ spec: FileSpec) {
            self.file = file
            self.spec = spec
        }
        public func commit() {
            file.checkIsIdle()
            file.spec = spec
            file.isReadOnly = spec.isReadOnly
        }
        public func cancel() {}
    }

    public func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen {
        if refusesReopen || (!spec.isReadOnly && !file.isWritable) {
            throw OpenError("Could not reopen file: Permission denied")
        }
        return Reopen(self, spec)
    }

    public func close() async {
        checkIsIdle()
        isClosed = true
        file.handles.removeAll { $0 === self }
    }

    private func checkIsIdle() { if requests > 0 { host.disturbed.append(filename) } }

    /// A request begins; `end` is called when it has ended.
    private func begin(writes: Bool) throws(BlockError) {
        if isClosed { throw .closed }
        if writes, isReadOnly { throw .readOnly }
        requests += 1
    }

    private func end() { requests -= 1 }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try begin(writes: false)
        defer { end() }
        try await file.storage.read(at: offset, into: &buffer)
    }
    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try begin(writes: true)
        defer { end() }
        try await file.storage.write(at: offset, from: bytes, flags: flags)
    }
    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try begin(writes: true)
        defer { end() }
        try await file.storage.zero(range, flags: flags)
    }
    public func discard(_ range: ByteRange) async throws(BlockError) {
        try begin(writes: true)
        defer { end() }
        try await file.storage.discard(range)
    }
    public func flush() async throws(BlockError) {
        try begin(writes: false)
        defer { end() }
        try await file.storage.flush()
    }
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try begin(writes: false)
        defer { end() }
        return try await file.storage.status(of: range)
    }
    public func resize(to length: UInt64) async throws(BlockError) {
        try begin(writes: true)
        defer { end() }
        try await file.storage.resize(to: length)
    }
}

/// Makes overlays on a `MemoryHost`.
public final class MemoryCreator: ImageCreator {
    public let host: MemoryHost
    public private(set) var requests: [CreationRequest] = []
    public init(_ host: MemoryHost) { self.host = host }

    public func create(_ request: CreationRequest) async throws(OpenError) {
        if let file = host.files[request.filename], file.storage.length > 0, !request.mayReplace {
            throw OpenError("'\(request.filename)' exists and is not empty")
        }
        requests.append(request)
        do {
            try await host.addQcow2(
                request.filename, size: request.size, backing: request.backingFile, format: request.backingFormat)
        } catch { throw OpenError("\(error)") }
    }
}
