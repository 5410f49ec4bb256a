import Block
import BlockTestKit
import Bytes
import Graph
import Image

/// Files in memory, which notes what is opened and counts what is written.
final class MemoryFiles: ImageFiles {
    private var contents: [String: MemoryStorage] = [:]
    private(set) var opened: [String] = []
    private(set) var specs: [FileSpec] = []
    fileprivate(set) var openNow = 0
    /// What the file system was told of the file that was made last.
    private(set) var attributes: FileAttributes?
    /// Every request that changes something.
    fileprivate(set) var writes = 0
    /// What fails on all files together.
    let faults = FaultPlan()

    let workingFolder = "/here"

    subscript(path: String) -> [UInt8] {
        get { contents[path]?.contents.array ?? [] }
        set { contents[path] = MemoryStorage(SparseBytes(newValue)) }
    }

    func allocated(_ path: String) -> UInt64 { contents[path]?.contents.allocatedBytes ?? 0 }

    func holds(_ path: String) -> Bool { contents[path] != nil }

    func open(_ spec: FileSpec) async throws(OpenError) -> any HostFile {
        let path = spec.filename
        guard let storage = contents[path] else {
            throw OpenError("Could not open '\(path)': No such file or directory", cause: .system(2))
        }
        opened.append(path)
        specs.append(spec)
        openNow += 1
        return MemoryFile(spec, storage, in: self)
    }

    func makeFile(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> Bool {
        self.attributes = attributes
        if path.hasPrefix("/nonexistent/") {
            throw OpenError("Could not create '\(path)': No such file or directory", cause: .system(2))
        }
        let isNew = contents[path] == nil
        contents[path] = MemoryStorage(length: 0, growable: true)
        return isNew
    }

    func removeFile(_ path: String) { contents[path] = nil }

    /// What was begun and has no name yet.
    private(set) var unnamed = 0
    /// Standard input: what is read from it, in the pieces in which it comes; and output.
    let stdin = MemoryPipe()
    let stdout = MemoryPipe()
    var input: any BytePipe { stdin }
    var output: any BytePipe { stdout }

    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> BegunFile {
        self.attributes = attributes
        let isThere = contents[path] != nil
        if isThere || path.hasPrefix("/nonexistent/") { _ = try await makeFile(path, attributes) }
        let storage = contents[path] ?? MemoryStorage(length: 0, growable: true)
        let file = MemoryFile(FileSpec(filename: path), storage, in: self)
        openNow += 1
        if isThere { return BegunFile(storage: file, isNew: false) { await file.close() } }
        unnamed += 1
        var isNamed = false
        return BegunFile(
            storage: file, isNew: true, close: { await file.close() },
            abandon: {
                await file.close()
                if isNamed { self.contents[path] = nil } else { self.unnamed -= 1 }
            },
            complete: {
                self.contents[path] = storage
                self.unnamed -= 1
                isNamed = true
            })
    }
}

/// A pipe in memory.
final class MemoryPipe: BytePipe {
    var bytes: [UInt8] = []
    private var position = 0
    /// After so many bytes it breaks.
    var breaksAfter = Int.max

    func read(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        if breaksAfter < bytes.count, position + buffer.byteCount > breaksAfter { throw .io }
        let count = min(buffer.byteCount, bytes.count - position)
        buffer.copy(bytes.byteSpan.extracting(position..<position + count))
        position += count
        return count
    }

    func write(_ new: RawSpan) async throws(BlockError) {
        if bytes.count >= breaksAfter { throw .closed }
        bytes += new.array
    }
}

/// One open file: passes everything on and counts what changes it.
final class MemoryFile: HostFile {
    private let spec: FileSpec
    private let memory: MemoryStorage
    private let below: any Storage
    private let files: MemoryFiles

    init(_ spec: FileSpec, _ memory: MemoryStorage, in files: MemoryFiles) {
        self.spec = spec
        self.memory = memory
        self.files = files
        below = FaultyStorage(memory, files.faults)
    }

    var filename: String { spec.filename }
    var identity: HostFileIdentity { HostFileIdentity(device: 1, inode: UInt64(UInt(bitPattern: filename.hashValue))) }
    var isReadOnly: Bool { spec.isReadOnly }
    var allocatedSize: UInt64? { memory.contents.allocatedBytes }
    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    func acquirePermissions(used: Permissions, shared: Permissions) throws(OpenError) {}
    func releasePermissions(used: Permissions, shared: Permissions) {}
    func prepareReopen(_ spec: FileSpec) async throws(OpenError) -> any HostFileReopen {
        Reopen(isReadOnly: spec.isReadOnly)
    }
    func close() async { files.openNow -= 1 }

    /// Nothing has to be opened again.
    private final class Reopen: HostFileReopen {
        let isReadOnly: Bool
        init(isReadOnly: Bool) { self.isReadOnly = isReadOnly }
        func commit() {}
        func cancel() {}
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await below.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        files.writes += 1
        try await below.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        files.writes += 1
        try await below.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) {
        files.writes += 1
        try await below.discard(range)
    }
    func flush() async throws(BlockError) { try await below.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        var status = try await below.status(of: range)
        status.holder = self
        return status
    }
    func resize(to length: UInt64) async throws(BlockError) {
        files.writes += 1
        try await below.resize(to: length)
    }
}

/// The tool over files in memory, and what it said.
final class Bench {
    let files = MemoryFiles()
    private let context = SimulatedContext()
    private(set) var said = ""
    private(set) var reported: [String] = []
    var rule = BackingRule.ownFolder

    func run<Result>(_ body: @escaping (ImageTool) async throws -> Result) throws -> Result {
        said = ""
        reported = []
        let tool = ImageTool(
            files: files, context: context, rule: rule, output: { self.said += $0 },
            report: { self.reported.append($0) }, localTime: { _ in "2026-11-23 13:15:50" })
        return try context.complete { try await body(tool) }
    }

    /// `create`, as the command line says it.
    func create(
        _ path: String, _ format: String = "qcow2", options: String? = nil, backing: String? = nil,
        backingFormat: String? = nil, size: String? = nil, checksBacking: Bool = true
    ) throws {
        let request = try CreateRequest(
            path: path, format: format, options: options.map { OptionList($0) } ?? OptionList(), backingFile: backing,
            backingFormat: backingFormat, size: size, checksBacking: checksBacking)
        try run { try await $0.create(request, quiet: false) }
    }

    /// Writes through the engine, to have something to map.
    func write(_ path: String, _ strokes: [(offset: UInt64, count: Int)]) throws {
        try run { tool in
            let image = try await tool.open(ImageReference(path, format: "qcow2"), isWritable: true)
            for stroke in strokes {
                try await image.top.write([UInt8](repeating: 0x5a, count: stroke.count), at: stroke.offset)
            }
            try await image.finish()
        }
    }

    /// The first bytes of an image, as its whole chain reads.
    func read(_ path: String, count: Int) throws -> [UInt8] {
        try run { tool in
            let image = try await tool.open(ImageReference(path, format: "qcow2"))
            let bytes = try await image.top.bytes(at: 0, count: count)
            await image.close()
            return bytes
        }
    }

    /// The name that stands in an image as its backing file's, empty where there is none.
    func backingName(_ path: String) -> String {
        let bytes = files[path]
        func number(_ range: Range<Int>) -> Int { bytes[range].reduce(0) { $0 << 8 | Int($1) } }
        let (offset, count) = (number(8..<16), number(16..<20))
        return String(decoding: bytes[offset..<offset + count], as: UTF8.self)
    }
}
