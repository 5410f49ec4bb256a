package import Block
import Bytes
import FoundationEssentials
import Graph
import Image
package import HostIO
import HostStorage
import Qcow2

/// Opens and makes host files for the graph, and sockets for the monitor and the NBD server.
final class HostOpener: DaemonHost {
    private let thread: IOThread
    let workingFolder: String
    let descriptorLimit: Int
    let descriptorSets = DescriptorSets()

    /// Whether each image that is made is told on standard output, as QEMU's programs do.
    private let tellsCreations: Bool

    init(_ thread: IOThread, descriptorLimit: Int, tellsCreations: Bool = false) {
        self.thread = thread
        self.descriptorLimit = descriptorLimit
        self.tellsCreations = tellsCreations
        workingFolder = FileManager.default.currentDirectoryPath
    }

    var pollMaxNs: UInt64 {
        get { thread.pollMaxNs }
        set { thread.pollMaxNs = newValue }
    }

    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        try FileStorage(FileOptions(spec), from: descriptorSets, on: thread)
    }

    func contains(_ path: String, in folders: [String]) -> Bool { HostPath.lies(path, in: folders) }

    func isDevice(_ path: String) -> Bool { FileStorage.isDevice(path) }

    func create(_ request: CreationRequest) async throws(OpenError) {
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

    func makeFile(_ creation: FileCreation, pace: Pace) async throws(OpenError) {
        try await FileStorage.create(creation, on: thread, pace: pace)
    }

    private static func formattingLine(_ request: CreationRequest) throws(OpenError) -> String {
        do throws(ImageError) {
            let create = try CreateRequest(
                path: request.filename, format: request.format, options: OptionList(),
                backingFile: request.backingFile, backingFormat: request.backingFormat)
            return create.formattingLine(size: request.size)
        } catch { throw OpenError(error.message) }
    }

    func contents(of path: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        try HostText.contents(of: path, atMost: limit)
    }

    func say(_ text: String) { HostText.say(text) }

    /// Whether nothing stands where formats, file systems and partition tables begin.
    private static func beginsWithZeros(_ device: FileStorage) async throws(OpenError) -> Bool {
        var start = AlignedBuffer(byteCount: Int(min(device.length, 1 << 20)))
        var span = start.mutableBytes
        do throws(BlockError) { try await device.read(at: 0, into: &span) } catch {
            throw OpenError("Could not read '\(device.filename)': \(error.sentence)", cause: error)
        }
        return start.bytes.isZero
    }

    func listen(on address: HostIO.SocketAddress) throws(OpenError) -> any StreamListener {
        try SocketListener(address, on: thread)
    }

    func connect(to address: HostIO.SocketAddress) throws(OpenError) -> any ByteStream {
        try Socket.connect(to: address, on: thread)
    }

    var standardStreams: any ByteStream { Socket(input: 0, output: 1, on: thread) }

    var wallClockUs: UInt64 { IOThread.wallClockUs }
}

extension SocketListener: StreamListener {
    package func next() async throws(BlockError) -> any ByteStream { try await accept() }
}
