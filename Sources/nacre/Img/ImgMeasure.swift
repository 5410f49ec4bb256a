import Commands
import Image

/// `measure`: what room an image takes that is yet to be made.
struct ImgMeasure: ImgCommand {
    static let syntax = CommandSyntax(
        "measure", "Tells how much room a converted image will take.",
        operands: [.init(.image, count: .optional, "the image that would be converted")],
        options: [targetFormat, .formatOptions, size, snapshot, .output, .format, .imageOpts, .object, .forceShare],
        examples: [
            .init("-O qcow2 disk.raw", "tell how large the volume for a converted disk must be"),
            .init("-O qcow2 --size 20G", "the same of an empty disk"),
        ])

    private static let targetFormat = OptionSyntax(
        "target-format", short: "O", value: .format, "the format that is asked about; raw if not given")
    private static let size = OptionSyntax("size", value: "SIZE", "instead of an image: a disk of this size, empty")
    private static let snapshot = OptionSyntax(
        "snapshot", short: "l", value: "NAME", "the disk as it was at an internal snapshot")

    enum Request {
        case list(format: String)
        case measure(MeasureRequest)
    }

    let request: Request
    let form: ImageTool.Form

    init(_ words: CommandWords) throws(UsageMistake) {
        form = try words.form()
        guard case .list(let options) = try words.formatOptions() else {
            request = .list(format: words[Self.targetFormat] ?? "raw")
            return
        }
        var read: MeasureRequest
        do throws(ImageError) {
            var size: UInt64?
            if let text = words[Self.size] { size = try SizeText.argument(text, "image size") }
            var snapshot: ConvertRequest.SnapshotName?
            if let text = words[Self.snapshot] { snapshot = try ConvertRequest.SnapshotName(text) }
            read = try MeasureRequest(
                operands: words.operands, format: words[.format], size: size,
                targetFormat: words[Self.targetFormat], options: options, snapshot: snapshot,
                forceShare: words.has(.forceShare), hasImageOptions: words.has(.imageOpts))
        } catch { throw UsageMistake(error) }
        if let word = words.operands.first { read.image = try words.image(word) }
        request = .measure(read)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        switch request {
        case .list(let format): session.tool.output(try FormatOptionText.creating(format, isNamed: false))
        case .measure(let request): try await session.tool.measure(request, form: form)
        }
        return 0
    }
}
