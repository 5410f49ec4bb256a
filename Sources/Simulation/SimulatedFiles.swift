import Block
import BlockTestKit
import Bytes
import Graph
import Image

/// Simulated disks by name, as the image tool reaches them.
final class SimulatedFiles: ImageFiles {
    private let context: SimulatedContext
    private let options: SimDisk.Options
    private(set) var disks: [String: SimDisk] = [:]
    /// What shall fail on all of them.
    let faults = FaultPlan()

    let workingFolder = "/here"

    init(_ context: SimulatedContext, _ contents: [String: SparseBytes] = [:], _ options: SimDisk.Options) {
        self.context = context
        self.options = options
        for name in contents.keys.sorted() { disks[name] = disk(contents[name] ?? SparseBytes()) }
    }

    /// Makes an empty disk.
    func make(_ name: String) -> SimDisk {
        let disk = disk(SparseBytes())
        disks[name] = disk
        return disk
    }

    private func disk(_ contents: SparseBytes) -> SimDisk {
        var options = options
        options.seed ^= UInt64(disks.count)
        let disk = SimDisk(context, contents: contents, options)
        disk.faults = faults
        return disk
    }

    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        let path = spec.filename
        guard let disk = disks[path], let number = disks.keys.sorted().firstIndex(of: path) else {
            throw OpenError("Could not open '\(path)': No such file or directory", cause: .system(2))
        }
        return SimulatedFile(spec, disk, number: UInt64(number))
    }

    func makeFile(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> Bool {
        let isNew = disks[path] == nil
        _ = make(path)
        return isNew
    }

    func removeFile(_ path: String) { disks[path] = nil }

    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> BegunFile {
        let isNew = try await makeFile(path, attributes)
        let file = try await open(FileSpec(filename: path))
        return BegunFile(
            storage: file, isNew: isNew, close: { await file.close() },
            abandon: {
                await file.close()
                if isNew { self.removeFile(path) }
            })
    }

    // Programs here have files alone.
    var input: any BytePipe { preconditionFailure("a simulated program has no standard input") }
    var output: any BytePipe { preconditionFailure("a simulated program has no standard output") }
}

/// One of them, open: passes everything on.
private final class SimulatedFile: HostFile {
    private let spec: FileSpec
    private let disk: SimDisk
    private let number: UInt64

    init(_ spec: FileSpec, _ disk: SimDisk, number: UInt64) {
        (self.spec, self.disk, self.number) = (spec, disk, number)
    }

    var filename: String { spec.filename }
    var identity: HostFileIdentity { HostFileIdentity(device: 1, inode: number) }
    var isReadOnly: Bool { spec.isReadOnly }
    var allocatedSize: UInt64? { nil }
    var length: UInt64 { disk.length }
    var limits: StorageLimits { disk.limits }

    func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError) {}
    func releasePermissions(used: Permissions, shared: Permissions) {}
    func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen {
        Reopen(isReadOnly: spec.isReadOnly)
    }
    func close() async {}

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await disk.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try await disk.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await disk.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await disk.discard(range) }
    func flush() async throws(BlockError) { try await disk.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await disk.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await disk.resize(to: length) }

    /// Nothing has to be opened again.
    private final class Reopen: HostFileReopen {
        let isReadOnly: Bool
        init(isReadOnly: Bool) { self.isReadOnly = isReadOnly }
        func commit() {}
        func cancel() {}
    }
}
