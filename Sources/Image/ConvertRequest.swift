/// `convert`: what is asked for. What contradicts itself is refused here, in qemu-img's words and before a file is touched.
///
/// The name `-` is standard input for a source and standard output for the target.
public struct ConvertRequest: Sendable {
    /// Which internal snapshot of the source is read.
    public enum SnapshotName: Equatable, Sendable {
        /// An id, or else a name.
        case either(String)
        case exact(id: String?, name: String?)

        /// As behind `-l`: `NAME`, or `snapshot.id=ID,snapshot.name=NAME`.
        public init(_ text: String) throws(ImageError) {
            guard text.hasPrefix("snapshot.") else {
                self = .either(text)
                return
            }
            let list = OptionList(text)
            for (key, _) in list.pairs where key != "snapshot.id" && key != "snapshot.name" {
                throw ImageError("Invalid parameter '\(key)'\nFailed in parsing snapshot param '\(text)'")
            }
            self = .exact(id: list["snapshot.id"], name: list["snapshot.name"])
        }
    }

    public var sources: [String]
    public var target: String
    public var format: String?
    /// Nil: raw.
    public var targetFormat: String?
    public var options = OptionList()
    public var hasOptions = false
    public var backingFile: String?
    public var backingFormat: String?
    public var isCompressed = false
    /// Whether the target is there already, and stays what it is.
    public var skipsCreation = false
    public var targetIsZero = false
    /// Bytes; 0: zeros are written like data. Nil: as if 4096 were given.
    public var sparseSize: UInt64?
    public var workers = 8
    public var isOrdered = true
    public var snapshot: SnapshotName?
    public var copiesBitmaps = false
    public var skipsBrokenBitmaps = false
    /// What the map calls data is copied without a look for zeros in it.
    public var copiesWhole = false
    /// Bytes a second.
    public var rate: UInt64?
    public var salvages = false
    public var forceShare = false
    /// Whether the sources are options of the images' nodes.
    public var areOptions = false
    /// Whether the target is options of the image's node, which must be there.
    public var targetIsOptions = false
    public var cache = CacheMode.unflushed
    public var sourceCache = CacheMode.writeback
    public var isQuiet = false
    public var showsProgress = false
    /// Whether the SHA-256 of the guest's disk is said.
    public var digests = false

    public init(sources: [String], target: String) {
        self.sources = sources
        self.target = target
    }

    /// The most pieces that are under way at once.
    public static let mostWorkers = 16
    /// The longest run of zeros that a target may be asked to look for, in bytes.
    public static let mostSparse: UInt64 = 16 << 20

    /// The number behind `-S`.
    public static func sparseSize(_ text: String) throws(ImageError) -> UInt64 {
        let size = try SizeText.argument(text, "buffer size for sparse output")
        guard size % 512 == 0, size <= mostSparse else {
            throw ImageError(
                "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to \(mostSparse). "
                    + "Select 0 to disable sparse detection (fully allocates output).")
        }
        return size
    }

    /// The number behind `-m`.
    public static func workers(_ text: String) throws(ImageError) -> Int {
        guard let count = SizeText.number(text), (1...UInt64(mostWorkers)).contains(count) else {
            throw ImageError(
                "Invalid number of coroutines. Allowed number of coroutines is between 1 and \(mostWorkers)")
        }
        return Int(count)
    }

    /// Refuses options that do not go together.
    public func check() throws(ImageError) {
        if isCompressed, copiesWhole { throw ImageError("Cannot enable copy offloading when -c is used") }
        if sparseSize != nil, copiesWhole { throw ImageError("Cannot enable copy offloading when -S is used") }
        if salvages, copiesWhole { throw ImageError("Cannot use copy offloading in salvaging mode") }
        if skipsCreation, hasOptions { throw ImageError("-o has no effect when skipping image creation") }
        if targetIsOptions, !skipsCreation { throw ImageError("--target-image-opts requires use of -n flag") }
        if targetIsZero, !skipsCreation { throw ImageError("--target-is-zero requires use of -n flag") }
        if skipsBrokenBitmaps, !copiesBitmaps { throw ImageError("Use of --skip-broken-bitmaps requires --bitmaps") }
        if sources.contains("-") { try checkPipe("standard input") }
        if target == "-" { try checkPipe("standard output") }
        if sources.contains("-"), sources.count > 1 {
            throw ImageError("Standard input is a source alone, or not at all")
        }
    }

    private func checkPipe(_ what: String) throws(ImageError) {
        if copiesBitmaps { throw ImageError("Bitmaps are not copied from or to \(what)") }
        if target == "-" {
            if skipsCreation { throw ImageError("Standard output cannot be an image that is there already") }
            if isCompressed {
                throw ImageError(
                    "A compressed image cannot be written to standard output: its tables stand before its data, and what "
                        + "stands in them is known only when all data is compressed")
            }
        }
        if sources.contains("-"), snapshot != nil {
            throw ImageError("Snapshots are not read from standard input: their tables lie behind the data")
        }
    }

    /// How zeros are looked for in data; nil where they are not. `unit`: a cluster, where clusters are compressed whole.
    func detection(unit: UInt64) -> ZeroDetection? {
        let shortest = sparseSize ?? 4096
        guard shortest > 0, !copiesWhole else { return nil }
        if isCompressed { return ZeroDetection(block: unit, shortest: unit) }
        let power: UInt64 = 1 << UInt64(63 - shortest.leadingZeroBitCount)
        return ZeroDetection(block: max(power, 512), shortest: shortest)
    }
}
