public import Block
public import Bytes
import CLinux
import Glibc
public import HostIO
import Logging

/// A host file or block device as storage: the drivers `file` and `host_device`.
///
/// A file grows by writes past its end and reads as zeros there. Flushes are sticky: after one failed, the page cache
/// may have dropped what was written, and every later flush fails until the file is opened again (rule D7).
public final class FileStorage: Storage {
    let thread: IOThread
    var file: OpenedFile
    private var current: UInt64
    /// The end of the furthest write since the file was opened, in bytes.
    public private(set) var highestWrite: UInt64 = 0
    /// The failure that no later flush may hide.
    private var flushFailure: BlockError?
    /// What the host refused once is not asked again.
    private var canZeroRange = true
    private var canPunch = true
    private let log = Logger(label: "nacre.file")
    /// Where names of descriptors lead.
    let sets: DescriptorSets?

    /// Opens the file; blocks the thread for the time of the system calls. With `sets`, a name `/dev/fdset/ID` is a
    /// descriptor of one of them.
    public init(_ options: FileOptions, from sets: DescriptorSets? = nil, on thread: IOThread) throws(OpenError) {
        self.thread = thread
        self.sets = sets
        file = try OpenedFile(options, from: sets)
        current = file.length
        if options.aio == .ioUring, !thread.hasRing {
            log.notice("\(options.filename): io_uring is refused here, requests use the thread pool")
        }
    }

    public var filename: String { file.options.filename }
    public var fileIdentity: FileIdentity { file.identity }
    public var isReadOnly: Bool { file.isReadOnly }
    public var options: FileOptions { file.options }
    public var length: UInt64 { current }

    public var limits: StorageLimits {
        StorageLimits(
            requestAlignment: file.requestAlignment, memoryAlignment: file.memoryAlignment,
            maxTransfer: 1 << 30, discardAlignment: file.isDevice ? file.requestAlignment : 0,
            preferredTransfer: max(4096, file.requestAlignment), zeroesFast: canZeroRange || canPunch,
            discards: canPunch, growable: !file.isDevice, blockSize: file.requestAlignment)
    }

    /// Whether writes into the page cache are made in place.
    var patience = WritePatience()
    /// Flushes under way.
    var flushes = 0

    /// A file ends where the furthest write does, a device where it ends.
    private func check(_ offset: UInt64, _ count: Int) throws(BlockError) {
        try check(ByteRange(checked: offset, count: UInt64(count)))
    }

