import Commands
import Image

/// `compare`: whether two images read the same.
struct ImgCompare: ImgCommand {
    static let syntax = CommandSyntax(
        "compare", "Tells whether two images read the same.",
        operands: [.init(.file("FIRST"), "an image"), .init(.file("SECOND"), "another")],
        options: [
            firstFormat, secondFormat, strict, .progress, .quiet, .imageOpts, .object, .sourceCache, .forceShare,
        ],
        examples: [.init("disk.raw disk.qcow2", "see that a converted disk is what it was")],
        exitCodes: [
            (0, "they read the same"), (1, "they do not, or the command line is wrong"), (2, "one could not be opened"),
            (3, "the map of one could not be read"), (4, "one could not be read"),
        ])

    private static let firstFormat = OptionSyntax(
        "first-format", short: "f", value: .format, group: .opening, "the first image's format")
    private static let secondFormat = OptionSyntax(
        "second-format", short: "F", value: .format, group: .opening, "the second image's format")
    private static let strict = OptionSyntax("strict", short: "s", "size and allocation count as well")

    let request: CompareRequest
    let showsProgress: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        guard words.operands.count == 2 else { throw UsageMistake("Expecting two image file names") }
        try words.refuse(Self.firstFormat, exitCode: 2)
        try words.refuse(Self.secondFormat, exitCode: 2)
        var read = CompareRequest(words.operands[0], words.operands[1])
        read.firstFormat = words[Self.firstFormat]
        read.secondFormat = words[Self.secondFormat]
        read.isStrict = words.has(Self.strict)
        read.forceShare = words.has(.forceShare)
        read.areOptions = words.has(.imageOpts)
        read.isQuiet = words.has(.quiet)
        showsProgress = words.has(.progress) && !words.has(.quiet)
        if let word = words[.sourceCache] {
            guard let mode = CacheMode(word: word) else {
                throw UsageMistake("Invalid source cache option: \(word)", sendsToHelp: false, exitCode: 2)
            }
            read.sourceCache = mode
        }
        request = read
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        guard showsProgress else { return try await session.tool.compare(request) }
        var line = ProgressText(step: 2)
        defer { session.tool.output(ProgressText.end) }
        return try await session.tool.compare(request) { share in
            if let text = line.text(share) { session.tool.output(text) }
        }
    }
}
