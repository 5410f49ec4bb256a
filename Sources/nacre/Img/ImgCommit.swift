import Commands
import Image

/// `commit`: writes what an image holds into the one below it.
struct ImgCommit: ImgCommand {
    static let syntax = CommandSyntax(
        "commit", "Writes what an image holds into its backing file, and empties it.",
        details: [
            """
            With -b into an image further down; then nothing is emptied, since the images between them hold something too.
            """
        ],
        operands: [.init(.image, "the image")],
        options: [base, keep, rate, .progress, .quiet, .format, .imageOpts, .object, .cache],
        examples: [
            .init("-f qcow2 overlay.qcow2", "write an overlay into what it stands on"),
            .init("-f qcow2 -b base.qcow2 overlay.qcow2", "write all that stands on base.qcow2 into it"),
        ])

    private static let base = OptionSyntax(
        "base", short: "b", value: .file(), "the image of the chain that takes it all; the one right below if not given"
    )
    private static let keep = OptionSyntax("keep", short: "d", "do not empty the image afterwards")
    private static let rate = OptionSyntax("rate", short: "r", value: "SIZE", "move at most so many bytes a second")

    let request: CommitRequest
    let showsProgress: Bool
    let isQuiet: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        let rate = try words.size(Self.rate, "rate limit")
        let image = try words.image(cache: words.cacheMode(.cache))
        isQuiet = words.has(.quiet)
        showsProgress = words.has(.progress) && !isQuiet
        request = CommitRequest(
            image: image, base: words[Self.base], keepsContents: words.has(Self.keep),
            bytesPerSecond: rate)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await commit(session.tool)
        if !isQuiet { session.tool.output("Image committed.\n") }
        return 0
    }

    private func commit(_ tool: ImageTool) async throws(ImageError) {
        guard showsProgress else { return try await tool.commit(request) }
        var line = ProgressText()
        defer { tool.output(ProgressText.end) }
        try await tool.commit(request) { share in if let text = line.text(share) { tool.output(text) } }
    }
}