    func check(_ range: ByteRange?) throws(BlockError) {
        guard let range, !file.isDevice || range.end <= current else { throw .outOfRange }
    }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try check(offset, buffer.byteCount)
        if readNow(at: offset, into: &buffer) { return }
        let file = self.file
        let descriptor = file.beginCall()
        defer { file.endCall() }
        try await thread.read(descriptor, at: offset, into: &buffer, engine: file.options.engine)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        try check(offset, bytes.byteCount)
        if !flags.contains(.fua), writeNow(at: offset, from: bytes) { return }
        let file = self.file
        let dsync = flags.contains(.fua) && !file.options.noFlush
        if dsync, let flushFailure { throw flushFailure }
        let descriptor = file.beginCall()
        defer { file.endCall() }
        do throws(BlockError) {
            try await thread.write(descriptor, at: offset, from: bytes, dsync: dsync, engine: file.options.engine)
        } catch {
            if dsync { await judge(error, at: offset, from: bytes, file, descriptor) }
            throw error
        }
        // A flush may have failed meanwhile, and taken these bytes with it.
        if dsync, let flushFailure { throw flushFailure }
        grow(to: offset + UInt64(bytes.byteCount))
    }

    /// Learns from a failed durable write which half of it failed: where the bytes alone can be written, it was the
    /// durability, and no later flush is to be trusted. A full disk, say, is no such failure.
    private func judge(
        _ failure: BlockError, at offset: UInt64, from bytes: RawSpan, _ file: OpenedFile, _ descriptor: Int32
    ) async {
        do throws(BlockError) {
            try await thread.write(descriptor, at: offset, from: bytes, dsync: false, engine: file.options.engine)
        } catch { return }
        distrust(failure)
    }

    private func distrust(_ failure: BlockError) {
        flushFailure = failure
        log.error("\(filename): a flush failed (\(failure)); no later one is trusted until the file is opened again")
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        try check(range)
        guard !range.isEmpty else { return }
        try await zeroNow(range, mayUnmap: flags.contains(.mayUnmap))
        grow(to: range.end)
        if flags.contains(.fua) { try await flush() }
    }

    private func zeroNow(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
        // A hole reads as zeros; past the end there is nothing to punch, and KEEP_SIZE would not grow the file.
        if mayUnmap, canPunch, range.end <= current {
            do {
                return try await fallocate(nacre_punch_hole(), range)
            } catch {
                guard error == .unsupported else { throw error }
                canPunch = false
            }
        }
        guard canZeroRange else { throw .unsupported }
        do {
            try await fallocate(nacre_zero_range(), range)
        } catch {
            guard error == .unsupported || error == .invalid else { throw error }
            canZeroRange = false
            throw .unsupported
        }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        let inside = range.intersection(ByteRange(at: 0, count: current))
        guard canPunch, !inside.isEmpty else { return }
        do throws(BlockError) {
            if file.isDevice {
                try await call { descriptor in nacre_device_discard(descriptor, inside.start, inside.count) }
            } else {
                try await fallocate(nacre_punch_hole(), inside)
            }
        } catch {
            // Advice that the host cannot take is no failure.
            guard error == .unsupported else { throw error }
            canPunch = false
        }
    }

    public func flush() async throws(BlockError) {
        if let flushFailure { throw flushFailure }
        let file = self.file
        if file.options.noFlush || file.isReadOnly { return }
        let descriptor = file.beginCall()
        flushes += 1
        defer {
            flushes -= 1
            file.endCall()
        }
        do {
            try await thread.fdatasync(descriptor, engine: file.options.engine)
        } catch {
            // What synchronises nothing has nothing to lose: /dev/null and its like (fsync(2), EINVAL).
            if error == .invalid, file.isDevice { return }
            distrust(error)
            throw error
        }
        // One that began before another failed may end after it.
        if let flushFailure { throw flushFailure }
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try check(range)
        if range.isEmpty { throw .invalid }
        let inside = range.intersection(ByteRange(at: 0, count: current))
        if inside.isEmpty { return BlockStatus(count: range.count, flags: [.zero, .allocated]) }
        if file.isDevice {
            return BlockStatus(count: inside.count, flags: [.data, .allocated], offset: inside.start, holder: self)
        }
        let descriptor = file.descriptor
        let data = lseek(descriptor, off_t(clamping: inside.start), nacre_seek_data())
        if data < 0 {
            // Nothing but hole up to the end; any other error tells nothing, which is "data".
            let flags: BlockStatus.Flags = nacre_errno() == ENXIO ? [.zero, .allocated] : [.data, .allocated]
            return BlockStatus(count: inside.count, flags: flags, offset: inside.start, holder: self)
        }
        if UInt64(data) > inside.start {
            let count = min(UInt64(data), inside.end) - inside.start
            return BlockStatus(count: count, flags: [.zero, .allocated], offset: inside.start, holder: self)
        }
        let hole = lseek(descriptor, off_t(clamping: inside.start), nacre_seek_hole())
        let end = hole <= data ? inside.end : min(UInt64(hole), inside.end)
        return BlockStatus(count: end - inside.start, flags: [.data, .allocated], offset: inside.start, holder: self)
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        if isReadOnly { throw .readOnly }
        guard !file.isDevice else {
            guard length <= current else { throw .unsupported }
            return
        }
        guard let size = off_t(exactly: length) else { throw .outOfRange }
        let wasEmpty = current == 0
        try await call { descriptor in ftruncate(descriptor, size) }
        current = length
        if wasEmpty { await holdFirstBlock() }
    }

    /// Gives the first block of a file that was empty its room, as QEMU does: whoever asks which alignment requests past the
    /// page cache need reads there, and a hole tells nothing. That it cannot be had harms nobody.
    private func holdFirstBlock() async {
        guard current >= Self.firstBlock else { return }
        let zeros = AlignedBuffer(byteCount: Int(Self.firstBlock), alignment: Int(Self.firstBlock))
        let file = self.file
        let descriptor = file.beginCall()
        defer { file.endCall() }
        try? await thread.write(descriptor, at: 0, from: zeros.bytes, dsync: false, engine: file.options.engine)
    }

    /// A page, in bytes: no host's sectors are larger.
    private static let firstBlock: UInt64 = 4096

    func grow(to end: UInt64) {
        if end > current { current = end }
        if end > highestWrite { highestWrite = end }
    }

    private func fallocate(_ mode: Int32, _ range: ByteRange) async throws(BlockError) {
        let file = self.file
        let descriptor = file.beginCall()
        defer { file.endCall() }
        try await thread.fallocate(
            descriptor, mode: mode, at: range.start, count: range.count, engine: file.options.engine)
    }

    /// Makes a blocking call of libc, which answers -1 and an errno where it fails, on a thread of the pool.
    private func call(_ work: @escaping @Sendable (Int32) -> Int32) async throws(BlockError) {
        let file = self.file
        let descriptor = file.beginCall()
        defer { file.endCall() }
        let code = await thread.offload { work(descriptor) == 0 ? 0 : -nacre_errno() }
        if code < 0 { throw BlockError(errno: -code) }
    }

    /// Closes the file; its locks go with it. No request shall come; one that is under way ends as if it had come before.
    public func closeFile() { file.close() }

    /// A file that is opened again has no failed flush behind it. Calls under way end on the old descriptor.
    func replace(_ file: OpenedFile) {
        self.file = file
        current = file.length
        flushFailure = nil
    }
}
