import Block
import BlockTestKit
import Bytes
import Image
import Qcow2

/// Files in memory, which notes what is opened and counts what is written.
final class MemoryFiles: ImageFiles {
    private var contents: [String: MemoryStorage] = [:]
    private(set) var opened: [String] = []
    private(set) var uses: [FileUse] = []
    private(set) var openNow = 0
    /// What the file system was told of the file that was made last.
    private(set) var attributes: FileAttributes?
    /// Every request that changes something.
    var writes: Int { watched.reduce(0) { $0 + $1.writes } }
    private var watched: [WatchedStorage] = []
    /// What fails on all files together.
    let faults = FaultPlan()

    subscript(path: String) -> [UInt8] {
        get { contents[path]?.contents.array ?? [] }
        set { contents[path] = MemoryStorage(SparseBytes(newValue)) }
    }

    func allocated(_ path: String) -> UInt64 { contents[path]?.contents.allocatedBytes ?? 0 }

    func holds(_ path: String) -> Bool { contents[path] != nil }

    func open(_ path: String, _ use: FileUse) async throws(OpenError) -> ImageFile {
        guard let storage = contents[path] else {
            throw OpenError("Could not open '\(path)': No such file or directory", cause: .system(2))
        }
        opened.append(path)
        uses.append(use)
        return file(storage, path)
    }

    func create(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> ImageFile {
        self.attributes = attributes
        if path.hasPrefix("/nonexistent/") {
            throw OpenError("Could not create '\(path)': No such file or directory", cause: .system(2))
        }
        let storage = MemoryStorage(length: 0, growable: true)
        let isNew = contents[path] == nil
        contents[path] = storage
        return file(storage, path, isNew: isNew)
    }

    /// What was begun and has no name yet.
    private(set) var unnamed = 0
    /// Standard input: what is read from it, in the pieces in which it comes; and output.
    let stdin = MemoryPipe()
    let stdout = MemoryPipe()
    var input: any BytePipe { stdin }
    var output: any BytePipe { stdout }

    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> ImageFile {
        if contents[path] != nil || path.hasPrefix("/nonexistent/") { return try await create(path, attributes) }
        self.attributes = attributes
        let storage = MemoryStorage(length: 0, growable: true)
        let watched = WatchedStorage(FaultyStorage(storage, faults))
        self.watched.append(watched)
        openNow += 1
        unnamed += 1
        var isNamed = false
        return ImageFile(
            storage: watched, allocatedBytes: 0, identity: path, isNew: true,
            close: { self.openNow -= 1 },
            abandon: {
                self.openNow -= 1
                if isNamed { self.contents[path] = nil } else { self.unnamed -= 1 }
            },
            complete: {
                self.contents[path] = storage
                self.unnamed -= 1
                isNamed = true
            })
    }

    private func file(_ storage: MemoryStorage, _ path: String, isNew: Bool = false) -> ImageFile {
        let watched = WatchedStorage(FaultyStorage(storage, faults))
        self.watched.append(watched)
        openNow += 1
        return ImageFile(
            storage: watched, allocatedBytes: storage.contents.allocatedBytes, identity: path, isNew: isNew,
            close: { self.openNow -= 1 },
            abandon: {
                self.openNow -= 1
                if isNew { self.contents[path] = nil }
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

/// Passes everything on and counts what changes the storage below.
final class WatchedStorage: Storage {
    private let below: any Storage
    private(set) var writes = 0

    init(_ below: any Storage) { self.below = below }

    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await below.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        writes += 1
        try await below.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        writes += 1
        try await below.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) {
        writes += 1
        try await below.discard(range)
    }
    func flush() async throws(BlockError) { try await below.flush() }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        var status = try await below.status(of: range)
        status.holder = self
        return status
    }
    func resize(to length: UInt64) async throws(BlockError) {
        writes += 1
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
        try run { [files, context] _ in
            let file = try await files.open(path, FileUse(isWritable: true))
            let image = try await Qcow2Image.open(file: file.storage, options: Options())
            let walker = BlockIO(context: context, driver: .format(image), file: file.storage)
            for stroke in strokes {
                try await walker.write([UInt8](repeating: 0x5a, count: stroke.count), at: stroke.offset)
            }
            try await walker.flush()
            walker.retire()
            await file.close()
        }
    }

    /// The first bytes of an image, as its whole chain reads.
    func read(_ path: String, count: Int) throws -> [UInt8] {
        try run { [files, context, rule] _ in
            let chain = try await ImageChain.open(
                path, format: "qcow2", ImageChain.Source(files: files, context: context, rule: rule))
            let bytes = try await chain.top.bytes(at: 0, count: count)
            await chain.close()
            return bytes
        }
    }
}
