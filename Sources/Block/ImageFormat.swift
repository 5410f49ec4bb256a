public import Bytes

/// The role of what maps: an image format says where guest bytes live in its children, and moves none of them.
/// `BlockIO` walks.
///
/// All functions that are not `async` work from memory and are atomic. `guest` offsets are those of the virtual disk,
/// `file` offsets those of the child that holds the data: the format's `file`, unless its data lies apart. Lookups of
/// what is already allocated have no side effects.
///
/// A request is bracketed by `beginRequest` and `endRequest`: a place that is freed while a request runs is neither
/// reused nor punched before that request has ended and before what freed it is durable (rules O5 and O17).
public protocol ImageFormat: AnyObject {
    /// The virtual disk's size in bytes.
    var length: UInt64 { get }
    var limits: StorageLimits { get }
    /// Why nothing may be written now (`readOnly`, `fenced`, `corrupt`), or nil.
    var writeRefusal: BlockError? { get }
    /// Whether changes wait for a commit, and how long they may.
    var commitUrgency: CommitUrgency { get }
    /// Whether guest bytes are file bytes, shifted: then holes of the file are told as zeros.
    var mapsStraight: Bool { get }

    func beginRequest() -> RequestToken
    func endRequest(_ token: RequestToken)

    /// Where the first bytes of `guest` are. The extent covers at least one byte of it and may run past it.
    func lookup(_ guest: ByteRange) -> Extent
    /// Does what `lookup`, `allocate` or `unmap` said was missing: loads a table, makes one, grows one. Afterwards the
    /// question is asked again.
    func resolve(_ need: TableNeed) async throws(BlockError)
    /// Takes a place for the first bytes of `guest`. Bytes that have one keep it: where places without data lie among data
    /// that is written in place, all in a row, one ticket is for all of them, and it fills nothing around data. Answers
    /// `busy` where an extent offers all of them for writing in place.
    func allocate(_ guest: ByteRange) -> Allocation
    /// The data of the ticket's place is written: link it.
    func publish(_ ticket: consuming AllocationTicket)
    /// The data of the ticket's place could not be written: give it back.
    func abandon(_ ticket: consuming AllocationTicket)
    /// How a cluster of `encodedUnit` bytes is encoded; nil where none may be.
    var encoder: ClusterEncoding? { get }
    /// Takes a place for a cluster that has become `count` bytes, whatever holds it now.
    func allocate(encoded count: UInt64, for cluster: ByteRange) -> Allocation
    /// Waits until no ticket overlaps `guest`.
    func settle(_ guest: ByteRange) async
    /// Makes the first bytes of `guest` read as zeros, or unmaps them.
    func unmap(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome
    /// Reads `guest`, which lies in one encoded extent, decoded, into `buffer`.
    /// Whole clusters are decoded on the context's workers, parts of one in place.
    func decode(_ guest: ByteRange, into buffer: inout MutableRawSpan, on context: any IOContext)
        async throws(BlockError)
    /// Makes all that was published or unmapped before the call durable, data first, in the order of O1 to O17.
    /// Answers the ranges of the `file` child that nothing uses any more and that may now be punched. They stay out of use
    /// until they are given to `release`.
    func commit() async throws(BlockError) -> [ByteRange]
    /// A write found the host full: what was freed shall return with the next commit, not with the one after it.
    func noteFullHost()
    /// What `commit` answered has been punched, or will not be: it may be allocated again.
    func release(_ freed: [ByteRange])
    /// Sets the virtual disk's size. A larger one is not durable before it is confirmed.
    func resize(to length: UInt64) async throws(BlockError)
    /// What the disk gained reads as it shall: its size may become durable.
    func confirmLength()
    /// Ends the `file` child behind the last place that is used. No request is under way.
    func cutTail() async throws(BlockError)
}

/// Encodes one cluster, on any thread; nil where that does not make it smaller. The result is whole sectors.
public typealias ClusterEncoding = @Sendable ([UInt8]) -> [UInt8]?

extension ImageFormat {
    /// For formats that hold bytes only as they are.
    public var encoder: ClusterEncoding? { nil }
    public func allocate(encoded count: UInt64, for cluster: ByteRange) -> Allocation { .failed(.unsupported) }
    /// For formats that never free a place.
    public func noteFullHost() {}
    /// Likewise.
    public func release(_ freed: [ByteRange]) {}
    /// For formats whose file ends where the disk does.
    public func cutTail() async throws(BlockError) {}
    /// For formats that do not store a size.
    public func confirmLength() {}
}

/// Whether a format's changes wait to be committed.
public enum CommitUrgency: Sendable {
    case none
    /// Within five seconds: what nobody asked to be durable, and takes nothing away from anybody meanwhile.
    case later
    /// Within a second.
    case soon
    /// Before the next change: much has piled up.
    case now
}

/// The state of the reclamation clock when a request began.
public struct RequestToken: Sendable {
    public let generation: UInt64
    public init(generation: UInt64) { self.generation = generation }
}

/// A table or piece of space that a format lacked to answer at once; only the format reads it.
public struct TableNeed: Equatable, Sendable {
    public let kind: UInt8
    public let index: UInt64
    public init(kind: UInt8, index: UInt64) {
        self.kind = kind
        self.index = index
    }
}

/// How a run of guest bytes is held.
public struct Extent: Equatable, Sendable {
    public enum Mapping: Equatable, Sendable {
        /// In the `file` child from this offset on.
        case data(offset: UInt64)
        /// Reads as zeros, whatever lies below. `allocated` says where a place is reserved in the `file` child.
        case zero(allocated: UInt64?)
        /// Nothing here: the backing child decides, or zeros where there is none. `reserved` says where a place is kept all
        /// the same in the `file` child.
        case unallocated(reserved: UInt64? = nil)
        /// Compressed or encrypted: ask `decode`.
        case encoded
        /// The table that knows is not in memory.
        case unresolved(TableNeed)
        /// The table entry is invalid.
        case corrupt
    }

