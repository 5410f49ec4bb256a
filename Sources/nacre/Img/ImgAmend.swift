import Commands
import Image

/// `amend`: changes options of an image that is there.
struct ImgAmend: ImgCommand {
    static let syntax = CommandSyntax(
        "amend", "Changes options of an image that is there.", operands: [.init(.image, "the image")],
        options: [
            OptionSyntax(
                "options", short: "o", value: "KEY=VALUE,…", isRequired: true, "what to change; -o help lists it"),
            .progress, .quiet, force, .format, .imageOpts, .object, .cache,
        ],
        examples: [.init("-f qcow2 -o compat=1.1,lazy_refcounts=on disk.qcow2", "bring an old image to version 3")])

    /// It is for encryption, which is not there.
    private static let force = OptionSyntax("force", "accepted; it is for encryption, which is not there")

    enum Request {
        /// What can be changed of a format, or of an image.
        case list(format: String)
        case listFor(ImageReference)
        case amend(AmendRequest)
    }

    let request: Request
    let showsProgress: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        showsProgress = words.has(.progress) && !words.has(.quiet)
        switch try words.formatOptions() {
        case .question:
            if let format = words[.format] {
                request = .list(format: format)
                return
            }
            request = .listFor(try Self.only(words))
        case .list(let options):
            guard !options.pairs.isEmpty else { throw UsageMistake("Must specify options (-o)") }
            request = .amend(AmendRequest(image: try Self.only(words), options: options))
        }
    }

    private static func only(_ words: CommandWords) throws(UsageMistake) -> ImageReference {
        guard words.operands.count == 1 else {
            throw UsageMistake("Expecting one image file name", sendsToHelp: false)
        }
        return try words.image(words.operands[0], cache: words.cacheMode(.cache))
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        switch request {
        case .list(let format): session.tool.output(try FormatOptionText.amending(format))
        case .listFor(let image):
            session.tool.output(try FormatOptionText.amending(await session.tool.format(of: image)))
        case .amend(let request): try await amend(request, session.tool)
        }
        return 0
    }

    private func amend(_ request: AmendRequest, _ tool: ImageTool) async throws(ImageError) {
        guard showsProgress else { return try await tool.amend(request) }
        var line = ProgressText()
        defer { tool.output(ProgressText.end) }
        try await tool.amend(request) { share in if let text = line.text(share) { tool.output(text) } }
    }
}
