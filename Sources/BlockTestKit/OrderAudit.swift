import Block
import Bytes

/// Watches the disk of one qcow2 image and holds every change against the rules of order (docs/reliability.md) when it is
/// issued: what must be durable before it is looked for among what is. So a broken rule is seen without the crash that it
/// would take to suffer from it.
///
/// Of an image whose guest data lies on a disk of its own that one is watched too.
///
/// It reads the disk with `MiniCheck`, in two states: what is durable, and what the program believes there is (all that
/// was issued). What the format does in memory it does not know.
public final class OrderAudit {
    /// The first rule that was broken, and how.
    public private(set) var broken: String?
    /// Changes that were looked at, and those of them that touched metadata.
    public private(set) var changes = 0
    public private(set) var metadataChanges = 0

    private unowned let disk: SimDisk
    /// The disk for data, and its sectors that were ever durably written.
    private weak var data: SimDisk?
    private var filledData: Set<UInt64> = []
    private var durable: MiniCheck
    /// What the program believes; nil where it must be read again.
    private var latest: MiniCheck?
    /// Sectors that were durably written since their cluster was free.
    private var filled: Set<UInt64> = []
    /// Clusters that nothing names any more, durably, and whose refcount still says otherwise (O5).
    private var released: Set<UInt64> = []
    private var reads: [UInt64: ByteRange] = [:]
    /// Whether who reads finds out afterwards what of it has moved: no reader in the sense of O17.
    @TaskLocal public static var looksAgain = false
    /// O13: a write of metadata failed, and it is not known what of it is there.
    private var isInDoubt = false
    private var metadataWrites: Set<UInt64> = []

    public init(_ disk: SimDisk, data: SimDisk? = nil) {
        self.disk = disk
        self.data = data
        durable = MiniCheck(disk.durable)
        data?.onEvent = { [weak self] event in self?.observe(data: event) }
    }

    /// Told of each event of the disk for data; tells itself, as long as nobody else wants to be told.
    public func observe(data event: SimDisk.Event) {
        switch event {
        case .issued(let operation) where broken == nil:
            checkBitmaps(inPlace: operation, latest ?? durable)
        case .hardened(let operations):
            for operation in operations { filledData.formUnion(Self.sectors(of: operation.range)) }
        default: break
        }
    }

    /// Told of each event of the disk as it happens.
    public func observe(_ event: SimDisk.Event) {
        guard broken == nil else { return }
        switch event {
        case .issued(let operation): issued(operation)
        case .reading(let id, let range): if !Self.looksAgain { reads[id] = range }
        case .read(let id): reads[id] = nil
        case .completed(let id): metadataWrites.remove(id)
        case .failed(let id, let error):
            latest = nil
            if metadataWrites.remove(id) != nil, error != .noSpace { isInDoubt = true }
        case .hardened(let operations): hardened(operations)
        case .flushed, .mark, .flushIssued, .flushing: break
        }
    }

    private func broken(_ rule: String, _ what: String, _ operation: SimDisk.Operation) {
        broken = broken ?? "\(rule): \(what), by \(operation.change.name) \(operation.range)"
    }

    // MARK: a change

    private func issued(_ operation: SimDisk.Operation) {
        changes += 1
        let (before, now) = (latest ?? view(without: operation.id), durable)
        guard before.clusterSize > 0 else { return checkMade(operation, before) }
        let clusters = Self.clusters(of: operation.range, before.clusterSize)
        // O17: who reads there looked the place up when it was theirs.
        if let read = reads.values.first(where: { $0.overlaps(operation.range) }) {
            broken("O17", "\(read) is being read", operation)
        }
        for cluster in clusters where (before.references[cluster] ?? 0) == 0 {
            checkFree(cluster, operation, before, now)
        }
        let touchesMetadata = clusters.contains { before.owners[$0] != nil || now.owners[$0] != nil }
        let isResize = if case .resize = operation.change { true } else { false }
        if !before.hasDataFile { checkBitmaps(inPlace: operation, before) }
        guard touchesMetadata || isResize else { return latest = before }
        metadataChanges += 1
        // What is cut off or gained holds no metadata, and leaves none in doubt.
        if touchesMetadata { metadataWrites.insert(operation.id) }
        let isHeader = clusters == [0]
        if isInDoubt, !isHeader { broken("O13", "metadata changes after a failed change of metadata", operation) }
        if isHeader, operation.range.start < 512, operation.range.end > 512 {
            broken("O11", "the header is written across sectors", operation)
        }
        let after = view(without: nil)
        checkNames(operation, before, after)
        checkCounts(operation, before, after, now)
        checkBitmaps(operation, before, after, now)
        if before.isDirty, !after.isDirty { checkClean(operation, after, now) }
        latest = after
    }

