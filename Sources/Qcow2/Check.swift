public import Block
import Bytes

/// The checker of qcow2 metadata: counts what every table references, compares it with the refcounts, and repairs.
///
/// It walks on its own, apart from the engine, over an image that nobody has open for writing. Memory is bounded
/// whatever the image claims; holes of the file are skipped. Messages and numbers are those of `qemu-img check`, and what
/// that does not look for has messages of its own: metadata whose place something else uses too.
public final class Qcow2Check {
    public enum Repair: Sendable {
        case none
        /// Refcounts that are too high.
        case leaks
        /// Refcounts, and the flags that follow from them: what the dirty bit asks for.
        case refcounts
        /// All that can be repaired, tables included.
        case all
    }

    /// What was found; what was repaired is counted apart from what is still wrong.
    public struct Result: Equatable, Sendable {
        public var corruptions: UInt64 = 0
        public var leaks: UInt64 = 0
        /// Parts that could not be read.
        public var checkErrors: UInt64 = 0
        public var corruptionsFixed: UInt64 = 0
        public var leaksFixed: UInt64 = 0
        /// Clusters of the virtual disk, and how many of them have a place, are compressed, or do not follow the one
        /// before.
        public var totalClusters: UInt64 = 0
        public var allocatedClusters: UInt64 = 0
        public var compressedClusters: UInt64 = 0
        public var fragmentedClusters: UInt64 = 0
        /// Where the last used cluster ends.
        public var imageEndOffset: UInt64 = 0

        public init() {}
    }

    let file: any Storage
    let report: (String) -> Void
    let repair: Repair
    let pace: Pace
    /// Steps since the last rest.
    var steps = 0
    /// Why the check ends early: nobody wants it any more.
    var ending: BlockError?
    /// As it stands in the file, repairs included.
    public internal(set) var header: Header
    var geometry: Geometry
    var packing: CheckRefcounts
    /// Data lies in a file of its own, where no clusters are counted.
    var hasDataFile: Bool { header.incompatible.contains(.externalDataFile) }
    public internal(set) var result = Result()
    let memoryLimit: Int
    /// Of a repair: the file as it was, in clusters and bytes, and the clusters that the repair itself has taken since. What an
    /// entry names besides is not in the file, though the file grows.
    var bound: (clusters: UInt64, length: UInt64)?
    var ownClusters: Set<UInt64> = []
    /// In a check of an image that is written meanwhile: what changes, what looks wrong, and the L2 tables that were read.
    var watch: ClusterWatch?
    var suspicions: [Suspicion] = []
    var tablesRead: [UInt64] = []
    /// Told what the damage means, before anything is touched.
    var onDiagnosis: ((Diagnosis) -> Void)?
    /// A run of the file that is known to be a hole, or not to be one.
    var knownRun: (range: ByteRange, isZero: Bool)?

    // MARK: what one round finds; a repair that changes tables is followed by another round

    /// Whether what is found is reported: later rounds look at what the first one has told of.
    var isFirstRound = true
    /// Whether the first window of the file is walked; in the later ones a walk only counts.
    var isFirstWindow = true
    var counts: ReferenceCounts
    /// Clusters of the file, the last one perhaps cut short.
    var clusters: UInt64
    /// The metadata that was met, but for L2 tables, refcount blocks and the data of bitmaps: these are many.
    var structures: [(kind: Structure, offset: UInt64, size: UInt64)] = []
    var snapshots: [CheckedSnapshot] = []
    /// The refcount blocks that hold what is referenced, to know what a rebuild must write.
    var touchedBlocks: Set<UInt64> = []
    var lastTouched = UInt64.max
    /// The refcount blocks named by the refcount table, by index.
    var blockOffsets: [UInt64: UInt64] = [:]
    var damage = Damage()
    var highestCluster: UInt64 = 0

