import Commands
import Image

/// `rebase`: lets an image stand on another backing file.
struct ImgRebase: ImgCommand {
    static let syntax = CommandSyntax(
        "rebase", "Lets an image stand on another backing file, or on none.",
        details: [
            """
            The disk reads as before: what the old backing file says and the new one does not is copied into the image. With \
            -u only the name changes, for a backing file that was moved or renamed.
            """
        ],
        operands: [.init(.image, "the image")],
        options: [
            backingFile, backingFormat, unsafe, .progress, .quiet, .format, .imageOpts, .object, .forceShare, .cache,
            sourceCache,
        ],
        examples: [
            .init("-f qcow2 -b new.qcow2 -F qcow2 disk.qcow2", "stand on another file, and read the same"),
            .init("-f qcow2 -b '' disk.qcow2", "stand on nothing: all that is needed is copied"),
            .init("-f qcow2 -u -b moved/base.qcow2 -F qcow2 disk.qcow2", "the backing file has moved"),
        ])

    private static let backingFile = OptionSyntax(
        "backing-file", short: "b", value: .file(), "what it shall stand on, as the image will name it; '' for nothing")
    private static let backingFormat = OptionSyntax(
        "backing-format", short: "F", value: "FMT", "the format of that file")
    private static let unsafe = OptionSyntax("unsafe", short: "u", "change the name only, whatever the disk reads as then")
    private static let sourceCache = OptionSyntax(
        "source-cache", short: "T", value: .cache, group: .opening, "the cache mode of the backing files")

    let request: RebaseRequest
    let showsProgress: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        let path = try words.image()
        let isUnsafe = words.has(Self.unsafe)
        guard isUnsafe || words.has(Self.backingFile) else {
            throw UsageMistake("Must specify backing file (-b) or use unsafe mode (-u)")
        }
        showsProgress = words.has(.progress) && !words.has(.quiet)
        request = RebaseRequest(
            path: path, format: words[.format], backingFile: words[Self.backingFile],
            backingFormat: words[Self.backingFormat], isUnsafe: isUnsafe, forceShare: words.has(.forceShare))
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        guard showsProgress else {
            try await session.tool.rebase(request)
            return 0
        }
        var line = ProgressText()
        defer { session.tool.output(ProgressText.end) }
        try await session.tool.rebase(request) { share in
            if let text = line.text(share) { session.tool.output(text) }
        }
        return 0
    }
}
