import Block
import Commands
import Image

/// `resize`: gives a disk another size.
struct ImgResize: ImgCommand {
    static let syntax = CommandSyntax(
        "resize", "Gives a disk another size.",
        details: ["The format is not guessed: say -f. (Called qemu-img it is guessed, as that does.)"],
        order: .lastIsOperand,
        operands: [.init(.image, "the image"), .init("[+|-]SIZE", "the new size, or what the disk gains or loses")],
        options: [shrink, preallocation, .quiet, .format, .imageOpts, .object],
        examples: [
            .init("-f qcow2 disk.qcow2 +10G", "make a disk larger by 10 GiB"),
            .init("-f qcow2 --shrink disk.qcow2 5G", "make it smaller; what was on its end is lost"),
        ])

    private static let shrink = OptionSyntax("shrink", "the disk may lose its end, and what is on it")
    private static let preallocation = OptionSyntax(
        "preallocation", value: .oneOf("off", "metadata", "falloc", "full", as: "MODE"),
        "what room the new end has at once: off, metadata, falloc or full")

    let path: String
    let size: String
    let format: String?
    let preallocation: Preallocation
    let mayShrink: Bool
    let isQuiet: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        guard words.count >= 2 else { throw UsageMistake("Not enough arguments") }
        let mode = words[Self.preallocation] ?? "off"
        guard let preallocation = Preallocation(rawValue: mode) else {
            throw UsageMistake("Invalid preallocation mode '\(mode)'", sendsToHelp: false)
        }
        guard words.operands.count == 2 else { throw UsageMistake("Expecting image file name and size") }
        self.preallocation = preallocation
        path = words.operands[0]
        size = words.operands[1]
        format = words[.format]
        mayShrink = words.has(Self.shrink)
        isQuiet = words.has(.quiet)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        let request = try ResizeRequest(
            path: path, format: format, size: size, preallocation: preallocation, mayShrink: mayShrink)
        try await session.tool.resize(request, quiet: isQuiet)
        return 0
    }
}