    /// What has to be done about what was found.
    struct Damage {
        /// The refcount structures contradict themselves, or lack a block.
        var refcounts = false
        /// A cluster is referenced more often than its refcount can tell.
        var width: UInt32?
        /// A COPIED flag contradicts its cluster's refcount.
        var flags = false
        /// Entries of L1 tables, or of L2 tables, that cannot be true.
        var l1Entries = false
        var l2Entries = false
        /// The snapshot table, or an entry of it.
        var snapshotTable = false
        var bitmaps = false
        /// Metadata ends behind the file's end, here.
        var length: UInt64 = 0
        /// The active L1 table is not in the file: nothing can be told of the disk, and nothing is given up.
        var isHopeless = false
        /// Clusters that metadata and something else use: of the header, L1 tables and the snapshot table; of L2 tables; of
        /// any metadata.
        var contested: Set<UInt64> = []
        var contestedTables: Set<UInt64> = []
        var doubtful: Set<UInt64> = []
        /// Corruptions that no repair here ends.
        var unrepairable: UInt64 = 0
    }

    /// What metadata is there for.
    enum Structure: String {
        case header
        case activeL1 = "active L1 table"
        case snapshotL1 = "snapshot L1 table"
        case snapshotTable = "snapshot table"
        case bitmaps = "bitmap directory or table"
        case refcountTable = "refcount table"
        case l2 = "L2 table"
    }

    /// Checks the image in `file`, and repairs what `repair` allows. Throws where it is no image that can be checked,
    /// or where a repair cannot be written. `diagnosis` is told what the damage means, before anything is touched.
    public static func check(
        _ file: any Storage, repair: Repair = .none, diagnosis: ((Diagnosis) -> Void)? = nil,
        report: @escaping (String) -> Void
    ) async throws(OpenError) -> Result {
        let header = try await readHeader(file)
        if let refusal = header.unsupported { throw refusal }
        let check = Qcow2Check(file, header, repair, report: report)
        check.onDiagnosis = diagnosis
        do throws(BlockError) { try await check.run() } catch {
            throw OpenError("Check failed: \(error.sentence)", cause: error)
        }
        return check.result
    }

    /// Makes an image that was not closed cleanly (the dirty bit) consistent again, for its opening. Answers what was
    /// found and the header as it now stands: the refcount table may have moved. Throws `closed` where the pace ends it:
    /// what was repaired until then is repaired, and the image still dirty.
    public static func repair(
        _ file: any Storage, _ header: Header, _ repair: Repair = .refcounts, pace: Pace = .none,
        report: @escaping (String) -> Void = { _ in }
    ) async throws(BlockError) -> (result: Result, header: Header) {
        let check = Qcow2Check(file, header, repair, pace: pace, report: report)
        try await check.run()
        return (check.result, check.header)
    }

    /// `memoryLimit` bounds the memory of the counts; tests make it small.
    init(
        _ file: any Storage, _ header: Header, _ repair: Repair, memoryLimit: Int = ReferenceCounts.memoryLimit,
        pace: Pace = .none, report: @escaping (String) -> Void
    ) {
        self.pace = pace
        self.file = file
        self.header = header
        self.repair = repair
        self.report = report
        self.memoryLimit = memoryLimit
        geometry = header.geometry
        packing = CheckRefcounts(bits: geometry.refcountBits)
        clusters = geometry.clusters(for: file.length)
        counts = ReferenceCounts(
            clusters: clusters, blockEntries: geometry.refcountBlockEntries, memoryLimit: memoryLimit)
    }

    static func readHeader(_ file: any Storage) async throws(OpenError) -> Header {
        let cluster = try await readHeaderCluster(file)
        return try Header.decode(cluster.bytes)
    }

