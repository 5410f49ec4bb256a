public import Block
import Bytes

/// The checker of qcow2 metadata: counts what every table references, compares it with the refcounts, and repairs.
///
/// It walks on its own, apart from the engine, over an image that nobody has open for writing. Memory is bounded
/// whatever the image claims; holes of the file are skipped. Messages and numbers are those of `qemu-img check`.
public final class Qcow2Check {
    public enum Repair: Sendable {
        case none
        /// Refcounts that are too high.
        case leaks
        /// All that can be repaired.
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
    }

    let file: any Storage
    let report: (String) -> Void
    let repair: Repair
    let pace: Pace
    /// Steps since the last rest.
    var steps = 0
    /// Why the check ends early: nobody wants it any more.
    var ending: BlockError?
    let geometry: Geometry
    let packing: CheckRefcounts
    /// As it stands in the file, repairs included.
    public internal(set) var header: Header
    public internal(set) var result = Result()
    var references: CheckReferences
    /// Clusters of the file, the last one perhaps cut short.
    var clusters: UInt64
    /// The first walk reports and gathers numbers; later ones only count for their window.
    var isFirstWalk = true
    /// The refcount blocks that hold what is referenced, to know what a rebuild must write.
    var touchedBlocks: Set<UInt64> = []
    var lastTouched = UInt64.max
    /// The refcount blocks named by the refcount table, by index.
    var blockOffsets: [UInt64: UInt64] = [:]
    var needsRebuild = false
    /// Corruptions that no rebuild of the refcounts ends.
    var unrepairable: UInt64 = 0
    var highestCluster: UInt64 = 0

    /// Checks the image in `file`, and repairs what `repair` allows. Throws where it is no image that can be checked,
    /// or where a repair cannot be written.
    public static func check(
        _ file: any Storage, repair: Repair = .none, report: @escaping (String) -> Void
    ) async throws(OpenError) -> Result {
        let header = try await readHeader(file)
        if let refusal = header.unsupported { throw refusal }
        do throws(BlockError) {
            return try await self.repair(file, header, repair, report: report).result
        } catch {
            throw OpenError("Check failed: \(error.sentence)", cause: error)
        }
    }

    /// Makes an image that was not closed cleanly (the dirty bit) consistent again, for its opening. Answers what was
    /// found and the header as it now stands: the refcount table may have moved. Throws `closed` where the pace ends it:
    /// what was repaired until then is repaired, and the image still dirty.
    public static func repair(
        _ file: any Storage, _ header: Header, _ repair: Repair = .all, pace: Pace = .none,
        report: @escaping (String) -> Void = { _ in }
    ) async throws(BlockError) -> (result: Result, header: Header) {
        let check = Qcow2Check(file, header, repair, pace: pace, report: report)
        try await check.run()
        return (check.result, check.header)
    }

    /// `pageLimit` bounds the memory of the counts; tests make it small.
    init(
        _ file: any Storage, _ header: Header, _ repair: Repair, pageLimit: Int = CheckReferences.pageLimit,
        pace: Pace = .none, report: @escaping (String) -> Void
    ) {
        self.pace = pace
        self.file = file
        self.header = header
        self.repair = repair
        self.report = report
        geometry = header.geometry
        packing = CheckRefcounts(bits: geometry.refcountBits)
        clusters = geometry.clusters(for: file.length)
        references = CheckReferences(
            clusters: clusters, blockEntries: geometry.refcountBlockEntries, pageLimit: pageLimit)
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
        while true {
            try await walk(refcountStructures: true)
            isFirstWalk = false
            let canRepair = repair != .none && result.checkErrors == 0
            try await compare(canRepair: canRepair)
            guard references.window.upperBound < clusters else { break }
            references.begin(at: references.window.upperBound, clusters: clusters)
        }
        result.imageEndOffset = (highestCluster + 1) * geometry.clusterSize
        if needsRebuild, repair == .all, result.checkErrors == 0 { try await rebuild() }
        try await checkCopied()
        try await markClean()
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
