import Block
import Bytes

/// The format `raw`: guest bytes are file bytes, from an offset on and up to a size.
final class RawFormat: ImageFormat {
    private var file: any Storage
    let offset: UInt64
    /// The fixed size of the window; nil: up to the file's end.
    let size: UInt64?

    /// Checks the window against the file, in QEMU's words.
    init(_ options: RawOptions, on file: any Storage) throws(OpenError) {
        self.file = file
        offset = options.offset ?? 0
        size = options.size
        let actual = Self.sectors(of: file)
        guard offset <= actual else {
            throw OpenError("Offset (\(offset)) cannot be greater than size of the containing file (\(actual))")
        }
        guard let size else { return }
        if actual - offset < size {
            throw OpenError(
                "The sum of offset (\(offset)) and size (\(size)) has to be smaller or equal to the  "
                    + "actual size of the containing file (\(actual))")
        }
        if size % 512 != 0 { throw OpenError("Specified size is not multiple of 512") }
    }

    /// Works on another walker of the file from now on.
    func rebind(file: any Storage) { self.file = file }

    var length: UInt64 {
        let actual = Self.sectors(of: file)
        let rest = actual > offset ? actual - offset : 0
        return size.map { min($0, rest) } ?? rest
    }

    /// A file's length in bytes, as disks have it: up to the end of its last sector, which reads as zeros past the
    /// file's end.
    private static func sectors(of file: any Storage) -> UInt64 {
        file.limits.growable ? file.length.roundedUp(to: 512) ?? file.length : file.length
    }

    var limits: StorageLimits {
        var limits = file.limits
        // The walker of the file takes any alignment; through a window of a fixed size the file does not grow.
        limits.requestAlignment = 1
        limits.memoryAlignment = 1
        limits.encodedUnit = 0
        if size != nil { limits.growable = false }
        return limits
    }

    var writeRefusal: BlockError? { nil }
    var commitUrgency: CommitUrgency { .none }
    var mapsStraight: Bool { true }

    func beginRequest() -> RequestToken { RequestToken(generation: 0) }
    func endRequest(_ token: RequestToken) {}

    func lookup(_ guest: ByteRange) -> Extent {
        // The sum fits: the offset was checked at open against a file's length, and the walker lets no request pass the
        // device's end or, where it grows, 2^63.
        Extent(.data(offset: offset + guest.start), count: guest.count, isWritable: true)
    }

    func resolve(_ need: TableNeed) async throws(BlockError) {}
    func allocate(_ guest: ByteRange) -> Allocation { .failed(.io) }
    func publish(_ ticket: consuming AllocationTicket) { _ = ticket.resolved() }
    func abandon(_ ticket: consuming AllocationTicket) { _ = ticket.resolved() }
    func settle(_ guest: ByteRange) async {}

    func unmap(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome {
        .passDown(offset: offset + guest.start, count: guest.count, target)
    }

    func decode(_ guest: ByteRange, into buffer: inout MutableRawSpan, on context: any IOContext)
        async throws(BlockError)
    {
        throw .io
    }

    func commit() async throws(BlockError) -> [ByteRange] {
        try await file.flush()
        return []
    }

    func resize(to length: UInt64) async throws(BlockError) {
        if size != nil { throw .unsupported }
        let (end, overflow) = length.addingReportingOverflow(offset)
        if overflow { throw .outOfRange }
        try await file.resize(to: end)
    }
}
