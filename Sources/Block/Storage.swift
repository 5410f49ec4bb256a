public import Bytes

/// The role of what holds bytes: files, block devices, memory, remote exports, and the walker of a node (`BlockIO`).
///
/// Offsets and lengths are bytes. A call may be made while others are under way; overlapping calls have no order between
/// them. A buffer belongs to the call until it ends, and a call always runs to its end.
public protocol Storage: AnyObject {
    /// The current length in bytes, from memory.
    var length: UInt64 { get }
    /// What requests must look like, and what the storage can do.
    var limits: StorageLimits { get }

    /// Fills `buffer` from `offset`. Bytes past the end of a storage that can grow read as zeros; elsewhere a request
    /// past the end is `outOfRange`.
    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError)
    /// Stores `bytes` at `offset`. A storage that can grow does so; the gap reads as zeros.
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError)
    /// Reads in place, without waiting for anything. False where that cannot be had, for whatever reason: then nothing is
    /// told of the buffer's contents, and `read` is asked.
    func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool
    /// Writes in place, as `write` without flags would. False where that fails, would have to wait, or would change more
    /// than bytes that have their place: then some of them may be stored already, and `write` is asked for all.
    func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool
    /// Makes the range read as zeros.
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError)
    /// Tells the storage that the range's contents no longer matter. Reads return old bytes or zeros. Advice: a storage
    /// that cannot discard returns success.
    func discard(_ range: ByteRange) async throws(BlockError)
    /// Makes every request that completed before this call durable. After one failure every later flush fails, until
    /// the storage is opened again (D7 of docs/reliability.md).
    func flush() async throws(BlockError)
    /// What is known about the first bytes of the range; the answer covers at least one byte of it.
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus
    /// Sets the length. Growing adds bytes that read as zeros.
    func resize(to length: UInt64) async throws(BlockError)
    /// The format whose file this is comes to a step of its own, and goes on when this returns: for who injects faults.
    func reach(_ event: FaultEvent) async
    /// Whether anybody there listens: what happens with each request is told only then.
    var hearsEvents: Bool { get }
}

extension Storage {
    /// For storages that always wait, or look at each request.
    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool { false }
    /// Likewise.
    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool { false }
    /// For all but those who inject faults.
    public func reach(_ event: FaultEvent) async {}
    public var hearsEvents: Bool { false }
}

public struct WriteFlags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The written bytes are durable when the call returns.
    public static let fua = WriteFlags(rawValue: 1)
    /// The bytes are kept compressed where they become smaller. Only whole units of `encodedUnit` can be.
    public static let compressed = WriteFlags(rawValue: 2)
}

public struct ZeroFlags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The zeros are durable when the call returns.
    public static let fua = ZeroFlags(rawValue: 1)
    /// The space may be given back.
    public static let mayUnmap = ZeroFlags(rawValue: 2)
    /// Fail with `unsupported` rather than write zeros as data.
    public static let fastOnly = ZeroFlags(rawValue: 4)
}

/// What a storage asks of requests, in bytes. Alignments are powers of two.
public struct StorageLimits: Equatable, Sendable {
    /// Offset and length of reads and writes are multiples of this.
    public var requestAlignment: UInt64
    /// Buffers start at a multiple of this.
    public var memoryAlignment: Int
    /// No single read or write is longer.
    public var maxTransfer: UInt64
    /// Zero and discard work best in multiples of this (0: no preference). The rest of a range may be left alone by
    /// discard.
    public var discardAlignment: UInt64
    /// What a client should use for efficient requests.
    public var preferredTransfer: UInt64
    /// Whether `zero` is done without writing data.
    public var zeroesFast: Bool
    /// Whether `discard` does anything.
    public var discards: Bool
    /// Whether a write past the end makes it longer.
    public var growable: Bool
    /// Compressed writes are multiples of this, but for the last one at the end (0: there are none).
    public var encodedUnit: UInt64
    /// Bytes are kept in blocks of this at the least, and what `status` tells of a storage's end holds for the whole last one:
    /// the alignment of requests, as far down as the host's file. 1: the end is where the last byte is.
    public var blockSize: UInt64

    public init(
        requestAlignment: UInt64 = 1, memoryAlignment: Int = 1, maxTransfer: UInt64 = 1 << 30,
        discardAlignment: UInt64 = 0, preferredTransfer: UInt64 = 4096, zeroesFast: Bool = false,
        discards: Bool = false, growable: Bool = false, encodedUnit: UInt64 = 0,
        blockSize: UInt64 = 1
    ) {
        self.requestAlignment = requestAlignment
        self.memoryAlignment = memoryAlignment
        self.maxTransfer = maxTransfer
        self.discardAlignment = discardAlignment
        self.preferredTransfer = preferredTransfer
        self.zeroesFast = zeroesFast
        self.discards = discards
        self.growable = growable
        self.encodedUnit = encodedUnit
        self.blockSize = blockSize
    }
}

/// What is known about a run of bytes, as `qemu-img map` and NBD's block status tell it.
public struct BlockStatus {
    public struct Flags: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Bytes are stored somewhere (they may be zeros).
        public static let data = Flags(rawValue: 1)
        /// The run reads as zeros.
        public static let zero = Flags(rawValue: 2)
        /// Some layer decides what the run reads as; without it no layer of the chain does.
        public static let allocated = Flags(rawValue: 4)
        /// The bytes are stored compressed or encrypted.
        public static let encoded = Flags(rawValue: 8)
    }

    /// How far the answer holds, in bytes.
    public var count: UInt64
    public var flags: Flags
    /// How many layers below the asked node decides: 0 is the node itself. Meaningful with `allocated`.
    public var depth: Int
    /// Where in `holder` the bytes lie, where they lie there as they read.
    public var offset: UInt64?
    /// What holds them.
    public var holder: (any Storage)?

    public init(count: UInt64, flags: Flags, depth: Int = 0, offset: UInt64? = nil, holder: (any Storage)? = nil) {
        self.count = count
        self.flags = flags
        self.depth = depth
        self.offset = offset
        self.holder = holder
    }
}

/// Told of the changes that requests make to a node: its dirty bitmaps.
public protocol ChangeTracker: AnyObject {
    /// A write, a zeroing or a discard of the range has ended, well or not.
    func changed(_ range: ByteRange)
}
