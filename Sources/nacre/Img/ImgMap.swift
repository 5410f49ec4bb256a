import Commands
import Image

/// `map`: tells where the bytes of a disk lie.
struct ImgMap: ImgCommand {
    static let syntax = CommandSyntax(
        "map", "Tells where each run of a disk lies in the files of its chain.",
        operands: [.init(.image, "the image")],
        options: [start, length, .output, .format, .imageOpts, .object, .forceShare],
        examples: [.init("--output=json disk.qcow2", "list what is data, what reads as zeros, and what nothing holds")])

    private static let start = OptionSyntax("start-offset", short: "s", value: "OFFSET", "where to begin")
    private static let length = OptionSyntax("max-length", short: "l", value: "LENGTH", "how far to go")

    let path: String
    let format: String?
    let form: ImageTool.Form
    let start: UInt64
    let count: UInt64?
    let forceShare: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        start = try words.size(Self.start, "start offset") ?? 0
        count = try words.size(Self.length, "max length")
        path = try words.image()
        form = try words.form()
        format = words[.format]
        forceShare = words.has(.forceShare)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.map(path, format: format, form: form, start: start, count: count, forceShare: forceShare)
        return 0
    }
}