    /// Where there was no image, a change may make one: in one sector, once all that it names is durable.
    private func checkMade(_ operation: SimDisk.Operation, _ before: MiniCheck) {
        latest = nil
        let after = view(without: nil)
        guard after.clusterSize > 0 else { return }
        metadataChanges += 1
        metadataWrites.insert(operation.id)
        if operation.range.end > 512 { broken("O11", "a new header is written across sectors", operation) }
        checkNames(operation, before, after)
        latest = after
    }

    /// O5: a cluster that nobody names is written or given back only once that is durable, and its refcount too.
    private func checkFree(
        _ cluster: UInt64, _ operation: SimDisk.Operation, _ before: MiniCheck, _ now: MiniCheck
    ) {
        if (now.references[cluster] ?? 0) > 0 {
            broken("O5", "cluster \(cluster) is used again while the durable tables still name it", operation)
        }
        if released.contains(cluster) {
            broken("O5", "cluster \(cluster) is used again before its lower refcount is durable", operation)
        }
    }

    /// O1, O2, O3, O6, O7, O8: what a table names is counted and filled, durably.
    private func checkNames(_ operation: SimDisk.Operation, _ before: MiniCheck, _ after: MiniCheck) {
        let named = after.references.filter { $0.value > before.references[$0.key] ?? 0 }
        // A refcount block may state its own count, which counts once the block is named.
        let alone = named.isEmpty ? durable : view(only: operation.id)
        for (cluster, references) in named {
            if alone.refcounts[cluster] ?? 0 < references, !alone.isDirty {
                broken("O1", "cluster \(cluster) is named \(references) times before its refcount says so", operation)
            }
        }
        let known = Set(before.mapped.values)
        let isSwitch = Self.isSwitch(before, after)
        for place in after.mapped.values where !known.contains(place) {
            // What a snapshot keeps was filled when it was first named; the disk names it again when that is applied.
            if isSwitch, before.references[place / after.clusterSize] ?? 0 > 0 { continue }
            let range = ByteRange(at: place, count: after.subclusterSize)
            if !after.hasDataFile {
                checkFilled(range, "O2, O3", operation)
            } else if let data {
                checkFilled(range, of: data, where: filledData, "O2, O3", operation)
            }
        }
        for (cluster, use) in after.owners where before.owners[cluster] == nil {
            let rule =
                switch use {
                case .l2: "O6"
                case .l1: "O7"
                case .snapshots: "O9"
                case .bitmaps: "O10"
                default: "O8"
                }
            let place = ByteRange(at: cluster * after.clusterSize, count: after.clusterSize)
            checkFilled(place, rule, operation)
            // In an image that is there a table is whole before it is named, and may have changed since: a naming that failed
            // is tried again. One that is being made names its tables as they are.
            if before.clusterSize == 0, disk.durable.bytes(place) != disk.contents.bytes(place) {
                broken(
                    rule, "a table at cluster \(cluster) is named before what was written there is durable", operation)
            }
            if disk.durable.length < cluster * after.clusterSize {
                broken("O14", "a table lies at cluster \(cluster), past the file's durable end", operation)
            }
        }
    }

    /// What will be read there was written since its cluster was free, or reads as zeros.
    private func checkFilled(_ place: ByteRange, _ rule: String, _ operation: SimDisk.Operation) {
        checkFilled(place, of: disk, where: filled, rule, operation)
    }

    private func checkFilled(
        _ place: ByteRange, of disk: SimDisk, where filled: Set<UInt64>, _ rule: String, _ operation: SimDisk.Operation
    ) {
        // A guest's last cluster may end past the end of a disk for data.
        let end = min(place.end, disk.contents.length)
        for sector in Self.sectors(of: ByteRange(from: min(place.start, end), to: end)) where !filled.contains(sector) {
            let bytes = disk.durable.bytes(ByteRange(at: sector * 512, count: 512))
            guard !bytes.allSatisfy({ $0 == 0 }) else { continue }
            return broken(rule, "\(place) is named while its sector \(sector) holds what was there before", operation)
        }
    }

