import Commands
import Image

/// `info`: tells what an image is.
struct ImgInfo: ImgCommand {
    static let syntax = CommandSyntax(
        "info", "Tells what an image is.",
        details: ["It writes nothing, and opens nothing that the image names unless it is asked to."],
        operands: [.init(.image, "the image")],
        options: [backingChain, .output, .format, .imageOpts, .object, .forceShare],
        examples: [.init("--output=json --backing-chain disk.qcow2", "tell all of a chain, for programs")])

    private static let backingChain = OptionSyntax("backing-chain", "tell of all that it stands on, too")

    let path: String
    let format: String?
    let form: ImageTool.Form
    let tellsChain: Bool
    let forceShare: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        path = try words.image()
        form = try words.form()
        format = words[.format]
        tellsChain = words.has(Self.backingChain)
        forceShare = words.has(.forceShare)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.info(path, format: format, form: form, chain: tellsChain, forceShare: forceShare)
        return 0
    }
}