    private static func readHeaderCluster(_ file: any Storage) async throws(OpenError) -> AlignedBuffer {
        do throws(BlockError) {
            let length = file.length
            var start = AlignedBuffer(byteCount: Int(min(512, length)))
            var span = start.mutableBytes
            try await file.read(at: 0, into: &span)
            guard let size = Header.clusterSize(claimedBy: start.bytes) else { return start }
            var whole = AlignedBuffer(byteCount: Int(min(size, length)))
            var wholeSpan = whole.mutableBytes
            try await file.read(at: 0, into: &wholeSpan)
            return whole
        } catch {
            throw OpenError("Could not read qcow2 header: \(error.sentence)", cause: error)
        }
    }

    /// How many steps, of some ten nanoseconds each, are made between two rests.
    private static let stepsPerTurn = 1 << 14
    /// What a read of a table counts for.
    static let stepsPerRead = 256

    /// Counts steps, and rests where it is time.
    func step(_ count: Int) async throws(BlockError) {
        steps += count
        guard steps >= Self.stepsPerTurn else { return }
        steps = 0
        do throws(BlockError) { try await pace.rest() } catch {
            ending = error
            throw error
        }
    }

    func run() async throws(BlockError) {
        result.totalClusters = geometry.clusters(for: header.size)
        try await file.flush()
        try await analyse()
        if let onDiagnosis { onDiagnosis(try await diagnose()) }
        let canRepair = repair != .none && result.checkErrors == 0
        if canRepair { try await clearForeignFeatures() }
        if canRepair, repair == .all { try await mendTables() }
        // Where nothing can be told of the disk, all that it used looks like leaks.
        if damage.isHopeless, repair != .none { return }
        if canRepair {
            try await mendRefcounts()
        } else if repair == .none, !damage.flags {
            return
        }
        try await checkCopied()
        try await markClean()
    }

    /// Clears the autoclear features that a repair does not know, before its first write.
    private func clearForeignFeatures() async throws(BlockError) {
        guard !header.autoclear.isSubset(of: header.keptAutoclear) else { return }
        header.autoclear.formIntersection(header.keptAutoclear)
        try await writeHeaderFields()
    }

    /// One round: counts all references, and compares them with the refcounts.
    func analyse() async throws(BlockError) {
        damage = Damage()
        clusters = geometry.clusters(for: file.length)
        counts.begin(at: 0, clusters: clusters)
        highestCluster = 0
        touchedBlocks = []
        lastTouched = .max
        blockOffsets = [:]
        isFirstWindow = true
        while true {
            try await walk(refcountStructures: true)
            try await findContested()
            isFirstWindow = false
            try await compare(fixes: false)
            guard counts.window.upperBound < clusters else { break }
            counts.begin(at: counts.window.upperBound, clusters: clusters)
        }
        result.imageEndOffset = (highestCluster + 1) * geometry.clusterSize
    }

    /// Makes the refcounts agree with the references: in place, or all of them anew.
    private func mendRefcounts() async throws(BlockError) {
        // Only a full repair makes refcounts wider than the image has them.
        if repair != .all { damage.width = nil }
        if damage.refcounts || damage.width != nil {
            guard repair != .leaks else {
                report("ERROR need to rebuild refcount structures")
                throw .io
            }
            return try await rebuild()
        }
        guard result.leaks > 0 || result.corruptions > 0 else { return }
        if counts.window == 0..<clusters { return try await compare(fixes: true) }
        counts.begin(at: 0, clusters: clusters)
        while true {
            try await walk(refcountStructures: true)
            try await compare(fixes: true)
            guard counts.window.upperBound < clusters else { break }
            counts.begin(at: counts.window.upperBound, clusters: clusters)
        }
    }

    /// Clears the dirty and corrupt bits, once all else is durable and nothing is wrong any more (O12).
    private func markClean() async throws(BlockError) {
        guard repair != .none else { return }
        try await file.flush()
        guard result.checkErrors == 0, result.corruptions == 0, result.leaks == 0 || repair == .leaks,
            !header.incompatible.isDisjoint(with: [.dirty, .corrupt])
        else { return }
        header.incompatible.subtract([.dirty, .corrupt])
        try await write(header.incompatible.rawValue, at: 72)
        try await file.flush()
    }
}
