public import Block
import Bytes
public import DirtyMap

/// An open qcow2 image: says where guest bytes live in its file, and changes that in the order of rules O1 to O17.
///
/// Confined to its IOContext's thread. Functions that are not `async` change tables in memory, atomically; `resolve`,
/// `commit` and `resize` order the writes of those changes (docs/decisions/0002-qcow2-commit.md).
public final class Qcow2Image: ImageFormat {
    /// The header as in memory; its L1 and size fields may be ahead of the file's until the next commit.
    public internal(set) var header: Header
    /// The header as it stands in the file.
    var diskHeader: Header
    /// The first 512 bytes of the file, as last written.
    var headerSector: [UInt8]
    let geometry: Geometry
    let rules: EntryRules
    var file: any Storage
    /// Where guest data lies, if not in `file`: each cluster at its guest offset.
    var data: (any Storage)?
    /// Whether that can be read as the disk without the tables (autoclear bit 1): what becomes zeros there becomes zeros in
    /// it too.
    var isDataRaw: Bool { data != nil && header.autoclear.contains(.rawExternalData) }
    /// Whether that file is what the disk reads as, whatever the tables say of a place: "without looking at the qcow2 metadata",
    /// as the specification has it of that bit. So the disk and the file are equal at every point of a crash, and nothing that
    /// failed can part them. The tables name every place all the same, for those that look at them.
    var readsRawData: Bool { isDataRaw && !hasBacking }
    let observer: Observer
    let cacheSizes: (l2: UInt64, refcount: UInt64)
    /// Whether a backing child decides what this image does not: then nothing may become unallocated by a discard.
    public var hasBacking: Bool

    public internal(set) var length: UInt64
    /// The internal snapshots; their tables stay as they are.
    public internal(set) var snapshots: [Snapshot]
    var snapshotTableBytes: UInt64

    /// The dirty bitmaps; those that are persistent are stored when the image closes or can no longer be written.
    public internal(set) var bitmaps: NodeBitmaps
    /// The bitmaps as they stand in the file.
    var storedBitmaps: [StoredBitmap]

    // Mapping.
    var l1: [UInt64]
    /// L1 sectors (64 entries each) that differ from the file's.
    var dirtyL1 = Set<Int>()
    var isSizeDirty = false
    var l2: TableCache<L2Table>
    var dirtyTables: [L2Table] = []

    // Refcounts and places; empty in a read-only image.
    var refcountTable: [UInt64] = []
    var dirtyRefcountTable = Set<Int>()
    var blocks: TableCache<RefcountBlock>
    var dirtyBlocks: [RefcountBlock] = []
    var places = FreePlaces()
    /// The end of all places ever used, in bytes: what lies behind reads as zeros in a file that grows.
    var highWater: UInt64 = 0
    var freed = FreedClusters()
    /// Why refcounts of what was freed could not be read, and stay too high as long as that lasts.
    var unlowered: BlockError?
    /// Where the next compressed cluster goes, if it fits.
    var packing: PackingPlace?
    var generations = Generations()
    /// An allocation found nothing, or a write no room on the host: the next commit ends its epoch at once.
    var isStarved = false

    // Overlap checks: every cluster of metadata that is known.
    var metadata = ClusterSet()
    /// Metadata clusters that two structures claim.
    var contested = ClusterSet()

    // Requests.
    var tickets: [Ticket] = []
    var nextTicket: UInt64 = 1
    let ticketsEnded = WaitQueue()
    /// Tables being loaded, by need, and who waits for them.
    var loading: [(need: TableNeed, queue: WaitQueue)] = []
    /// Held by whatever makes tables, moves them, or writes changes back.
    let structure = AsyncLock()
    /// Held while the header is written: its sector is put together from what the last write left.
    let headerWrites = AsyncLock()

    // State.
    public internal(set) var isReadOnly: Bool
    var isClosed = false
    public internal(set) var isFenced = false
    /// Fatal damage was found, or the image was marked before.
    var isCorrupt = false
    var hasReportedCorruption = false
    /// The corrupt bit waits to be written.
    var needsCorruptMark = false

