import Block
import BlockTestKit
import Bytes
import Daemon
import Graph
import HostIO
import HostStorage
import Qcow2

/// A host in memory for a fuzzed daemon: a few files, connections that never come, no way out. It notes which files it is
/// asked for.
final class MemoryHost: DaemonHost {
    let tls = TLSObjects()
    private var files: [String: MemoryStorage] = [:]
    /// Every name that was to be opened, made or read, whether there is such a file or not.
    private(set) var asked: Set<String> = []
    private let context: SimulatedContext
    let workingFolder = "/"
    var pollMaxNs: UInt64 = 0
    /// How many threads are taken.
    private(set) var threads = 0

    /// Its own files, and these.
    init(_ context: SimulatedContext, files others: [String: SparseBytes] = [:]) {
        self.context = context
        files["/raw"] = MemoryStorage(length: 64 << 10, growable: true)
        for (path, contents) in Self.images.merging(others, uniquingKeysWith: { $1 }) {
            files[path] = MemoryStorage(
                contents, limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
        }
    }

    /// What its images name.
    static let namedInImages: Set = ["/image", #"json:{"driver":"file","filename":"/raw"}"#]

    /// An image, an overlay of it, and one whose name for what is below is a trap; made once.
    private static let images: [String: SparseBytes] = {
        var images = ["/image": image(naming: nil)]
        for (path, name) in zip(["/overlay", "/trap"], namedInImages.sorted()) { images[path] = image(naming: name) }
        return images
    }()

    /// An image of 1 MiB with a name for what is below.
    static func image(naming backing: String?) -> SparseBytes {
        var options = CreateOptions(size: 1 << 20)
        options.clusterSize = 512
        options.backingFile = backing
        options.backingFormat = backing.map { _ in "qcow2" }
        let storage = MemoryStorage(length: 0, growable: true)
        try? SimulatedContext(order: .fifo).complete { [options] in try await Qcow2Create.create(on: storage, options) }
        return storage.contents
    }

    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        asked.insert(spec.filename)
        guard let storage = files[spec.filename] else {
            throw OpenError("Could not open '\(spec.filename)': No such file or directory")
        }
        return MemoryFile(spec, storage)
    }

    func takeThread() -> any ServingThread {
        threads += 1
        return SimulatedThread(context)
    }

    func giveBack(_ thread: any ServingThread) { threads -= 1 }

    func create(_ request: CreationRequest) async throws(OpenError) {
        asked.insert(request.filename)
        if !request.mayReplace, files[request.filename] != nil {
            throw OpenError("Could not create '\(request.filename)': it exists")
        }
        var options = CreateOptions(size: request.size)
        options.backingFile = request.backingFile
        options.backingFormat = request.backingFormat
        let storage = MemoryStorage(length: 0, growable: true)
        try await Qcow2Create.create(on: storage, options)
        files[request.filename] = storage
    }

    func makeFile(_ creation: FileCreation, pace: Pace) async throws(OpenError) {
        // What a test asks for costs the memory of the machine that tests.
        guard creation.size <= 1 << 24 else { throw OpenError("Could not resize file: No space left on device") }
        files[creation.filename] = MemoryStorage(length: creation.size, growable: true)
    }

    func listen(on address: SocketAddress) throws(OpenError) -> any StreamListener { DeafListener() }

    func connect(to address: SocketAddress) throws(OpenError) -> any ByteStream {
        throw OpenError("Failed to connect to '\(address)': No such file or directory")
    }

    let descriptorSets = DescriptorSets()

    func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        asked.insert(path)
        return Array("a secret of this host".utf8)
    }
    func say(_ text: String) {}

    var standardStreams: any ByteStream { SimulatedStream.pair(context).0 }
    let descriptorLimit = 1024
    var wallClockUs: UInt64 { context.nowNs / 1000 }
}

/// A listener to which nobody connects.
private final class DeafListener: StreamListener {
    private var isClosed = false
    private let closing = WaitQueue()
    var makeRoom: (() -> Bool)?

    func next() async throws(BlockError) -> any ByteStream {
        while !isClosed { await closing.wait() }
        throw .closed
    }

    func close() {
        isClosed = true
        closing.wakeAll()
    }
}

private final class MemoryFile: HostFile {
    private let storage: MemoryStorage
    private(set) var spec: FileSpec

    init(_ spec: FileSpec, _ storage: MemoryStorage) {
        self.spec = spec
        self.storage = storage
    }

    var filename: String { spec.filename }
    var isReadOnly: Bool { spec.isReadOnly }
    var identity: HostFileIdentity {
        // Each path is a file of its own.
        HostFileIdentity(device: 1, inode: UInt64(UInt(bitPattern: spec.filename.hashValue)))
    }
    var allocatedSize: UInt64? { storage.contents.allocatedBytes }
    var length: UInt64 { storage.length }
    var limits: StorageLimits { storage.limits }

    func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError) {}
    func releasePermissions(used: Permissions, shared: Permissions) {}

    func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen { Reopen(self, spec) }

    private final class Reopen: HostFileReopen {
        private let file: MemoryFile
        private let spec: FileSpec
        var isReadOnly: Bool { spec.isReadOnly }
        init(_ file: MemoryFile, _ spec: FileSpec) {
            self.file = file
            self.spec = spec
        }
        func commit() { file.spec = spec }
        func cancel() {}
    }

    func close() async {}

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await storage.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try await storage.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await storage.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await storage.discard(range) }
    func flush() async throws(BlockError) {}
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await storage.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await storage.resize(to: length) }
}

/// A thread of a host in memory: the context itself, on which everything runs.
private final class SimulatedThread: ServingThread {
    let taskExecutor: any TaskExecutor

    init(_ context: SimulatedContext) { taskExecutor = context.taskExecutor }

    func setPolling(_ polling: PollingOptions) {}
}
