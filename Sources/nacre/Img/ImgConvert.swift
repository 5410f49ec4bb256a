import Commands
import Image

/// `convert`: copies a guest's disk into an image of another kind.
struct ImgConvert: ImgCommand {
    static let syntax = CommandSyntax(
        "convert", "Copies disks into a new image, of another format if need be.",
        details: [
            """
            What the map of the source says reads as zeros is not read, and stays a hole. A new target has its name only \
            once it is whole. Several sources become one disk, one behind the other.
            """,
            """
            The name - is standard input for a source, and standard output for the target: raw in every direction, qcow2 to \
            standard output uncompressed and from a source that is a file, qcow2 from standard input where its tables stand \
            before its data.
            """,
        ],
        operands: [
            .init(.file("SOURCE"), count: .some, "the images that are read"),
            .init(.file("TARGET"), "the image that is written"),
        ],
        options: [
            OptionSyntax(
                "format", short: "f", value: .format, group: .opening,
                "the sources' format; if not given, their first bytes tell it"),
            targetFormat, .formatOptions, backing, backingFormat, compress, skipCreation, targetIsZero, sparse,
            snapshot,
            bitmaps, skipBroken, workers, outOfOrder, copyWhole, rate, salvage, checksum, .progress, .quiet,
            targetCache, sourceCache, .forceShare, .imageOpts, targetImageOpts, .object,
        ],
        examples: [
            .init("-O qcow2 disk.raw disk.qcow2", "make a raw disk a qcow2 image"),
            .init("-c -O qcow2 -o compression_type=zstd disk.qcow2 small.qcow2", "compress an image"),
            .init("-O raw disk.qcow2 - | ssh host 'cat > disk.raw'", "send a disk away without a file in between"),
        ])

    private static let targetFormat = OptionSyntax(
        "target-format", short: "O", value: .format, "the target's format; raw if not given")
    private static let backing = OptionSyntax(
        "backing", short: "B", value: .file(), "the image that the target stands on; what is the same is not copied")
    private static let backingFormat = OptionSyntax(
        "backing-format", short: "F", value: .format, "the format of that image")
    private static let compress = OptionSyntax("compress", short: "c", "compress the target's clusters")
    private static let skipCreation = OptionSyntax("no-create", short: "n", "write into a target that is there already")
    private static let targetIsZero = OptionSyntax("target-is-zero", "with -n: the target reads as zeros all over")
    private static let sparse = OptionSyntax(
        "sparse-size", short: "S", value: "SIZE", "the shortest run of zeros in data that becomes a hole; 0: none does")
    private static let snapshot = OptionSyntax(
        "snapshot", short: "l", value: "NAME", "read the disk as it was at an internal snapshot")
    private static let bitmaps = OptionSyntax("bitmaps", "copy the source's persistent bitmaps")
    private static let skipBroken = OptionSyntax("skip-broken-bitmaps", "leave out bitmaps that are not to be trusted")
    private static let workers = OptionSyntax(
        "parallel", short: "m", value: "COUNT", "how many pieces are under way at once, 1 to 16; 8 if not given")
    private static let outOfOrder = OptionSyntax("out-of-order", short: "W", "write pieces as they come")
    private static let copyWhole = OptionSyntax(
        "copy-whole", short: "C", "copy data as the map tells it, without a look for zeros in it")
    private static let rate = OptionSyntax("rate-limit", short: "r", value: "RATE", "the most bytes a second")
    private static let salvage = OptionSyntax("salvage", "put zeros where the source cannot be read, and go on")
    private static let checksum = OptionSyntax(
        "checksum", value: .oneOf("sha256"), "say the checksum of the disk as the guest reads it")
    private static let targetCache = OptionSyntax(
        "cache", short: "t", value: .cache, group: .opening, "how the target is cached; unsafe if not given")
    private static let sourceCache = OptionSyntax(
        "source-cache", short: "T", value: .cache, group: .opening, "how the sources are cached; writeback if not given"
    )
    private static let targetImageOpts = OptionSyntax(
        "target-image-opts", group: .opening, "with -n: TARGET is options of the image's node")