    /// What a check that is under way is to know of.
    var watch: ClusterWatch? { didSet { freed.watch = watch } }

    let decoder = ClusterDecoderCache()

    init(
        header: Header, headerSector: [UInt8], file: any Storage, data: (any Storage)?, options: Options,
        observer: Observer, l1: [UInt64],
        snapshots: (list: [Snapshot], bytes: UInt64), bitmaps: (stored: [StoredBitmap], bitmaps: NodeBitmaps)
    ) throws(OpenError) {
        self.header = header
        diskHeader = header
        self.headerSector = headerSector
        geometry = header.geometry
        rules = EntryRules(version: header.version, geometry: header.geometry, hasDataFile: data != nil)
        self.file = file
        self.data = data
        self.observer = observer
        cacheSizes = try options.cacheSizes(size: header.size, geometry: header.geometry)
        hasBacking = header.backingFileName != nil
        length = header.size & ~511
        self.snapshots = snapshots.list
        snapshotTableBytes = snapshots.bytes
        storedBitmaps = bitmaps.stored
        self.bitmaps = bitmaps.bitmaps
        self.l1 = l1
        let cluster = header.geometry.clusterSize
        l2 = TableCache(indices: l1.count, capacity: Int(clamping: max(cacheSizes.l2 / cluster, 2)))
        blocks = TableCache(indices: 0, capacity: Int(clamping: max(cacheSizes.refcount / cluster, 4)))
        isReadOnly = true
        isCorrupt = header.incompatible.contains(.corrupt)
    }

    public var limits: StorageLimits {
        StorageLimits(
            discardAlignment: geometry.subclusterSize, preferredTransfer: 4096, zeroesFast: header.version >= 3,
            discards: true, encodedUnit: geometry.clusterSize)
    }

    public var mapsStraight: Bool { false }

    public var writeRefusal: BlockError? {
        if isClosed { return .closed }
        if isReadOnly { return .readOnly }
        if isFenced { return .fenced }
        return isCorrupt ? .corrupt : nil
    }

    public func beginRequest() -> RequestToken { RequestToken(generation: generations.begin()) }
    public func endRequest(_ token: RequestToken) { generations.end(token.generation) }

    /// Lets the image work on another storage with the same bytes: after a change of the graph below it.
    public func rebind(file: any Storage, data: (any Storage)? = nil) {
        precondition((data == nil) == (self.data == nil), "an image's data stays apart from its tables, or with them")
        self.file = file
        self.data = data
    }

    /// Makes durable what was written to the file, and guest data in a file of its own before that. After a flush that failed,
    /// whatever its error, the file may have lost any of it and may say that the next flush succeeds: the image is fenced (D7).
    func flushFile() async throws(BlockError) {
        do {
            try await data?.flush()
            try await file.flush()
        } catch {
            fence(error)
            throw error
        }
    }

    /// Takes every write to the image away, since a write or a flush ended in a way that cannot be known. Reads go on.
    func fence(_ cause: BlockError) {
        guard !isFenced else { return }
        isFenced = true
        observer.onFence(cause)
    }
}

/// What a need asks `resolve` to do.
enum Need: UInt8 {
    /// Load the L2 table of this L1 index.
    case loadTable = 1
    /// Make an L2 table for this L1 index.
    case makeTable
    /// Copy the L2 table of this L1 index, which a snapshot shares.
    case copyTable
    /// Make the L1 table long enough for this index.
    case growL1
    /// Load this refcount block.
    case loadBlock
    /// Make the refcount block that counts this cluster, there: behind those that are wanted, so that they lie in a row.
    case makeBlock
    /// Make the refcount table long enough for this block.
    case growRefcountTable
    /// Report the damaged entry for this guest offset.
    case reportEntry
    /// Report that this host cluster was about to be taken for data, or is mapped as data, and is metadata.
    case reportOverlap

    func at(_ index: UInt64) -> TableNeed { TableNeed(kind: rawValue, index: index) }
    func at(_ index: Int) -> TableNeed { TableNeed(kind: rawValue, index: UInt64(index)) }
}
