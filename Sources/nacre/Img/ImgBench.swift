import Commands
import Image

/// `bench`: how long an image takes for some requests.
struct ImgBench: ImgCommand {
    static let syntax = CommandSyntax(
        "bench", "Sends requests to an image and tells how long they took.",
        operands: [.init(.image, "the image")],
        options: [
            count, depth, size, step, offset, write, pattern, flushInterval, noDrain, .quiet, .format, .imageOpts,
            .object,
            .cache, native, aio, .forceShare,
        ],
        examples: [.init("-f qcow2 -c 100000 -d 32 disk.qcow2", "read 100 000 times 4 KiB, 32 at a time")])

    private static let count = OptionSyntax("count", short: "c", value: "COUNT", "requests in all; 75000 if not given")
    private static let depth = OptionSyntax("depth", short: "d", value: "COUNT", "requests at once; 64 if not given")
    private static let size = OptionSyntax(
        "buffer-size", short: "s", value: "SIZE", "bytes of a request; 4096 if not given")
    private static let step = OptionSyntax(
        "step-size", short: "S", value: "SIZE", "from the start of one to that of the next; their size if not given")
    private static let offset = OptionSyntax("offset", short: "o", value: "OFFSET", "where the first one starts")
    private static let write = OptionSyntax("write", short: "w", "write, and lose what is there")
    private static let pattern = OptionSyntax("pattern", value: "BYTE", "what is written")
    private static let flushInterval = OptionSyntax("flush-interval", value: "COUNT", "flush after so many writes")
    private static let noDrain = OptionSyntax("no-drain", "do not wait for requests before a flush")
    private static let native = OptionSyntax("native", short: "n", group: .opening, "use native AIO, with -t none")
    private static let aio = OptionSyntax(
        "aio", short: "i", value: .oneOf("threads", "native", "io_uring"), group: .opening, "how the host is asked")

    let request: BenchRequest

    init(_ words: CommandWords) throws(UsageMistake) {
        var read = BenchRequest(ImageReference(words.operands.last ?? ""))
        var cache = CacheMode.writeback
        do throws(ImageError) {
            if let text = words[Self.count] { read.count = try BenchRequest.number(text, "request count") }
            if let text = words[Self.depth] { read.depth = try BenchRequest.number(text, "queue depth", least: 1) }
            if let text = words[Self.aio], !["threads", "native", "io_uring"].contains(text) {
                throw ImageError("Invalid aio option: \(text)")
            }
            if let text = words[Self.offset] { read.offset = try SizeText.argument(text, "offset") }
            if let text = words[Self.size] { read.size = try BenchRequest.size(text, "buffer size") }
            if let text = words[Self.step] { read.step = try BenchRequest.size(text, "step size") }
            if let text = words[.cache] {
                guard let mode = CacheMode(word: text) else { throw ImageError("Invalid cache mode") }
                cache = mode
            }
            if let text = words[Self.pattern] {
                guard let number = SizeText.number(text), let byte = UInt8(exactly: number) else {
                    throw ImageError("Invalid pattern byte specified")
                }
                read.pattern = byte
            }
            if let text = words[Self.flushInterval] {
                read.flushInterval = try BenchRequest.number(text, "flush interval")
            }
        } catch { throw UsageMistake(error) }
        read.writes = words.has(Self.write)
        read.drains = !words.has(Self.noDrain)
        read.isQuiet = words.has(.quiet)
        read.image = try words.image(cache: cache)
        do { try read.check() } catch { throw UsageMistake(error) }
        if words.has(Self.native) || words[Self.aio] == "native", !cache.isDirect {
            throw UsageMistake(
                "Could not open '\(read.image.text)': aio=native was specified, but it requires cache.direct=on, which was not "
                    + "specified.", sendsToHelp: false)
        }
        request = read
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.bench(request)
        return 0
    }
}
