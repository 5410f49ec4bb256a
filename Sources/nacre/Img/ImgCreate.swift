import Commands
import Image

/// `create`: makes an image.
struct ImgCreate: ImgCommand {
    static let syntax = CommandSyntax(
        "create", "Makes an image.",
        operands: [
            .init(.image, "the image; what it holds already is lost"),
            .init("SIZE", count: .optional, "the disk's size; that of the backing file if not given"),
        ],
        options: [
            OptionSyntax("format", short: "f", value: .format, "the image's format; raw if not given"), .formatOptions,
            backing, backingFormat, unchecked, .quiet, .object,
        ],
        examples: [
            .init("-f qcow2 disk.qcow2 20G", "make an empty disk of 20 GiB, which takes room as it is written"),
            .init(
                "-f qcow2 -b base.qcow2 -F qcow2 top.qcow2", "make an overlay: what is written does not touch the base"),
        ])

    private static let backing = OptionSyntax(
        "backing", short: "b", value: .file(),
        "the image that the new one stands on; its name starts from FILE's folder")
    private static let backingFormat = OptionSyntax(
        "backing-format", short: "F", value: .format, "the format of that image")
    private static let unchecked = OptionSyntax("backing-unsafe", short: "u", "do not look at that image")

    struct Request {
        let path: String
        let options: OptionList
        let size: String?
    }

    let format: String?
    /// Nil: the options are to be listed.
    let request: Request?
    let isNamed: Bool
    let backing: String?
    let backingFormat: String?
    let checksBacking: Bool
    let isQuiet: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        format = words[.format]
        isNamed = !words.operands.isEmpty
        backing = words[Self.backing]
        backingFormat = words[Self.backingFormat]
        checksBacking = !words.has(Self.unchecked)
        isQuiet = words.has(.quiet)
        guard case .list(let options) = try words.formatOptions() else {
            request = nil
            return
        }
        guard let path = words.operands.first else { throw UsageMistake("Expecting image file name") }
        guard words.operands.count <= 2 else { throw UsageMistake("Unexpected argument: \(words.operands[2])") }
        request = Request(path: path, options: options, size: words.operands.dropFirst().first)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        guard let request else {
            session.tool.output(try FormatOptionText.creating(format ?? "raw", isNamed: isNamed))
            return 0
        }
        try await session.tool.create(
            CreateRequest(
                path: request.path, format: format, options: request.options, backingFile: backing,
                backingFormat: backingFormat, size: request.size, checksBacking: checksBacking), quiet: isQuiet)
        return 0
    }
}
