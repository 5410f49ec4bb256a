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
        case list(format: String)
        case amend(AmendRequest)
    }

    let request: Request
    let showsProgress: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        showsProgress = words.has(.progress) && !words.has(.quiet)
        switch try words.formatOptions() {
        case .question: request = .list(format: words[.format] ?? "raw")
        case .list(let options):
            guard !options.pairs.isEmpty else { throw UsageMistake("Must specify options (-o)") }
            guard words.operands.count == 1 else {
                throw UsageMistake("Expecting one image file name", sendsToHelp: false)
            }
            request = .amend(AmendRequest(path: words.operands[0], format: words[.format], options: options))
        }
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        switch request {
        case .list(let format): session.tool.output(FormatOptionText.amending(format))
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