    public let mapping: Mapping
    /// How far the mapping runs from the start of what was asked, in bytes.
    public let count: UInt64
    /// Whether data may be written where it is. Shared, compressed and zero clusters are not.
    public let isWritable: Bool

    public init(_ mapping: Mapping, count: UInt64, isWritable: Bool = false) {
        self.mapping = mapping
        self.count = count
        self.isWritable = isWritable
    }
}

/// The answer to `allocate`.
public enum Allocation: ~Copyable {
    case ticket(AllocationTicket)
    /// Resolve this and ask again.
    case needs(TableNeed)
    /// Another ticket holds the place, or it is written in place: `settle`, look up and ask again.
    case busy
    /// No place can be had.
    case failed(BlockError)
}

/// The right, and the duty, to fill one newly taken place: publish it or abandon it. Move-only; dropping one is a
/// programmer's error that traps in debug builds and leaks the place otherwise.
public struct AllocationTicket: ~Copyable {
    /// Names the ticket to its format.
    public let id: UInt64
    /// The guest bytes of the request that the place takes.
    public let guest: ByteRange
    /// Guest bytes before `guest` that share the place and must be filled with what they read as now.
    public let head: ByteRange
    /// Guest bytes behind `guest`, likewise.
    public let tail: ByteRange
    /// Where in the `file` child `guest` goes; `head` lies before it and `tail` behind it, without gaps.
    public let offset: UInt64
    /// Whether the place is known to read as zeros, so that zeros need not be written to it.
    public let readsZero: Bool

    public init(id: UInt64, guest: ByteRange, head: ByteRange, tail: ByteRange, offset: UInt64, readsZero: Bool) {
        self.id = id
        self.guest = guest
        self.head = head
        self.tail = tail
        self.offset = offset
        self.readsZero = readsZero
    }

    /// Ends the ticket's duty; for the format that resolves it.
    public consuming func resolved() -> UInt64 {
        let id = self.id
        discard self
        return id
    }

    deinit { assertionFailure("an allocation ticket was dropped unresolved") }
}

/// What unmapped bytes shall read as.
public enum UnmapTarget: Equatable, Sendable {
    /// Zeros; the place may be kept (`keepPlace`) or given back.
    case zero(keepPlace: Bool)
    /// Nothing is promised (discard), but never older bytes of the chain than the image itself held.
    case discard
}

/// The answer to `unmap`.
public enum UnmapOutcome: Equatable, Sendable {
    /// The first bytes now are as asked.
    case done(count: UInt64)
    /// The first bytes cannot be unmapped (part of a cluster, or a format without zero clusters): write zeros as
    /// data, or leave them where it was advice.
    case asData(count: UInt64)
    /// The rest is for the child that holds the data: pass this on, for these bytes of it.
    case passDown(offset: UInt64, count: UInt64, UnmapTarget)
    /// Resolve this and ask again.
    case needs(TableNeed)
    /// A ticket overlaps: `settle` and ask again.
    case busy
    case failed(BlockError)
}
