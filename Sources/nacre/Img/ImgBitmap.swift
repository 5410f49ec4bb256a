import Commands
import Image

/// `bitmap`: makes, changes and removes a persistent dirty bitmap.
struct ImgBitmap: ImgCommand {
    static let syntax = CommandSyntax(
        "bitmap", "Makes, changes and removes a dirty bitmap that an image keeps.",
        details: ["What is to be done is done in the order in which it is given."],
        operands: [.init(.image, "the image"), .init("BITMAP", "the bitmap's name")],
        options: [
            add, remove, clear, enable, disable, merge, granularity, sourceFile, sourceFormat, .format, .imageOpts,
            .object,
        ],
        examples: [
            .init("-f qcow2 --add -g 64k disk.qcow2 daily", "begin to note what changes, by 64 KiB"),
            .init("-f qcow2 --merge daily disk.qcow2 weekly", "mark in one bitmap what is marked in another"),
        ])

    private static let add = OptionSyntax("add", "make it, and note in it from now on what changes")
    private static let remove = OptionSyntax("remove", "remove it")
    private static let clear = OptionSyntax("clear", "mark nothing in it")
    private static let enable = OptionSyntax("enable", "note changes from now on")
    private static let disable = OptionSyntax("disable", "note changes no longer")
    private static let merge = OptionSyntax("merge", value: "SOURCE", "mark what the bitmap SOURCE has marked")
    private static let granularity = OptionSyntax(
        "granularity", short: "g", value: "SIZE", "bytes that one bit stands for, with --add")
    private static let sourceFile = OptionSyntax(
        "source-file", short: "b", value: .file(), "the image that has SOURCE, if not FILE")
    private static let sourceFormat = OptionSyntax(
        "source-format", short: "F", value: .format, "the format of that image")

    let request: BitmapRequest

    init(_ words: CommandWords) throws(UsageMistake) {
        let commands = words.options.compactMap { Self.command($0) }
        let granularity = try words.size(Self.granularity, "granularity")
        func refuse(_ message: String) throws(UsageMistake) { throw UsageMistake(message, sendsToHelp: false) }
        if words.operands.count != 2 { try refuse("Expecting filename and bitmap name") }
        if commands.isEmpty {
            try refuse("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
        }
        if granularity != nil, !words.has(Self.add) { try refuse("granularity only supported with --add") }
        if words.has(Self.sourceFormat), !words.has(Self.sourceFile) { try refuse("-F only supported with -b") }
        if words.has(Self.sourceFile), !words.has(Self.merge) {
            try refuse("Merge bitmap source file only supported with --merge")
        }
        request = BitmapRequest(
            path: words.operands[0], format: words[.format], name: words.operands[1], commands: commands,
            granularity: granularity, source: words[Self.sourceFile], sourceFormat: words[Self.sourceFormat])
    }

    private static func command(_ given: CommandWords.Given) -> BitmapCommand? {
        switch given.option.long {
        case add.long: .add
        case remove.long: .remove
        case clear.long: .clear
        case enable.long: .enable
        case disable.long: .disable
        case merge.long: .merge(given.value)
        default: nil
        }
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.bitmap(request)
        return 0
    }
}
