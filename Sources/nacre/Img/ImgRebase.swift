import Block
import Commands
import Daemon
import Graph
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
            backingFile, backingFormat, nameOnly, .progress, .quiet, .format, .imageOpts, .object, .forceShare, .cache,
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
    private static let nameOnly = OptionSyntax(
        "unsafe", short: "u", "change the name only, whatever the disk reads as then")
    private static let sourceCache = OptionSyntax(
        "source-cache", short: "T", value: .cache, group: .opening, "the cache mode of the backing files")

    let request: RebaseRequest
    let showsProgress: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        guard words.operands.count == 1 else { throw UsageMistake("Expecting one image file name") }
        let isUnsafe = words.has(Self.nameOnly)
        guard isUnsafe || words.has(Self.backingFile) else {
            throw UsageMistake("Must specify backing file (-b) or use unsafe mode (-u)")
        }
        showsProgress = words.has(.progress) && !words.has(.quiet)
        let name = words[Self.backingFile]
        let cache = try words.cacheMode(Self.sourceCache)
        let image = try words.image(words.operands[0], cache: words.cacheMode(.cache))
        // A plain name starts from the image's folder; any other is read as the user's.
        var backing: ImageReference?
        if let name, let word = PathText.protocolName(name), word == "json" || word == "nbd" {
            do throws(OpenError) {
                backing = try ImageReference(
                    reading: name, isOptions: false, format: words[Self.backingFormat],
                    forceShare: words.has(.forceShare), cache: cache)
            } catch {
                throw UsageMistake("Could not open new backing file '\(name)': \(error.text)", sendsToHelp: false)
            }
        }
        request = RebaseRequest(
            image: image, backingFile: name, backingFormat: words[Self.backingFormat], backing: backing,
            isUnsafe: isUnsafe, forceShare: words.has(.forceShare), backingCache: cache)
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
