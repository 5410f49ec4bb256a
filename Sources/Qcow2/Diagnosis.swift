public import Bytes

/// What damage means to the guest, and what a full repair will do about it: told before anything is touched.
///
/// What it says follows from the functions that the repair itself mends entries with. Damaged data that metadata knows
/// nothing of (a compressed cluster that does not decompress) is none of it.
public struct Diagnosis: Equatable, Sendable {
    /// A disk that the image holds.
    public enum Disk: Equatable, Sendable {
        case active
        case snapshot(id: String, name: String)
    }

    /// What becomes of a range of a disk. Everything that is not named reads as before.
    public enum Fate: String, Sendable, CaseIterable {
        /// Where its data was is unknown. It will read as zeros.
        case lost
        /// The table that knew about it is gone. It will read as the backing file does, or as zeros where there is none.
        case unmapped
        /// It could not be read and can be again.
        case regained
        /// It lies in the place of metadata, or the table that maps it lies where something else does. The metadata moves away and
        /// the range reads as before; whether that is what was written is doubtful.
        case doubtful
    }

    public struct Finding: Equatable, Sendable {
        public let disk: Disk
        /// Guest bytes.
        public internal(set) var range: ByteRange
        public let fate: Fate
        /// Of a range of the active disk that is lost or unmapped: the snapshots that still have their own state of it.
        public internal(set) var heldBy: [Disk] = []
    }

    /// What becomes of the refcounts.
    public enum Refcounts: Equatable, Sendable {
        case sound
        /// They will be made to agree with the tables.
        case wrong
        /// Their own structure is damaged, or too narrow (`bits`: as wide as they get); they will be built anew.
        case rebuilt(bits: UInt32)
    }

    /// By disk, in the order of the disk.
    public internal(set) var findings: [Finding] = []
    /// So many more were found.
    public internal(set) var omitted = 0
    /// Snapshots whose entry tells of no L1 table: they will be removed.
    public internal(set) var removedSnapshots: [Disk] = []
    /// So many snapshots more should be in a table that is cut short: nothing is known of them.
    public internal(set) var missingSnapshots: UInt32 = 0
    /// Persistent bitmaps will be given up.
    public internal(set) var losesBitmaps = false
    public internal(set) var refcounts = Refcounts.sound
    /// Too much is damaged, or something could not be read: tables will be left as they are.
    public internal(set) var isHopeless = false
    /// Whether what is unmapped reads as a backing file does.
    public internal(set) var hasBacking = false

    public init() {}

    /// Findings that are kept apart.
    static let findingLimit = 10_000

    /// Nothing is wrong that a guest could notice.
    public var isHarmless: Bool {
        findings.isEmpty && omitted == 0 && removedSnapshots.isEmpty && missingSnapshots == 0 && !losesBitmaps
            && !isHopeless
    }

    mutating func add(_ disk: Disk, _ range: ByteRange, _ fate: Fate) {
        guard !range.isEmpty else { return }
        if let last = findings.last, last.disk == disk, last.fate == fate, last.range.end == range.start {
            findings[findings.count - 1].range = ByteRange(from: last.range.start, to: range.end)
        } else if findings.count < Self.findingLimit {
            findings.append(Finding(disk: disk, range: range, fate: fate))
        } else {
            omitted += 1
        }
    }
}