    /// O4: a refcount falls once nothing durable needs it, or with the one write that puts other tables in force as well (O9).
    private func checkCounts(
        _ operation: SimDisk.Operation, _ before: MiniCheck, _ after: MiniCheck, _ now: MiniCheck
    ) {
        let isSwitch = Self.isSwitch(before, after)
        for (cluster, count) in before.refcounts {
            let lower = after.refcounts[cluster] ?? 0
            guard lower < count else { continue }
            let needed = max(isSwitch ? 0 : now.references[cluster] ?? 0, after.references[cluster] ?? 0)
            if needed > lower {
                broken(
                    "O4", "the refcount of cluster \(cluster) falls to \(lower) under \(needed) references", operation)
            }
        }
    }

    /// O10: a bitmap is marked as in use, durably, before the data changes that it has to record. (A table's change that
    /// maps new data is one; where it is rather a flag's, no bitmap records.)
    private func checkBitmaps(
        _ operation: SimDisk.Operation, _ before: MiniCheck, _ after: MiniCheck, _ now: MiniCheck
    ) {
        guard let bitmap = now.bitmaps.first(where: { $0.isAuto && !$0.isInUse }) else { return }
        if before.mapped != after.mapped || before.zeros != after.zeros || before.compressed != after.compressed {
            broken("O10", "the disk changes while bitmap '\(bitmap.name)' is not marked as in use", operation)
        }
    }

    /// The same of data that is written where it is, in the image or on the disk for data.
    private func checkBitmaps(inPlace operation: SimDisk.Operation, _ before: MiniCheck) {
        guard let bitmap = durable.bitmaps.first(where: { $0.isAuto && !$0.isInUse }) else { return }
        let clusters = Self.clusters(of: operation.range, before.clusterSize)
        if before.mapped.values.contains(where: { clusters.contains($0 / before.clusterSize) }) {
            broken("O10", "data changes while bitmap '\(bitmap.name)' is not marked as in use", operation)
        }
    }

    /// O12: the dirty bit goes when all refcounts are durable.
    private func checkClean(_ operation: SimDisk.Operation, _ after: MiniCheck, _ now: MiniCheck) {
        for (cluster, references) in after.references where now.refcounts[cluster] ?? 0 < references {
            broken("O12", "the dirty bit goes while the refcount of cluster \(cluster) is behind", operation)
        }
    }

    /// Whether one write has put other refcounts and other tables in force (O9).
    private static func isSwitch(_ before: MiniCheck, _ after: MiniCheck) -> Bool {
        before.refcountTable != after.refcountTable
            && (before.activeL1 != after.activeL1 || before.snapshotTable != after.snapshotTable
                || before.refcountBits != after.refcountBits)
    }

    // MARK: the two states

    /// All that was issued, or all but one change.
    private func view(without id: UInt64?) -> MiniCheck {
        let now = disk.snapshot
        return MiniCheck(now.image(keeping: now.pending.indices.filter { now.pending[$0].id != id }))
    }

    /// What is durable, and one change.
    private func view(only id: UInt64) -> MiniCheck {
        let now = disk.snapshot
        return MiniCheck(now.image(keeping: now.pending.indices.filter { now.pending[$0].id == id }))
    }

    private func hardened(_ operations: [SimDisk.Operation]) {
        let old = durable
        let new = MiniCheck(disk.durable)
        for operation in operations { filled.formUnion(Self.sectors(of: operation.range)) }
        for cluster in Set(old.references.keys).union(old.refcounts.keys) {
            let (references, count) = (new.references[cluster] ?? 0, new.refcounts[cluster] ?? 0)
            if references == 0, count > 0, (old.references[cluster] ?? 0) > 0 { released.insert(cluster) }
            guard references == 0, count == 0 else { continue }
            released.remove(cluster)
            let sectors = cluster * new.clusterSize / 512..<(cluster + 1) * new.clusterSize / 512
            filled.subtract(sectors)
        }
        durable = new
    }

    private static func sectors(of range: ByteRange) -> Range<UInt64> {
        range.isEmpty ? 0..<0 : range.start / 512..<(range.end - 1) / 512 + 1
    }

    private static func clusters(of range: ByteRange, _ size: UInt64) -> Set<UInt64> {
        range.isEmpty ? [] : Set(range.start / size...(range.end - 1) / size)
    }
}

extension SimDisk.Operation.Change {
    fileprivate var name: String {
        switch self {
        case .write: "write"
        case .zero: "zero"
        case .discard: "discard"
        case .resize: "resize"
        }
    }
}
