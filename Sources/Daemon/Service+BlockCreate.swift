import Block
import Graph
import HostStorage
import Jobs
import QMPTypes
import Qcow2

// The commands of Schema/block-create.json.
extension Service {
    func blockdevCreate(_ arguments: BlockdevCreateArguments) async throws(QMPError) {
        let make: (Job) async throws(OpenError) -> Void
        switch arguments.options.variant {
        case .file(let options):
            make = { [host] job throws(OpenError) in try await host.makeFile(FileCreation(options), pace: job.pace) }
        case .qcow2(let options):
            let file = try ChildReference(options.file)
            var data: ChildReference?
            if let reference = options.dataFile { data = try ChildReference(reference) }
            make = { [graph] job throws(OpenError) in
                guard let graph else { return }
                try await graph.use(file, "blockdev-create", used: [.write, .resize], shared: .all) {
                    root throws(OpenError) in
                    try await Self.makeQcow2(on: root, data: data, in: graph, options, pace: job.pace)
                }
            }
        case .nothing: throw QMPError("Driver does not support blockdev-create")
        }
        do {
            try jobs.start(arguments.jobId, .create, Job.Options(dismisses: false)) { job throws(OpenError) in
                // One step, done whether or not it went well, as in QEMU.
                job.setRemaining(1)
                defer { job.advance(by: 1) }
                try await make(job)
            }
        } catch { throw QMPError(error) }
    }

    /// On `file`, and on `data` where that shall hold the disk: whatever would write to that as well, `file` itself for one, is
    /// refused.
    private static func makeQcow2(
        on file: BlockRoot, data: ChildReference?, in graph: Graph, _ options: BlockdevCreateOptionsQcow2, pace: Pace
    ) async throws(OpenError) {
        var creation = try CreateOptions(options)
        // The node is looked for when all that is said of the image can be.
        creation.dataFile = data.map { _ in "" }
        try creation.validate()
        guard let data else { return try await makeQcow2(on: file, data: nil, creation, pace: pace) }
        try await graph.use(data, "data-file", used: [.write, .resize], shared: [.consistentRead, .writeUnchanged]) {
            root throws(OpenError) in
            guard let node = graph.node(root.nodeName) else { throw OpenError("The node is not open") }
            creation.dataFile = node.filename
            try await makeQcow2(on: file, data: root, creation, pace: pace)
        }
    }

    private static func makeQcow2(on file: BlockRoot, data: BlockRoot?, _ creation: CreateOptions, pace: Pace)
        async throws(OpenError)
    {
        if creation.size > UInt64(Int64.max) {
            throw OpenError("Could not resize image: Image size cannot be negative")
        }
        do throws(OpenError) {
            try await Qcow2Create.create(on: file, data: data, creation, pace: pace)
        } catch {
            // The image tool words this otherwise.
            guard error.cause == .system(27) else { throw error }
            throw OpenError("Could not resize image: Failed to grow the L1 table: File too large", cause: error.cause)
        }
    }
}

extension FileCreation {
    fileprivate init(_ options: BlockdevCreateOptionsFile) throws(OpenError) {
        var hint: UInt32?
        if let asked = options.extentSizeHint {
            guard let bytes = UInt32(exactly: asked.bytes) else { throw OpenError("Extent size hint is too large") }
            hint = bytes
        }
        self.init(
            filename: options.filename, size: options.size.bytes,
            preallocation: options.preallocation.flatMap { Preallocation(rawValue: $0.rawValue) } ?? .off,
            attributes: FileAttributes(noCopyOnWrite: options.nocow ?? false, extentSizeHint: hint))
    }
}

extension CreateOptions {
    fileprivate init(_ options: BlockdevCreateOptionsQcow2) throws(OpenError) {
        self.init(size: options.size.bytes)
        version = options.version == .v2 ? .v2 : .v3
        if let bytes = options.clusterSize { clusterSize = bytes.bytes }
        if let bits = options.refcountBits { refcountBits = Int(clamping: bits) }
        backingFile = options.backingFile
        backingFormat = options.backingFmt?.rawValue
        lazyRefcounts = options.lazyRefcounts ?? false
        dataFileRaw = options.dataFileRaw ?? false
        extendedL2 = options.extendedL2 ?? false
        compression = options.compressionType == .zstd ? .zstd : .zlib
        preallocation = options.preallocation.flatMap { Preallocation(rawValue: $0.rawValue) } ?? .off
    }
}