    enum Request {
        case list(format: String, isNamed: Bool)
        case convert(ConvertRequest)
    }

    let request: Request

    init(_ words: CommandWords) throws(UsageMistake) {
        let names = words.operands
        var options = OptionList()
        switch try words.formatOptions() {
        case .question:
            request = .list(format: words[Self.targetFormat] ?? "raw", isNamed: words.operands.count > 1)
            return
        case .list(let list): options = list
        }
        var read = ConvertRequest(sources: Array(names.dropLast()), target: names.last ?? "")
        read.options = options
        read.hasOptions = words.has(.formatOptions)
        read.format = words[.format]
        read.targetFormat = words[Self.targetFormat]
        read.backingFile = words[Self.backing]
        read.backingFormat = words[Self.backingFormat]
        read.isCompressed = words.has(Self.compress)
        read.skipsCreation = words.has(Self.skipCreation)
        read.targetIsZero = words.has(Self.targetIsZero)
        read.copiesBitmaps = words.has(Self.bitmaps)
        read.skipsBrokenBitmaps = words.has(Self.skipBroken)
        read.isOrdered = !words.has(Self.outOfOrder)
        read.copiesWhole = words.has(Self.copyWhole)
        read.salvages = words.has(Self.salvage)
        read.forceShare = words.has(.forceShare)
        read.areOptions = words.has(.imageOpts)
        read.targetIsOptions = words.has(Self.targetImageOpts)
        read.isQuiet = words.has(.quiet)
        read.showsProgress = words.has(.progress) && !words.has(.quiet)
        read.digests = words.has(Self.checksum)
        if let name = words[Self.checksum], name != "sha256" {
            throw UsageMistake("Invalid checksum specified: \(name)", sendsToHelp: false)
        }
        do throws(ImageError) {
            if let text = words[Self.snapshot] { read.snapshot = try ConvertRequest.SnapshotName(text) }
            if let text = words[Self.sparse] { read.sparseSize = try ConvertRequest.sparseSize(text) }
            if let text = words[Self.workers] { read.workers = try ConvertRequest.workers(text) }
            if let text = words[Self.rate] { read.rate = try SizeText.argument(text, "rate limit") }
            try read.check()
            guard names.count >= 2 else { throw ImageError("Must specify image file name") }
            if let word = words[Self.sourceCache] {
                guard let mode = CacheMode(word: word) else {
                    throw ImageError("Invalid source cache option: \(word)")
                }
                read.sourceCache = mode
            }
            if let word = words[Self.targetCache] {
                guard let mode = CacheMode(word: word) else { throw ImageError("Invalid cache option: \(word)") }
                read.cache = mode
            }
        } catch { throw UsageMistake(error) }
        try words.refuse()
        try words.refuse(Self.targetFormat, beside: Self.targetImageOpts)
        request = .convert(read)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        let tool = session.tool
        switch request {
        case .list(let format, let isNamed):
            tool.output(try FormatOptionText.creating(format, isNamed: isNamed))
        case .convert(let request):
            guard request.showsProgress else {
                try await tool.convert(request, warn: session.warn)
                return 0
            }
            // Where the disk itself goes to standard output, how far it is goes elsewhere.
            let say = request.target == "-" ? Program.complain : tool.output
            var line = ProgressText()
            defer { say(ProgressText.end) }
            try await tool.convert(request, warn: session.warn) { share in if let text = line.text(share) { say(text) }
            }
            // qemu-img says the last one once more.
            say(ProgressText.whole)
        }
        return 0
    }
}

extension UsageMistake {
    /// What a request refused.
    init(_ error: ImageError) { self.init(error.message, sendsToHelp: false, exitCode: error.exitCode) }
}
