package import Block
import Bytes
package import Graph
package import Image
package import HostIO
package import HostStorage
package import NBDClient
import Qcow2

/// Opens and makes host files for the graph, and sockets for the monitor and the NBD server.
package final class HostOpener: DaemonHost, ImageFiles {
    private let thread: IOThread
    package let workingFolder: String
    package let descriptorLimit: Int
    package let descriptorSets = DescriptorSets()
    package let tls = TLSObjects()

    /// Whether each image that is made is told on standard output, as QEMU's programs do.
    private let tellsCreations: Bool

    /// Whether whoever finds an image locked is told which programs have it open.
    var namesHolders: Bool

    package init(
        _ thread: IOThread, descriptorLimit: Int = 0, tellsCreations: Bool = false, namesHolders: Bool = false
    ) {
        self.thread = thread
        self.descriptorLimit = descriptorLimit
        self.namesHolders = namesHolders
        self.tellsCreations = tellsCreations
        workingFolder = HostFolder.current
    }

    package var pollMaxNs: UInt64 {
        get { thread.pollMaxNs }
        set { thread.pollMaxNs = newValue }
    }

    package func takeThread() throws(OpenError) -> any ServingThread { try thread.takePeer() }
    package func giveBack(_ peer: any ServingThread) { thread.giveBack(peer) }

    package func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        var options = FileOptions(spec)
        options.namesHolders = namesHolders
        return try FileStorage(options, from: descriptorSets, on: thread)
    }

    package func contains(_ path: String, in folders: [String]) -> Bool { HostPath.lies(path, in: folders) }

    package func isDevice(_ path: String) -> Bool { FileStorage.isDevice(path) }

    /// The driver of a host file that is named without one.
    static func driver(for path: String) -> String { FileStorage.isDevice(path) ? "host_device" : "file" }

    package func create(_ request: CreationRequest) async throws(OpenError) {
        guard request.format == "qcow2" else { throw OpenError("Unknown file format '\(request.format)'") }
        let isDevice = FileStorage.isDevice(request.filename)
        let taken = OpenError(
            "Could not create '\(request.filename)': it exists and is not empty (\"force\": true overwrites it)")
        if !request.mayReplace, let size = FileStorage.existingSize(request.filename), size > 0 { throw taken }
        if tellsCreations { say(try Self.formattingLine(request) + "\n") }
        if !isDevice { try FileStorage.makeFile(request.filename) }
        let storage = try FileStorage(FileOptions(filename: request.filename, isDevice: isDevice), on: thread)
        defer { storage.closeFile() }
        try storage.acquirePermissions(
            used: LockPermissions([.write, .resize]), shared: LockPermissions([.consistentRead, .writeUnchanged]))
        // A device has a size whatever is on it: it is empty where it begins with zeros.
        if !request.mayReplace, isDevice, try await !Self.beginsWithZeros(storage) { throw taken }
        let walker = BlockIO(context: thread, driver: .storage(storage))
        defer { walker.retire() }
        var options = CreateOptions(size: request.size)
        options.backingFile = request.backingFile
        options.backingFormat = request.backingFormat
        try await Qcow2Create.create(on: walker, options)
    }

    package func makeFile(_ creation: FileCreation, pace: Pace) async throws(OpenError) {
        try await FileStorage.create(creation, on: thread, pace: pace)
    }

    package func makeFile(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> Bool {
        let isDevice = FileStorage.isDevice(path)
        let isNew = FileStorage.existingSize(path) == nil
        if !isDevice { try FileStorage.makeFile(path) }
        var options = FileOptions(filename: path, isDevice: isDevice)
        options.namesHolders = namesHolders
        let file = try FileStorage(options, on: thread)
        defer { file.closeFile() }
        try file.acquirePermissions(
            used: LockPermissions([.write, .resize]), shared: LockPermissions([.consistentRead, .writeUnchanged]))
        if isDevice { return false }
        do throws(BlockError) { try await file.resize(to: 0) } catch {
            throw OpenError("Could not create '\(path)': \(errnoText(error.errno))", cause: error)
        }
        file.setAttributes(attributes)
        return isNew
    }

    package func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode)
        async throws(OpenError) -> BegunFile
    {
        var options = FileOptions(filename: path, direct: cache.isDirect, noFlush: cache.ignoresFlushes)
        options.namesHolders = namesHolders
        guard FileStorage.existingSize(path) == nil else {
            _ = try await makeFile(path, attributes)
            options.isDevice = FileStorage.isDevice(path)
            let file = try FileStorage(options, on: thread)
            try Self.lock(file)
            return BegunFile(storage: BlockIO(context: thread, driver: .storage(file)), isNew: false) {
                file.closeFile()
            }
        }
        let file = try UnfinishedFile(path, options, on: thread)
        do throws(OpenError) { try Self.lock(file.storage) } catch {
            file.abandon()
            throw error
        }
        file.storage.setAttributes(attributes)
        return BegunFile(
            storage: BlockIO(context: thread, driver: .storage(file.storage)), isNew: true,
            close: { file.storage.closeFile() }, abandon: { file.abandon() },
            complete: { () async throws(OpenError) in try file.finish() })
    }

    private static func lock(_ file: FileStorage) throws(OpenError) {
        try file.acquirePermissions(
            used: LockPermissions([.consistentRead, .write, .resize]),
            shared: LockPermissions([.consistentRead, .writeUnchanged]))
    }

    package var input: any BytePipe { HostPipe.input(on: thread) }
    package var output: any BytePipe { HostPipe.output(on: thread) }

    package func removeFile(_ path: String) { HostPath.remove(path) }

    private static func formattingLine(_ request: CreationRequest) throws(OpenError) -> String {
        do throws(ImageError) {
            let create = try CreateRequest(
                path: request.filename, format: request.format, options: OptionList(),
                backingFile: request.backingFile, backingFormat: request.backingFormat)
            return create.formattingLine(size: request.size)
        } catch { throw OpenError(error.message) }
    }

    package func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        try HostText.contents(of: path, atMost: limit)
    }

    package func say(_ text: String) { HostText.say(text) }

    /// Whether nothing stands where formats, file systems and partition tables begin.
    private static func beginsWithZeros(_ device: FileStorage) async throws(OpenError) -> Bool {
        var start = AlignedBuffer(byteCount: Int(min(device.length, 1 << 20)))
        var span = start.mutableBytes
        do throws(BlockError) { try await device.read(at: 0, into: &span) } catch {
            throw OpenError("Could not read '\(device.filename)': \(error.sentence)", cause: error)
        }
        return start.bytes.isZero
    }

    package func listen(on address: HostIO.SocketAddress) throws(OpenError) -> any StreamListener {
        try SocketListener(address, on: thread)
    }

    package func connect(to address: HostIO.SocketAddress) throws(OpenError) -> any ByteStream {
        try Socket.connect(to: address, on: thread)
    }

    package func dial(_ address: NBDAddress, withinMs: UInt64) async throws(OpenError) -> any ByteStream {
        try await Socket.connect(to: HostIO.SocketAddress(address), withinMs: withinMs, on: thread)
    }

    package func securing(with credentials: String, hostname: String?) throws(OpenError)
        -> (any ByteStream) -> any ByteStream
    {
        try tls.client(credentials, hostname: hostname)
    }

    package var standardStreams: any ByteStream { Socket(input: 0, output: 1, on: thread) }

    package var wallClockUs: UInt64 { IOThread.wallClockUs }
}

extension SocketListener: StreamListener {
    package func next() async throws(BlockError) -> any ByteStream { try await accept() }
}
