import Commands
import Image

/// `dd`: copies blocks of one image into a new one.
struct ImgCopyBlocks: ImgCommand {
    static let syntax = CommandSyntax(
        "dd", "Copies blocks of an image into a new one.",
        operands: [
            .init("NAME=VALUE", count: .some, "if=SOURCE, of=TARGET, bs=BLOCK_SIZE (512), count=BLOCKS, skip=BLOCKS")
        ],
        options: [targetFormat, .format, .imageOpts, .object, .forceShare],
        examples: [.init("-f qcow2 -O raw bs=1M count=1 if=disk.qcow2 of=first.raw", "take the first MiB of a disk")])

    private static let targetFormat = OptionSyntax(
        "target-format", short: "O", value: .format, "the target's format; raw if not given")

    let request: CopyBlocksRequest

    init(_ words: CommandWords) throws(UsageMistake) {
        try words.refuse()
        do throws(ImageError) {
            var read = try CopyBlocksRequest(words.operands)
            read.format = words[.format]
            read.isOptions = words.has(.imageOpts)
            read.targetFormat = words[Self.targetFormat]
            read.forceShare = words.has(.forceShare)
            request = read
        } catch { throw UsageMistake(error) }
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.copyBlocks(request, warn: session.warn)
        return 0
    }
}
